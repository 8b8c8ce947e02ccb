"""TOML tables → checked objects. Every error names file, key and line, and offers the nearest right word."""

from __future__ import annotations

import difflib
import inspect
import re
import tomllib
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgeseq.errors import ConfigError, EdgeseqError

T = TypeVar("T")
MAX_BYTES = 4 << 20
"""No honest table is larger; a file from outside is not read beyond this."""


_TYPES = {
    "object": "a table",
    "array": "a list",
    "str": "text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "datetime": "a date and time",
    "date": "a date",
    "time": "a time",
}


@dataclass(frozen=True, slots=True)
class Document:
    """A TOML file as read: kept with its text, so that an error can name the line."""

    path: Path
    text: str
    table: dict[str, Any]
    error: type[EdgeseqError] = ConfigError

    def fail(self, message: str, *keys: str | int) -> EdgeseqError:
        """Return the error for what stands at `keys` (names and list positions from the top)."""
        line = line_of(self.text, keys)
        where = f"{self.path}, line {line}" if line else str(self.path)
        key = dotted(keys)
        return self.error(f"{where}: {key + ': ' if key else ''}{message}")


def read(path: Path, error: type[EdgeseqError] = ConfigError) -> Document:
    """Read a TOML file. Raises `error` if it cannot be read, is too large or is no TOML."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror or cause}.") from cause
    if len(raw) > MAX_BYTES:
        raise error(f"{path}: larger than {MAX_BYTES >> 20} MiB; this is no edgeseq file.")
    try:
        text = raw.decode("utf-8-sig")  # Windows' editors begin a file with a mark
        return Document(path, text, tomllib.loads(text), error)
    except UnicodeDecodeError as cause:
        raise error(f"{path}: not UTF-8 text (byte {cause.start}).") from cause
    except (ValueError, RecursionError) as cause:
        # Besides its own error, tomllib lets through Python's limits on the digits of integers and on nesting.
        raise error(f"{path}: not valid TOML: {cause}.") from cause


def convert(document: Document, table: Any, to: type[T], *keys: str | int) -> T:
    """Convert `table`, which stands at `keys` of the document, into the msgspec struct `to`, strictly."""
    try:
        return msgspec.convert(table, to)
    except msgspec.ValidationError as cause:
        message, inner = _split(str(cause))
        unknown = re.search(r"unknown field `([^`]+)`", message)
        if unknown:
            name = unknown.group(1)
            known = _fields_at(to, inner)
            raise document.fail(f"unknown key '{name}'. {suggest(name, known)}", *keys, *inner, name) from None
        missing = re.search(r"missing required field `([^`]+)`", message)
        if missing:
            raise document.fail(f"the key '{missing.group(1)}' is missing.", *keys, *inner) from None
        given = re.search(r"enum value '?([^']*?)'?$", message)
        choice = f" {suggest(given.group(1), _words(_at(to, inner)))}" if given else ""
        raise document.fail(f"{_plain(message)}.{choice}", *keys, *inner) from None


def keywords(document: Document, table: dict[str, Any], target: type[Any], *keys: str | int) -> dict[str, Any]:
    """Check `table` against the keyword-only parameters of a plug-in's class and return them converted.

    A parameter without a default is required; one annotated as Path is relative to the document's folder. Raises the
    document's error for unknown, missing or mistyped keys.
    """
    folder = document.path.parent

    def path_in_folder(to: type, value: Any) -> Any:
        if to is Path and isinstance(value, str):
            return path(folder, value)
        raise TypeError(f"Expected a path as text, got {value!r}")

    hints = typing.get_type_hints(inspect.getattr_static(target, "__init__"), include_extras=True)
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for name in table:
        if name not in parameters:
            raise document.fail(f"unknown key '{name}'. {suggest(name, parameters)}", *keys, name)
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in table:
            raise document.fail(f"the key '{name}' is missing.", *keys)
    converted = {}
    for name, value in table.items():
        try:
            converted[name] = msgspec.convert(value, hints[name], dec_hook=path_in_folder)
        except msgspec.ValidationError as cause:
            message, inner = _split(str(cause))
            to, word = hints[name], value
            for place in inner if all(isinstance(each, int) for each in inner) else ():
                to, word = _member(to, place), word[place]
            words = _words(to)
            choice = f" {suggest(str(word), words)}" if words and isinstance(word, str | int) else ""
            raise document.fail(f"{_plain(message)}.{choice}", *keys, name, *inner) from None
    return converted


def path(folder: Path, text: str) -> Path:
    """Return a path that a table in `folder` names; ~ is the user's home. Raises ValueError if it can be none."""
    if not text or "\0" in text:
        raise ValueError(f"Expected a path as text, got {text!r}")
    try:
        return folder / Path(text).expanduser()
    except RuntimeError as cause:
        raise ValueError(f"There is no home folder for {text!r}") from cause


def suggest(word: str, known: typing.Iterable[str]) -> str:
    """Return a sentence offering the nearest known word, or all of them where they are few."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known here: {', '.join(options)}." if options else "Nothing is expected here."


def dotted(keys: typing.Sequence[str | int]) -> str:
    """Return keys as a person writes them: source.path, sinks[1].host."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def line_of(text: str, keys: typing.Sequence[str | int]) -> int | None:
    """Return the line (from 1) on which `keys` stands, or that of its nearest table; None if neither is found."""
    found = None
    tables = [key for key in keys if isinstance(key, str)]
    position = next((key for key in keys if isinstance(key, int)), 0)
    current: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\[?\s*([^\]#]+?)\s*\]\]?", line)
        if header and "=" not in line.split("#")[0]:
            current = [part.strip().strip("\"'") for part in header.group(1).split(".")]
            if line.lstrip().startswith("[["):
                name = ".".join(current)
                seen[name] = seen.get(name, -1) + 1
            if current == tables[: len(current)] and seen.get(".".join(current), position) == position:
                found = number
                if current == tables:
                    return number
            continue
        key = re.match(r"\s*([A-Za-z0-9_.\-\"']+)\s*=", line)
        if not key:
            continue
        path = current + [part.strip("\"'") for part in key.group(1).split(".")]
        if path == tables[: len(path)] and seen.get(".".join(current), position) == position:
            found = number
            if path == tables:
                return number
    return found


def _split(message: str) -> tuple[str, list[str | int]]:
    """Split msgspec's message into its sentence and the path it names, `$.a[0].b`."""
    match = re.fullmatch(r"(.*?) - at `(?:key in )?\$?([^`]*)`", message, flags=re.DOTALL)
    if not match:
        return message, []
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", match.group(2))
    return match.group(1), [name or int(index) for name, index in parts]


def _plain(message: str) -> str:
    """Return msgspec's sentence with TOML's types as a person calls them, and what to do about the usual slips."""
    expected, _, got = message.partition(", got ")
    advice = ""
    if re.search(r"\bstr\b", expected) and got.strip("`") in ("int", "float", "date", "datetime", "time"):
        advice = ": put it between quotation marks"
    if re.search(r"\barray\b", expected) and got == "`object`":
        advice = ": each table of a list has a head in double brackets, [[...]]"
    plain = re.sub(r"`([a-z| ]+)`", lambda types: " or ".join(filter(None, map(_type, types[1].split(" | ")))), message)
    return plain[:1].lower() + plain[1:] + advice


def _type(name: str) -> str | None:
    """Return what a person calls one of msgspec's types; None for null, which TOML has not."""
    return None if name == "null" else _TYPES.get(name, name)


def _words(to: Any) -> list[str]:
    """Return the words that a Literal type admits, also as one of several types."""
    if typing.get_origin(to) is typing.Literal:
        return [str(word) for word in typing.get_args(to)]
    members = typing.get_args(to) if typing.get_origin(to) in (typing.Union, types.UnionType) else ()
    return [word for member in members for word in _words(member)]


def _at(to: Any, path: typing.Sequence[str | int]) -> Any:
    """Return the type that stands at `path` inside the type `to`."""
    for key in path:
        to = _member(to, key)
    return to


def _fields_at(to: Any, path: typing.Sequence[str | int]) -> list[str]:
    """Return the names of the fields of the struct that stands at `path` inside the type `to`."""
    to = _at(to, path)
    origin = typing.get_origin(to)
    if origin in (typing.Union, types.UnionType):
        to = next((arg for arg in typing.get_args(to) if hasattr(arg, "__struct_fields__")), None)
    return [field.encode_name for field in msgspec.structs.fields(to)] if hasattr(to, "__struct_fields__") else []


def _member(to: Any, key: str | int) -> Any:
    """Return the type of one field, list element or mapping value."""
    arguments = [arg for arg in typing.get_args(to) if arg is not type(None) and arg is not Ellipsis]
    if isinstance(key, int):
        return arguments[0] if arguments else None
    if hasattr(to, "__struct_fields__"):
        return next((field.type for field in msgspec.structs.fields(to) if field.encode_name == key), None)
    structs = [arg for arg in arguments if hasattr(arg, "__struct_fields__")]
    if structs:
        return _member(structs[0], key)
    return arguments[-1] if arguments else None
