"""By which scale an ONNX file's integer inputs and outputs store real numbers: read from the nodes around them.

ONNX has no such note on a value itself. ONNX Runtime does not show nodes, and the library onnx is no part of the
runtime; so the few fields of the protobuf that matter are read here.

1. What DequantizeLinear reads, and what QuantizeLinear gives, has the scale that stands beside it.
2. The same of operators on integers (QLinearConv, QLinearAdd ...), whose scales stand among their inputs.
3. What only moves numbers (Reshape, Concat, Slice ...) gives them in the scale in which it takes them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LINEAR: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    # Of each operator: where a value stands among its inputs, and its scale, and its zero point; -1 is its output.
    "DequantizeLinear": ((0, 1, 2),),
    "QuantizeLinear": ((-1, 1, 2),),
    "QLinearMatMul": ((0, 1, 2), (3, 4, 5), (-1, 6, 7)),
    "QLinearConv": ((0, 1, 2), (3, 4, 5), (-1, 6, 7)),
    "QGemm": ((0, 1, 2), (3, 4, 5), (-1, 7, 8)),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), ((0, 1, 2), (3, 4, 5), (-1, 6, 7))),
    "QLinearWhere": ((1, 2, 3), (4, 5, 6), (-1, 7, 8)),
    **dict.fromkeys(
        (
            "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearAveragePool", "QLinearGlobalAveragePool",
            "QLinearReduceMean",
        ),
        ((0, 1, 2), (-1, 3, 4)),
    ),
}  # fmt: skip
MOVING = {
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Split", "Gather", "Expand"),
    *("Tile", "Pad", "MaxPool", "Concat"),
}
TYPES = {1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 10: "<f2", 11: "<f8"}
"""ONNX's numbers of types; those that scales and zero points have."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_VARINT = 10
SAME = 1e-6
"""Scales that differ by less are one: converters note one quantity's twice, and round it differently."""
Number = np.ndarray[Any, Any]
Grid = tuple[float, int]
"""A scale and a zero point."""
ZERO = np.zeros(1, np.int64)


class UnreadableError(ValueError):
    """Bytes that are no protobuf."""


@dataclass(slots=True)
class _Node:
    op_type: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    constant: Number | None = None


def scales(raw: bytes | memoryview) -> dict[str, list[Grid]]:
    """Return the scales of every value of the main graph that has one, all of them where it has several.

    A scale that is computed, or of which there is one a channel, is not known. Raises UnreadableError.
    """
    nodes, constants = _graph(memoryview(raw))
    found: dict[str, list[Grid]] = {}
    for node in nodes:
        for value, scale, zero in LINEAR.get(node.op_type, ()):
            name = _at(node.outputs, 0) if value < 0 else _at(node.inputs, value)
            known = _grid(constants.get(_at(node.inputs, scale)), _zero(constants, _at(node.inputs, zero)))
            if known is not None and name:
                _note(found, name, [known])
    changed = True
    while changed:
        changed = False
        for node in nodes:
            if node.op_type in MOVING:
                moved = [*(node.inputs if node.op_type == "Concat" else node.inputs[:1]), *node.outputs]
                together = [grid for name in moved for grid in found.get(name, ())]
                news = [_note(found, name, together) for name in moved if name]
                changed = changed or any(news)
    return found


def _note(found: dict[str, list[Grid]], name: str, more: list[Grid]) -> bool:
    """Add what is known of a value; return whether that is new."""
    known = found.setdefault(name, [])
    before = len(known)
    for scale, zero in more:
        if not any(zero == there and math.isclose(scale, other, rel_tol=SAME) for other, there in known):
            known.append((scale, zero))
    return len(known) > before


def _grid(scale: Number | None, zero: Number | None) -> Grid | None:
    if scale is None or scale.dtype.kind != "f" or zero is None or zero.dtype.kind not in "iu":
        return None
    real = float(scale.ravel()[0])
    return (real, int(zero.ravel()[0])) if real > 0 and math.isfinite(real) else None


def _zero(constants: Mapping[str, Number], name: str) -> Number | None:
    """Return a zero point: 0 where it is left out, None where it is computed or there are several."""
    return constants.get(name) if name else ZERO


def _at(names: list[str], place: int) -> str:
    return names[place] if place < len(names) else ""


def _graph(raw: memoryview) -> tuple[list[_Node], dict[str, Number]]:
    """Return the main graph's nodes, and its constants of one number."""
    nodes, constants = [], {}
    for part in _parts(raw, 7):
        for number, content in _fields(part):
            if number == 1:
                nodes.append(_node(_bytes(content)))
            elif number == 5:  # noqa: PLR2004 - GraphProto.initializer
                name, tensor = _tensor(_bytes(content))
                if tensor is not None:
                    constants[name] = tensor
    for node in nodes:
        if node.constant is not None and node.outputs:
            constants[node.outputs[0]] = node.constant
    return nodes, constants


def _node(raw: memoryview) -> _Node:
    node = _Node()
    for number, content in _fields(raw):
        if number == 1:
            node.inputs.append(_text(content))
        elif number == 2:  # noqa: PLR2004 - NodeProto.output
            node.outputs.append(_text(content))
        elif number == 4:  # noqa: PLR2004 - NodeProto.op_type
            node.op_type = _text(content)
        elif number == 5:  # noqa: PLR2004 - NodeProto.attribute
            attribute = list(_fields(_bytes(content)))
            if b"value" in [bytes(c) for n, c in attribute if n == 1 and isinstance(c, memoryview)]:
                held = [c for n, c in attribute if n == 5 and isinstance(c, memoryview)]  # noqa: PLR2004 - its tensor
                node.constant = _tensor(held[-1])[1] if held else None
    if node.op_type != "Constant":
        node.constant = None
    return node


def _tensor(raw: memoryview) -> tuple[str, Number | None]:
    """Return a tensor's name, and its content where that is one number in the file itself."""
    name, kind, content, count = "", 0, None, 1
    for number, value in _fields(raw):
        if number == 1:
            sizes = [value] if isinstance(value, int) else list(_varints(value))
            count *= int(np.prod(sizes)) if all(size < 1 << 31 for size in sizes) else 0
        elif number == 2 and isinstance(value, int):  # noqa: PLR2004 - TensorProto.data_type
            kind = value
        elif number == 8:  # noqa: PLR2004 - TensorProto.name
            name = _text(value)
        elif number in (4, 5, 9, 10):  # its numbers: floats, small integers, raw, doubles
            content = number, value
    dtype = TYPES.get(kind)
    if dtype is None or content is None or count != 1:
        return name, None
    number, value = content
    if number == 5:  # noqa: PLR2004 - TensorProto.int32_data, which float16 stands in by its bits
        given = [value] if isinstance(value, int) else list(_varints(value))
        if dtype == "<f2":
            return name, np.array([given[0] & 0xFFFF], np.uint16).view(np.float16) if given else None
        return name, np.array(given[:1]).astype(np.int64).astype(np.dtype(dtype)) if given else None
    array = np.frombuffer(_bytes(value), np.dtype(dtype)) if len(_bytes(value)) == np.dtype(dtype).itemsize else None
    return name, array


def _parts(raw: memoryview, wanted: int) -> Iterator[memoryview]:
    return (_bytes(content) for number, content in _fields(raw) if number == wanted)


def _fields(raw: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield a message's fields: their numbers, and their bytes, or the number that they are."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(raw, at)
            yield tag >> 3, value
            continue
        if kind == BYTES:
            size, at = _varint(raw, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise UnreadableError
        if size > len(raw) - at:
            raise UnreadableError
        yield tag >> 3, raw[at : at + size]
        at += size


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place in range(MAX_VARINT):
        if at + place >= len(raw):
            raise UnreadableError
        byte = raw[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint
            # Negative numbers stand in 64 bits of two's complement.
            return struct.unpack("<q", struct.pack("<Q", value & (1 << 64) - 1))[0], at + place + 1
    raise UnreadableError


def _varints(raw: memoryview) -> Iterator[int]:
    at = 0
    while at < len(raw):
        value, at = _varint(raw, at)
        yield value


def _bytes(content: memoryview | int) -> memoryview:
    if isinstance(content, int):
        raise UnreadableError
    return content


def _text(content: memoryview | int) -> str:
    try:
        return bytes(_bytes(content)).decode()
    except UnicodeDecodeError as cause:
        raise UnreadableError from cause
