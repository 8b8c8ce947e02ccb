"""[[model]] tables -> a chain: stages made, each input given its place, shapes checked from source to result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec
import numpy as np

from edgeseq import plugins, tables
from edgeseq.errors import ConfigError
from edgeseq.models.chain import SOURCE, Chain, Link, Place
from edgeseq.types import Shape, Stage

MAX_HOP = 1 << 20
MAX_STAGES = 64
OWN = ("name", "type", "inputs", "hop")
"""The keys of a stage's table that say where it stands; the others are its class's parameters."""


@runtime_checkable
class _HasFile(Protocol):
    """A stage that runs a file, and the file's sum."""

    file: Path
    sha256: str


class _StageTable(msgspec.Struct, frozen=True, kw_only=True):
    """What every [[model]] table may have."""

    type: str
    name: str | None = None
    inputs: dict[str, str] | None = None
    hop: int | None = None


class OutputTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[output]: which value is the model's result, and what it is; default: what the last stage gives.

    kind: "scores", or "signal", the next hop samples of one; default: what the stage gives. names, unit: of scores.
    """

    of: str | None = msgspec.field(name="from", default=None)
    kind: Literal["scores", "signal"] | None = None
    names: list[str] | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Wired:
    """A chain, and what it is called: model from its files' names, version from their sums."""

    chain: Chain
    model: str
    version: str
    names: tuple[str, ...]
    unit: str


@dataclass(slots=True)
class _Made:
    """What has been put together so far: the shape and the delay at every place, and each stage's outputs."""

    shapes: dict[Place, Shape]
    delays: dict[Place, int]
    outputs: dict[str, list[str]] = field(default_factory=lambda: {SOURCE: [""]})
    links: list[Link] = field(default_factory=list)
    types: list[str] = field(default_factory=list)


def wire(
    document: tables.Document, stages: Sequence[Mapping[str, Any]], output: OutputTable | None, channels: int
) -> Wired:
    """Make and open every stage, on frames of so many channels. Raises the document's error."""
    if not 1 <= len(stages) <= MAX_STAGES:
        raise document.fail(f"a model has 1 to {MAX_STAGES} stages, not {len(stages)}.", "model")
    heads = [_head(document, table, index) for index, table in enumerate(stages)]
    hop = _hop(document, heads)
    made = _Made({(SOURCE, ""): (hop, channels)}, {(SOURCE, ""): 0})
    for index, (head, table) in enumerate(zip(heads, stages, strict=True)):
        _add(document, made, head, table, index=index, hop=hop)
    last = made.links[-1]
    wanted = output or OutputTable()
    where = ("output", "from") if wanted.of is not None else ("model", len(stages) - 1)
    place = _place(document, made, wanted.of if wanted.of is not None else last.name, *where)
    if place[0] == SOURCE:
        raise document.fail("the source's own samples are no result of a model.", *where)
    giver = next(link.stage for link in made.links if link.name == place[0])
    kind = wanted.kind or ("signal" if getattr(giver, "signal", False) else "scores")
    shape = made.shapes[place]
    size = int(np.prod(shape))
    if kind == "signal" and size != hop:
        raise document.fail(
            f"a signal is hop = {hop} samples a step, '{'.'.join(filter(None, place))}' gives {size}.", *where
        )
    chain = Chain(
        made.links,
        backend=" and ".join(made.types) or "stages",
        result=place,
        shape=shape,
        hop=hop,
        channels=channels,
        delay=made.delays[place],
        signal=kind == "signal",
    )
    files = [link.stage for link in made.links if isinstance(link.stage, _HasFile)]
    return Wired(
        chain,
        model="+".join(stage.file.stem for stage in files) or last.name,
        version=hashlib.sha256("".join(stage.sha256 for stage in files).encode()).hexdigest()[:12] if files else "",
        names=_names(document, wanted, place, size),
        unit=wanted.unit,
    )


def _head(document: tables.Document, table: Mapping[str, Any], index: int) -> _StageTable:
    """Return the keys that every stage has."""
    own = {key: value for key, value in table.items() if key in OWN}
    if "bundle" in table:
        raise document.fail("a bundle stands in [model] alone; [[model]] lists stages.", "model", index, "bundle")
    if "type" not in own:
        raise document.fail("the key 'type' is missing; it says which one this is.", "model", index)
    head = tables.convert(document, own, _StageTable, "model", index)
    if head.name is not None and (not head.name or "." in head.name or head.name == SOURCE):
        raise document.fail(f"a stage's name has no point, and is not '{SOURCE}'.", "model", index, "name")
    return head


def _hop(document: tables.Document, heads: Sequence[_StageTable]) -> int:
    """Return the samples of a step: written once, or the same everywhere; without it 1."""
    hop = None
    for index, head in enumerate(heads):
        if head.hop is None:
            continue
        if not 1 <= head.hop <= MAX_HOP:
            raise document.fail(f"must lie between 1 and {MAX_HOP}, not {head.hop}.", "model", index, "hop")
        if hop is not None and head.hop != hop:
            raise document.fail(f"another stage says {hop}; all stages step together.", "model", index, "hop")
        hop = head.hop
    return hop or 1


def _add(
    document: tables.Document, made: _Made, head: _StageTable, table: Mapping[str, Any], *, index: int, hop: int
) -> None:
    """Make a stage, give its inputs their places, and open it."""
    keys = ("model", index)
    name = head.name or head.type
    if name in made.outputs:
        raise document.fail(f"two stages are called '{name}'; give this one a name of its own.", *keys)
    before = made.links[-1].name if made.links else SOURCE
    if head.inputs is None:
        takes = {"": _place(document, made, before, *keys)}
    else:
        takes = {key: _place(document, made, at, *keys, "inputs", key) for key, at in head.inputs.items()}
        if not takes or "" in takes:
            raise document.fail('inputs names each input and where it comes from: { x = "stage.output" }.', *keys)
    own = {key: value for key, value in table.items() if key not in OWN or key == "type"}
    stage: Stage = plugins.create(document, "stages", own, *keys)
    try:
        outputs = stage.open({key: made.shapes[place] for key, place in takes.items()}, hop)
    except ConfigError as cause:
        raise document.fail(str(cause), *keys, *cause.keys) from cause
    delay = stage.delay + max(made.delays[place] for place in takes.values())
    for output, shape in outputs.items():
        made.shapes[name, output] = shape
        made.delays[name, output] = delay
    made.outputs[name] = list(outputs)
    made.links.append(Link(name, stage, takes))
    if isinstance(stage, _HasFile) and head.type not in made.types:
        made.types.append(head.type)


def _place(document: tables.Document, made: _Made, text: str, *keys: str | int) -> Place:
    """Return the place that `text` names: a stage with one output, or stage.output."""
    stage, point, output = text.partition(".")
    if stage not in made.outputs:
        near = tables.suggest(stage, made.outputs)
        raise document.fail(f"there is no stage '{stage}' before this one. {near}", *keys)
    there = made.outputs[stage]
    if not point:
        if len(there) > 1:
            raise document.fail(
                f"'{stage}' gives {', '.join(there)}: say which, such as '{stage}.{there[0]}', by inputs.", *keys
            )
        return stage, there[0]
    if output not in there:
        raise document.fail(f"'{stage}' gives no '{output}'. {tables.suggest(output, filter(None, there))}", *keys)
    return stage, output


def _names(document: tables.Document, table: OutputTable, place: Place, size: int) -> tuple[str, ...]:
    """Return the names of the result's values."""
    if table.names is None:
        return (place[1],) if size == 1 else tuple(f"{place[1]}_{i}" for i in range(size))
    if len(table.names) != size or len(set(table.names)) != size:
        raise document.fail(f"the result has {size} values; give as many different names.", "output", "names")
    return tuple(table.names)
