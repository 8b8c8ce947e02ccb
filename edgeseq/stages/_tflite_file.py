"""What would go wrong in silence with a TFLite file, read off the flatbuffer itself.

1. What it keeps from one call to the next inside the interpreter, which has no public word for it. Trying does not show
   it: a delay line gives the same first outputs twice.
2. Products of float inputs and int8 weights with a scale an output: tflite-runtime 2.14 takes them for weights of one
   scale and gives numbers that are wrong altogether.

Source of the numbers: the format's schema, tensorflow/lite/schema/schema.fbs, tables Model, SubGraph, Tensor,
QuantizationParameters, OperatorCode, Operator.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

FULLY_CONNECTED, ASSIGN_VARIABLE = 9, 144
MODEL_CODES, MODEL_GRAPHS = 1, 2
GRAPH_TENSORS, GRAPH_OPERATORS = 0, 3
TENSOR_TYPE, TENSOR_NAME, TENSOR_QUANTIZATION, TENSOR_VARIABLE = 1, 3, 4, 5
QUANTIZATION_SCALES = 2
OPERATOR_CODE, OPERATOR_INPUTS = 0, 1
FLOAT32 = 0
CODE_OLD, CODE = 0, 3
FIRST_FIELD = 4
"""Bytes of a vtable before its first field: its own size, and its table's."""


class UnreadableError(ValueError):
    """Bytes that are no such file."""


def memory(raw: bytes) -> str | None:
    """Return what holds a memory that is no input, in words; None where nothing does. Raises UnreadableError."""
    try:
        model = _follow(raw, 0)
        if ASSIGN_VARIABLE in _codes(raw, model):
            return "resource variables (ASSIGN_VARIABLE)"
        for graph in _tables(raw, model, MODEL_GRAPHS):
            for tensor in _tables(raw, graph, GRAPH_TENSORS):
                if _number(raw, _field(raw, tensor, TENSOR_VARIABLE), "<b"):
                    return f"the variable tensor '{_text(raw, _field(raw, tensor, TENSOR_NAME))}'"
    except struct.error as cause:
        raise UnreadableError("its tables cannot be read") from cause
    return None


def mixed_product(raw: bytes) -> str | None:
    """Return the name of weights of which tflite-runtime 2.14 makes a wrong product; None where there are none (2)."""
    try:
        model = _follow(raw, 0)
        codes = _codes(raw, model)
        for graph in _tables(raw, model, MODEL_GRAPHS):
            tensors = list(_tables(raw, graph, GRAPH_TENSORS))
            for operator in _tables(raw, graph, GRAPH_OPERATORS):
                if codes[_number(raw, _field(raw, operator, OPERATOR_CODE), "<I")] != FULLY_CONNECTED:
                    continue
                entering, weights = (tensors[place] for place in _numbers(raw, operator, OPERATOR_INPUTS)[:2])
                kept = _field(raw, weights, TENSOR_QUANTIZATION)
                scales = _numbers(raw, _follow(raw, kept), QUANTIZATION_SCALES) if kept else ()
                if _number(raw, _field(raw, entering, TENSOR_TYPE), "<b") == FLOAT32 and len(scales) > 1:
                    return _text(raw, _field(raw, weights, TENSOR_NAME))
    except (struct.error, IndexError, ValueError) as cause:
        raise UnreadableError("its tables cannot be read") from cause
    return None


def _codes(raw: bytes, model: int) -> list[int]:
    """Return the file's operators by their numbers; those above 127 stand in a field that came later."""
    fields = [(_field(raw, code, CODE_OLD), _field(raw, code, CODE)) for code in _tables(raw, model, MODEL_CODES)]
    return [max(_number(raw, old, "<b"), _number(raw, new, "<i")) for old, new in fields]


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


def _numbers(raw: bytes, table: int, place: int) -> tuple[int, ...]:
    """Return a vector of entries of four bytes."""
    at = _field(raw, table, place)
    vector = _follow(raw, at) if at else 0
    count = _number(raw, vector, "<I")
    if count > len(raw):
        raise UnreadableError("its tables cannot be read")
    return struct.unpack_from(f"<{count}i", raw, vector + 4) if at else ()


def _text(raw: bytes, at: int) -> str:
    if not at:
        return ""
    start = _follow(raw, at)
    size = struct.unpack_from("<I", raw, start)[0]
    return raw[start + 4 : start + 4 + size].decode(errors="replace")
