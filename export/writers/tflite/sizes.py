"""What is computed of the source's length, which is known once the inputs have theirs.

Whole numbers count in 32 bits between SHAPE and RANGE: tflite-runtime 2.14 has no RANGE of 64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.program import Op
from export.writers.tflite.writer import Form, Writer


def _shape(writer: Writer, op: Op) -> int:
    shape, bounds = writer.program.shapes[op.inputs[0]], (op.attributes["start"], op.attributes["end"])
    first, last, _ = slice(*bounds).indices(len(shape))
    whole = writer.emit(
        "SHAPE", [writer.read(op.inputs[0], shape)], "ShapeOptions", shape=(len(shape),), kind="int32",
        outType=writer.file.schema.TensorType.INT32,
    )  # fmt: skip
    given = [whole, *(writer.numbers(place) for place in (first, last, 1))]
    part = writer.emit("STRIDED_SLICE", given, "StridedSliceOptions", shape=(last - first,))
    return writer.emit("CAST", [part], "CastOptions", kind="int64")


def _range(writer: Writer, op: Op) -> int:
    if writer.program.dtype(op.output) != "int64":
        raise writer.refusal(op, f"TFLite counts whole numbers, not {writer.program.dtype(op.output)}.")
    bounds = [_bound(writer, name) for name in op.inputs]
    counted = writer.emit("RANGE", bounds, "RangeOptions", shape=writer.program.shapes[op.output])
    return writer.emit("CAST", [counted], "CastOptions", kind="int64")


def _bound(writer: Writer, name: str) -> int:
    """Return a number as a 32-bit one without axes."""
    if name in writer.constants:
        return writer.file.constant(f"{name}.bound", writer.constants[name].reshape(()).astype(np.int32))
    narrow = writer.emit("CAST", [writer.read(name, (1,))], "CastOptions", kind="int32")
    return writer.emit("SQUEEZE", [narrow], "SqueezeOptions", shape=(), squeezeDims=[0])


FORMS: Mapping[str, Form] = {"Shape": _shape, "Range": _range}
