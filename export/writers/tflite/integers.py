"""Ops on integers that stand for real values, and the ways in and out.

Measured on ai-edge-litert 2.3 and tflite-runtime 2.14, both within one step of the reference:

1. ADD and SUB of 16 bits carry pot_scale_int16 = false: the kernel for any scale, which rounds one sum.
2. LOGISTIC and TANH of 16 bits run in float32 between DEQUANTIZE and QUANTIZE: the integer kernels interpolate, and are
   up to 6 and 12 steps off.
3. 8 to 16 bits goes over float32 too, where it is exact: tflite-runtime has no such QUANTIZE.
4. A real value is limited before QUANTIZE, which makes the least integer of what is too great for 32 bits: unless no
   value can be that great, as those that come of integers by way of a norm, a softmax or an activation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from export.program import Op
from export.writers.tflite import real
from export.writers.tflite.writer import Form, Writer

CURVES = {"Sigmoid": "LOGISTIC", "Tanh": "TANH"}
SAFE = 2.0**30
"""How many steps of an integer QUANTIZE can be trusted with: half of what 32 bits hold."""


def integers(op_kind: str, floating: Form) -> Form:
    """Return the form of an op that has one on integers and one on real values or whole numbers."""
    stored = _STORED[op_kind]
    return lambda writer, op: (stored if op.output in writer.program.types else floating)(writer, op)


def _sum(writer: Writer, op: Op) -> int:
    name = op.kind.upper()
    kind, inputs = writer.kind(op.output), writer.operands(op)
    return writer.each(name, inputs, f"{op.kind}Options", kind=kind, potScaleInt16=False)  # 1


def _mul(writer: Writer, op: Op) -> int:
    return writer.each("MUL", writer.operands(op), "MulOptions", kind=writer.kind(op.output))


def _curve(writer: Writer, op: Op) -> int:
    (x,) = writer.operands(op)
    curved = writer.each(CURVES[op.kind], [_to_real(writer, x)])
    return writer.each("QUANTIZE", [curved], "QuantizeOptions", kind=writer.kind(op.output))  # 2


def _relu(writer: Writer, op: Op) -> int:
    return writer.each("RELU", writer.operands(op), kind=writer.kind(op.output))


def _to_real(writer: Writer, x: int) -> int:
    return writer.each("DEQUANTIZE", [x], kind="float32")


def _quantize(writer: Writer, op: Op) -> int:
    kind = writer.program.types[op.output]
    (x,) = writer.operands(op)
    if writer.magnitudes.get(op.inputs[0], math.inf) >= SAFE * kind.scale:
        for name, limit in zip(("MAXIMUM", "MINIMUM"), kind.limits, strict=True):
            bound = float(np.float32((limit - kind.zero_point) * kind.scale))
            x = writer.each(name, [x, writer.scalar(bound)], "MaximumMinimumOptions")  # 4
    return writer.each("QUANTIZE", [x], "QuantizeOptions", kind=kind)


def _requantize(writer: Writer, op: Op) -> int:
    (x,) = writer.operands(op)
    if (writer.program.dtype(op.inputs[0]), writer.program.dtype(op.output)) == ("int8", "int16"):
        x = _to_real(writer, x)  # 3
    return writer.each("QUANTIZE", [x], "QuantizeOptions", kind=writer.kind(op.output))


def _dequantize(writer: Writer, op: Op) -> int:
    if not op.arrays:
        return _to_real(writer, writer.operands(op)[0])
    shape = writer.program.shapes[op.output]
    width = shape[-1] if shape else 1
    x = _to_real(writer, writer.read(op.inputs[0], (1, 1, math.prod(shape) // width, width)))
    for name, key, options in (("MUL", "factor", "MulOptions"), ("ADD", "offset", "AddOptions")):
        if key in op.arrays:
            array = writer.array(op, key, op.arrays[key].astype(np.float32).reshape(1, 1, 1, -1))
            x = writer.each(name, [x, array], options)
    return x


_STORED: Mapping[str, Form] = {
    "Add": _sum, "Sub": _sum, "Mul": _mul, "Sigmoid": _curve, "Tanh": _curve, "Relu": _relu,
}  # fmt: skip
FORMS: Mapping[str, Form] = {
    **{kind: integers(kind, real.FORMS[kind]) for kind in _STORED},
    "Quantize": _quantize,
    "Requantize": _requantize,
    "Dequantize": _dequantize,
}
