"""Ops on real values, whole numbers and conditions: TFLite's own, or written in those that it has.

1. The error function is what GELU has in it: x erf(x / sqrt 2) = gelu(x) + gelu(-x). Taken at |x|, which is limited to
   where erf is 1, and divided by what is never 0.
2. log(1 + exp x) is max(x, 0) + log(1 + exp(-|x|)), which does not overflow.
3. ELU has the factor 1: max(x, 0) + alpha elu(min(x, 0)).
4. Whole numbers have no ABS, SIGN and, of 64 bits, no DIV. The first two are limits; a quotient is found digit by
   digit on 32-bit whole numbers.
5. SOFTMAX is along the last axis. LogSoftmax is REDUCE_MAX, SUB, EXP, SUM and LOG.
6. A norm is MEAN, SUB, MUL, RSQRT and MUL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from export.program import Op, grows
from export.writers.tflite.moving import grouped, groups
from export.writers.tflite.versions import PLAIN_RANK
from export.writers.tflite.writer import Form, Writer

OPTIONS = {
    "ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions", "POW": "PowOptions",
    "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions",
}  # fmt: skip
COMPARED = {"LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL"}
PLAIN: Mapping[str, str] = {
    "Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "Pow": "POW", "Min": "MINIMUM",
    "Max": "MAXIMUM", "Neg": "NEG", "Floor": "FLOOR", "Ceil": "CEIL", "Exp": "EXP",
    "Log": "LOG", "Sqrt": "SQRT", "Sin": "SIN", "Cos": "COS", "Sigmoid": "LOGISTIC", "Tanh": "TANH", "Relu": "RELU",
    "HardSwish": "HARD_SWISH", "Less": "LESS", "LessOrEqual": "LESS_EQUAL", "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL", "Equal": "EQUAL", "And": "LOGICAL_AND", "Or": "LOGICAL_OR", "Not": "LOGICAL_NOT",
}  # fmt: skip
"""Ops that are one op of TFLite's."""
WHOLE = {"Add", "Sub", "Mul", "Min", "Max", "Neg", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"}
CONDITIONS = {"And", "Or", "Not", "Equal"}
WIDE_DIGIT, NARROW_DIGIT = 24, 12
"""4: bits of a quotient's digits: a rest and a digit together have to fit 31 bits."""
FAR = 10.0
TINY = 1e-30


class Sums:
    """Writes a formula's ops one by one; a number is a constant of the type of what it stands beside."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __call__(self, name: str, *parts: float) -> int:
        """Write one op; a tensor is an int, a number a float."""
        first = next(part for part in parts if isinstance(part, int))
        dtype = self.dtype(first)
        given = [part if isinstance(part, int) else self._scalar(part, dtype) for part in parts]
        return self._writer.each(name, given, OPTIONS.get(name, ""), kind="bool" if name in COMPARED else None)

    def dtype(self, x: int) -> str:
        """Return the type of what a tensor holds."""
        return self._writer.file.tensors[x].stored

    def _scalar(self, value: float, dtype: str) -> int:
        return self._writer.scalar(float(value) if dtype == "float32" else int(value), dtype)

    def cast(self, x: int, dtype: str) -> int:
        """Write a change of type."""
        return self._writer.each("CAST", [x], "CastOptions", kind=dtype)


def _plain(writer: Writer, op: Op) -> int:
    name, dtype = PLAIN[op.kind], writer.program.dtype(op.inputs[0])
    if dtype != "float32" and op.kind not in (CONDITIONS if dtype == "bool" else WHOLE):
        raise writer.refusal(op, f"TFLite has it not for {dtype}.")
    kind = "bool" if name in COMPARED else writer.kind(op.output)
    return writer.each(name, writer.operands(op), OPTIONS.get(name, ""), kind=kind)


def _formula(formula: Callable[..., int]) -> Form:
    """Return the form of an op on real values that is a formula."""

    def write(writer: Writer, op: Op) -> int:
        if (dtype := writer.program.dtype(op.inputs[0])) != "float32":
            raise writer.refusal(op, f"TFLite has it not for {dtype}.")
        return formula(Sums(writer), *writer.operands(op), **_attributes(op))

    return write


def _attributes(op: Op) -> dict[str, float]:
    return {key: op.attributes[key] for key in ("alpha", "beta") if key in op.attributes}


def _erf(do: Sums, x: int) -> int:
    far = do("MINIMUM", do("MUL", do("ABS", x), math.sqrt(2)), FAR)
    both = do("ADD", do("GELU", far), do("GELU", do("NEG", far)))
    return do("MUL", do("SIGN", x), do("DIV", both, do("MAXIMUM", far, TINY)))  # 1


def _softplus(do: Sums, x: int) -> int:
    return do("ADD", do("RELU", x), do("LOG", do("ADD", do("EXP", do("NEG", do("ABS", x))), 1.0)))  # 2


def _elu(do: Sums, x: int, alpha: float) -> int:
    if alpha == 1:
        return do("ELU", x)
    return do("ADD", do("RELU", x), do("MUL", do("ELU", do("MINIMUM", x, 0.0)), alpha))  # 3


def _prelu(do: Sums, x: int, slope: int) -> int:
    return do("ADD", do("RELU", x), do("MUL", do("MINIMUM", x, 0.0), slope))


def _hard_sigmoid(do: Sums, x: int, alpha: float, beta: float) -> int:
    return do("MINIMUM", do("MAXIMUM", do("ADD", do("MUL", x, alpha), beta), 0.0), 1.0)


FORMULAS: Mapping[str, Callable[..., int]] = {
    "Erf": _erf,
    "Elu": _elu,
    "PRelu": _prelu,
    "Softplus": _softplus,
    "Softsign": lambda do, x: do("DIV", x, do("ADD", do("ABS", x), 1.0)),
    "HardSigmoid": _hard_sigmoid,
    "Reciprocal": lambda do, x: do("DIV", 1.0, x),
}


def _divide(writer: Writer, op: Op) -> int:
    dtype = writer.program.dtype(op.inputs[0])
    if dtype != "int64":
        return writer.each("DIV", writer.operands(op), "DivOptions", kind=writer.kind(op.output))
    divisor = writer.constants.get(op.inputs[1])
    if divisor is None or divisor.size != 1 or not 0 < abs(int(divisor.reshape(-1)[0])) < 2 ** (31 - NARROW_DIGIT):
        raise writer.refusal(op, "TFLite divides 64-bit whole numbers by no tensor and by nothing great.")
    by, do = int(divisor.reshape(-1)[0]), Sums(writer)
    (x,) = writer.operands(replace(op, inputs=op.inputs[:1]))
    if by == 1:
        return x
    size = do("MAXIMUM", x, do("NEG", x))
    bits = WIDE_DIGIT if abs(by) < 2 ** (31 - WIDE_DIGIT) else NARROW_DIGIT
    quotient, rest = -1, -1
    for digit in _digits(do, size, bits):
        there = digit if rest < 0 else do("ADD", do("MUL", rest, 2.0**bits), digit)
        part, rest = _step(do, there, abs(by))
        quotient = part if quotient < 0 else do("ADD", do("MUL", quotient, 2.0**bits), part)
    return do("MUL", quotient, do("MUL", _sign(do, x), math.copysign(1.0, by)))  # 4


def _digits(do: Sums, size: int, bits: int) -> list[int]:
    """Return the digits of a 64-bit whole number, the greatest first, as 32-bit ones.

    Each part of 24 bits goes through float32, which holds it exactly; so it can be brought down by a product.
    """
    low = do("FLOOR_MOD", size, 2.0**WIDE_DIGIT)
    high = do("SUB", size, low)
    middle = do("FLOOR_MOD", high, 2.0 ** (2 * WIDE_DIGIT))
    found = []
    for place, part in enumerate((low, middle, do("SUB", high, middle))):
        real = do("MUL", do.cast(part, "float32"), 2.0 ** (-WIDE_DIGIT * place))
        found.append(do.cast(real, "int32"))
    found.reverse()
    if bits == WIDE_DIGIT:
        return found
    digits = []
    for part in found:
        upper = do("DIV", part, 2.0**bits)
        digits += [upper, do("SUB", part, do("MUL", upper, 2.0**bits))]
    return digits


def _step(do: Sums, x: int, by: int) -> tuple[int, int]:
    """Return the quotient of 32-bit whole numbers as one of 64 bits, and the rest."""
    part = do("DIV", x, float(by))
    return do.cast(part, "int64"), do("SUB", x, do("MUL", part, float(by)))


def _absolute(do: Sums, x: int) -> int:
    return do("ABS", x) if do.dtype(x) == "float32" else do("MAXIMUM", x, do("NEG", x))  # 4


def _sign(do: Sums, x: int) -> int:
    return do("SIGN", x) if do.dtype(x) == "float32" else do("MAXIMUM", do("MINIMUM", x, 1.0), -1.0)  # 4


def _mod(writer: Writer, op: Op) -> int:
    (a, b), do = writer.operands(op), Sums(writer)
    if not op.attributes["fmod"]:
        return do("FLOOR_MOD", a, b)
    return do("MUL", _sign(do, a), do("FLOOR_MOD", _absolute(do, a), _absolute(do, b)))


def _gelu(writer: Writer, op: Op) -> int:
    near = op.attributes["approximate"] == "tanh"
    return writer.each("GELU", writer.operands(op), "GeluOptions", approximate=near)


def _leaky(writer: Writer, op: Op) -> int:
    return writer.each("LEAKY_RELU", writer.operands(op), "LeakyReluOptions", alpha=float(op.attributes["alpha"]))


def _cast(writer: Writer, op: Op) -> int:
    return writer.each("CAST", writer.operands(op), "CastOptions", kind=writer.kind(op.output))


def _last(writer: Writer, op: Op) -> tuple[int, tuple[int, ...] | None]:
    """Return what an op along `axis` reads, that axis being the last of four, and how to turn the result back (5)."""
    shape, axis = writer.program.shapes[op.inputs[0]], op.attributes["axis"]
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    if (axis == len(shape) - 1 and len(writer.plain(shape)) == PLAIN_RANK) or (after == 1 and grows(shape) > 1):
        return writer.read(op.inputs[0]), None
    x = writer.read(op.inputs[0], (1, before, shape[axis], after))
    if after == 1:
        return writer.view(x, (1, 1, before, shape[axis])), None
    order = (0, 1, 3, 2)
    return writer.turned(x, order), order


def _softmax(writer: Writer, op: Op) -> int:
    x, order = _last(writer, op)
    result = writer.emit("SOFTMAX", [x], "SoftmaxOptions", beta=1.0)
    return result if order is None else writer.turned(result, order)


def _log_softmax(writer: Writer, op: Op) -> int:
    x, order = _last(writer, op)
    do = Sums(writer)
    below = do("SUB", x, _reduced(writer, "REDUCE_MAX", x, [3]))
    result = do("SUB", below, do("LOG", _reduced(writer, "SUM", do("EXP", below), [3])))
    return result if order is None else writer.turned(result, order)


def _reduced(writer: Writer, name: str, x: int, axes: list[int]) -> int:
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(writer.shape(x)))
    return writer.emit(name, [x, writer.numbers(*axes)], "ReducerOptions", shape=shape, keepDims=True)


def _norm(writer: Writer, op: Op) -> int:
    shape, axis, do = writer.program.shapes[op.inputs[0]], op.attributes["axis"], Sums(writer)
    rows, width = math.prod(shape[:axis]), math.prod(shape[axis:])
    x = writer.read(op.inputs[0], (1, 1, rows, width))
    centred = do("SUB", x, _reduced(writer, "MEAN", x, [3]))
    variance = _reduced(writer, "MEAN", do("MUL", centred, centred), [3])
    scaled = do("MUL", centred, do("RSQRT", do("ADD", variance, float(op.attributes["epsilon"]))))
    scale, bias = (writer.array(op, key, op.arrays[key].reshape(1, 1, 1, width)) for key in ("scale", "bias"))
    return do("ADD", do("MUL", scaled, scale), bias)  # 6


REDUCTIONS = {"ReduceMean": "MEAN", "ReduceSum": "SUM", "ReduceMax": "REDUCE_MAX", "ReduceMin": "REDUCE_MIN"}


def _reduce(writer: Writer, op: Op) -> int:
    shape, axes, dtype = writer.program.shapes[op.inputs[0]], op.attributes["axes"], writer.program.dtype(op.inputs[0])
    if dtype == "bool" or (dtype != "float32" and op.kind == "ReduceMean"):
        raise writer.refusal(op, f"TFLite has it not for {dtype}.")
    parts = groups(shape, axes)
    x = writer.read(op.inputs[0], grouped(shape, parts))
    return _reduced(
        writer, REDUCTIONS[op.kind], x, [place for place, part in enumerate(parts) if part and part[0] in axes]
    )


FORMS: Mapping[str, Form] = {
    **dict.fromkeys(PLAIN, _plain),
    **{kind: _formula(formula) for kind, formula in FORMULAS.items()},
    "Div": _divide,
    "Abs": lambda writer, op: _absolute(Sums(writer), *writer.operands(op)),
    "Sign": lambda writer, op: _sign(Sums(writer), *writer.operands(op)),
    "Mod": _mod,
    "Gelu": _gelu,
    "LeakyRelu": _leaky,
    "Cast": _cast,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "LayerNormalization": _norm,
    **dict.fromkeys(REDUCTIONS, _reduce),
}
