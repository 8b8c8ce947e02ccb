"""What a TFLite file keeps from one call to the next inside the interpreter: read off the flatbuffer itself.

The interpreter has no public word for it, and trying does not show it: a delay line gives the same first outputs twice.
Source of the numbers: the format's schema, tensorflow/lite/schema/schema.fbs, tables Model, SubGraph, Tensor,
OperatorCode.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

ASSIGN_VARIABLE = 144
MODEL_CODES, MODEL_GRAPHS = 1, 2
GRAPH_TENSORS = 0
TENSOR_NAME, TENSOR_VARIABLE = 3, 5
CODE_OLD, CODE = 0, 3
FIRST_FIELD = 4
"""Bytes of a vtable before its first field: its own size, and its table's."""


class UnreadableError(ValueError):
    """Bytes that are no such file."""


def memory(raw: bytes) -> str | None:
    """Return what holds a memory that is no input, in words; None where nothing does. Raises UnreadableError."""
    try:
        model = _follow(raw, 0)
        for code in _tables(raw, model, MODEL_CODES):
            old, new = _field(raw, code, CODE_OLD), _field(raw, code, CODE)
            number = max(_number(raw, old, "<b"), _number(raw, new, "<i"))
            if number == ASSIGN_VARIABLE:
                return "resource variables (ASSIGN_VARIABLE)"
        for graph in _tables(raw, model, MODEL_GRAPHS):
            for tensor in _tables(raw, graph, GRAPH_TENSORS):
                if _number(raw, _field(raw, tensor, TENSOR_VARIABLE), "<b"):
                    return f"the variable tensor '{_text(raw, _field(raw, tensor, TENSOR_NAME))}'"
    except (struct.error, RecursionError) as cause:
        raise UnreadableError("its tables cannot be read") from cause
    return None


def _follow(raw: bytes, at: int) -> int:
    """Return where an offset leads: it counts from its own place."""
    return at + int(struct.unpack_from("<I", raw, at)[0])


def _field(raw: bytes, table: int, place: int) -> int:
    """Return where a table's field stands; 0 where it is left out."""
    vtable = table - struct.unpack_from("<i", raw, table)[0]
    if vtable < 0:
        raise UnreadableError("its tables cannot be read")
    size = struct.unpack_from("<H", raw, vtable)[0]
    entry = FIRST_FIELD + 2 * place
    offset = struct.unpack_from("<H", raw, vtable + entry)[0] if entry < size else 0
    return table + offset if offset else 0


def _number(raw: bytes, at: int, kind: str) -> int:
    return int(struct.unpack_from(kind, raw, at)[0]) if at else 0


def _tables(raw: bytes, table: int, place: int) -> Iterator[int]:
    """Yield the tables of a vector of them."""
    at = _field(raw, table, place)
    if at:
        vector = _follow(raw, at)
        count = struct.unpack_from("<I", raw, vector)[0]
        for entry in range(count):
            yield _follow(raw, vector + 4 + 4 * entry)


def _text(raw: bytes, at: int) -> str:
    if not at:
        return ""
    start = _follow(raw, at)
    size = struct.unpack_from("<I", raw, start)[0]
    return raw[start + 4 : start + 4 + size].decode(errors="replace")
