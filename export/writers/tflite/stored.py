"""Weights of float products and tables, stored smaller where a variant says so: the file is small, not the memory.

1. A constant's DEQUANTIZE is computed once, when the file is loaded, by both runtimes: from float16, and from int8 with
   a scale an output (version 5), where measured exactly.
2. What is small, a vector, or would share a scale among few numbers, stays float32, and so does what was kept so: all
   that would change by being stored smaller (see export/storage.py).
"""

from __future__ import annotations

import numpy as np

from export import storage
from export.program import Array, Op, Program
from export.writers.tflite.writer import Writer


def smaller(array: Array, axis: int, kind: str) -> tuple[Array, Array | None] | None:
    """Return how a weight stands in the file, with its scales along an axis; None where it stays as it is (2)."""
    if not kind:
        return None
    found = storage.lossless(array, kind, tuple(place for place in range(array.ndim) if place != axis))
    if found is None:
        return None
    content, scale = found
    return content, None if scale is None else scale.reshape(-1)


def weight(writer: Writer, title: str, array: Array, axis: int = 0) -> int:
    """Return a float constant, of which numbers with the same place on `axis` may share a scale (1)."""
    found = smaller(array, axis, writer.storage)
    if found is None:
        return writer.file.constant(title, array, title=title)
    content, scales = found
    name, file = f"{title}.stored", writer.file
    if scales is None:
        held = file.constant(name, content, title=name)
    else:
        held = file.weight(name, content, scales, axis, title=name)
    return writer.emit("DEQUANTIZE", [held], kind="float32")


def total(program: Program, kind: str) -> int:
    """Return the bytes of all numbers of a Program's file: weights, biases, their scales, constants.

    What several ops share stands there once.
    """
    arrays: dict[int, tuple[Op, str, Array]] = {
        id(array): (op, key, array) for op in program.ops for key, array in op.arrays.items() if array.size > 1
    }
    parts = {part.tobytes() for entry in arrays.values() for part in _parts(program, *entry, kind)}
    return sum(map(len, parts))


def _parts(program: Program, op: Op, key: str, array: Array, kind: str) -> list[Array]:
    """Return what stands in the file for an op's array."""
    if key == "scale":
        return [array.astype(np.float32)]
    axis = 0 if key == "weight" else _table(program, op)
    found = None if axis is None else smaller(array, axis, kind)
    return [array] if found is None else [part for part in found if part is not None]


def _table(program: Program, op: Op) -> int | None:
    """Return along which axis a constant is looked up; None where it is no table."""
    reading = [other for other in program.readers().get(op.output, []) if op.kind == "Constant"]
    tables = all(other.kind == "Gather" and other.inputs[0] == op.output for other in reading)
    return reading[0].attributes["axis"] if reading and tables else None
