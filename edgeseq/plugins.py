"""Finds a plug-in by its type: `rms` is the one public class of edgeseq/features/rms.py, or an entry point."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from edgeseq import tables
from edgeseq.errors import ConfigError

Kind = str
"""One of: sources, features, stages, deciders, sinks."""


def known(kind: Kind) -> list[str]:
    """Return the types there are of a kind, ours and registered ones."""
    package = importlib.import_module(f"edgeseq.{kind}")
    ours = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]
    return sorted({*ours, *(entry.name for entry in entry_points(group=f"edgeseq.{kind}"))})


def find(kind: Kind, name: str) -> type[Any]:
    """Return the class for a type. Raises KeyError with a sentence that offers the nearest right one."""
    if name.isidentifier() and not name.startswith("_") and importlib.util.find_spec(f"edgeseq.{kind}.{name}"):
        module = importlib.import_module(f"edgeseq.{kind}.{name}")
        return _only_class(module)
    for entry in entry_points(group=f"edgeseq.{kind}", name=name):
        return entry.load()  # type: ignore[no-any-return]
    raise KeyError(f"there is no {kind.removesuffix('s')} of type '{name}'. {tables.suggest(name, known(kind))}")


def create(document: tables.Document, kind: Kind, table: dict[str, Any], *keys: str | int) -> Any:
    """Make the plug-in that `table` (standing at `keys` of the document) describes. Raises the document's error."""
    cls, keyword = resolve(document, kind, table, *keys)
    try:
        return cls(**keyword)
    except ConfigError as cause:
        raise document.fail(str(cause), *keys, *cause.keys) from cause


def decider(document: tables.Document, table: dict[str, Any], names: Sequence[str], *keys: str | int) -> Any:
    """Make the decider that `table` describes, for outputs of these names. Raises the document's error."""
    filled = offered(document, "deciders", table, {"names": [*names]}, *keys)
    made = create(document, "deciders", filled, *keys)
    listed = ", ".join(names)
    if not 0 <= (place := getattr(made, "output", 0)) < len(names):
        raise document.fail(
            f"output {place} does not exist: the model has {len(names)} ({listed}), counted from 0.", *keys
        )
    if len(own := table.get("names", names)) != len(names):
        words = f"{len(own)} names, the model has {len(names)} outputs ({listed}): leave 'names' out."
        raise document.fail(words, *keys)
    return made


def offered(
    document: tables.Document, kind: Kind, table: dict[str, Any], known: Mapping[str, Any], *keys: str | int
) -> dict[str, Any]:
    """Fill in what is known and the table leaves out, as far as the plug-in has such a parameter."""
    parameters = inspect.signature(named(document, kind, table, *keys)).parameters
    return {**{key: value for key, value in known.items() if key in parameters}, **table}


def resolve(
    document: tables.Document, kind: Kind, table: dict[str, Any], *keys: str | int
) -> tuple[type[Any], dict[str, Any]]:
    """Return the class and its checked keyword arguments without making it."""
    cls = named(document, kind, table, *keys)
    parameters = {key: value for key, value in table.items() if key != "type"}
    return cls, tables.keywords(document, parameters, cls, *keys)


def named(document: tables.Document, kind: Kind, table: dict[str, Any], *keys: str | int) -> type[Any]:
    """Return the class that a table's `type` names."""
    if "type" not in table:
        raise document.fail("the key 'type' is missing; it says which one this is.", *keys)
    name = tables.convert(document, table["type"], str, *keys, "type")
    try:
        return find(kind, name)
    except KeyError as cause:
        raise document.fail(str(cause.args[0]), *keys, "type") from None


def _only_class(module: Any) -> type[Any]:
    """Return the one public class that a plug-in's file defines."""
    classes = [
        member
        for name, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and not name.startswith("_")
    ]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__} must define exactly one public class, it defines {len(classes)}")
    return classes[0]
