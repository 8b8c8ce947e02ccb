"""What is computed number by number, of one, two or three inputs stretched as NumPy does."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from edgeseq.backends.native.kernels import casts, conditions, rare, real, whole
from edgeseq.backends.native.plan import LINE, Array, Plan, address, collapsed
from edgeseq.backends.native.rules.rule import Given, Rule
from edgeseq.jit import Kernel

LOOPS = 3
INPUTS = 3


def elementwise(
    plan: Plan,
    kernel: Kernel,
    dtype: object,
    *inputs: Array,
    parameters: Sequence[float] = (),
    which: int | None = None,
) -> Array:
    """Write one number of each input to one of the output.

    parameters: real numbers that the kernel takes. which: a function's number, of kernels that have several; they
    compute one number after the other, others in vectors.
    """
    y = plan.buffer(np.broadcast_shapes(*(x.shape for x in inputs)), dtype)
    parts = _streaming(plan, y, inputs)
    shape, strides = collapsed(y, *parts)
    lengths = [*(1,) * (LOOPS - len(shape)), *shape]
    if which is None:
        # The last vector of a row may go beyond its end: there is room for it, or the next row, which comes later.
        whole_vector = LINE // max(array.itemsize for array in (y, *parts))
        lengths[-1] = -(-lengths[-1] // whole_vector) * whole_vector
    row = [*lengths]
    for array, here in zip((y, *parts), strides, strict=True):
        row += [address(array), *(0,) * (LOOPS - len(shape)), *here]
    row += [0] * (1 + LOOPS) * (INPUTS - len(parts))
    bits = [struct.unpack("q", struct.pack("d", value))[0] for value in parameters]
    plan.row(kernel, *row, *bits, *(0,) * (2 - len(bits)), which or 0)
    return y


def _streaming(plan: Plan, y: Array, inputs: Sequence[Array]) -> list[Array]:
    """Return the inputs in the output's shape as a kernel takes them; copies of those that lie otherwise."""
    parts = [np.broadcast_to(x, y.shape) for x in inputs]
    _, strides = collapsed(y, *parts)
    for place, (part, here) in enumerate(zip(list(parts), strides[1:], strict=True)):
        if here[-1] not in {0, part.itemsize}:
            parts[place] = np.broadcast_to(plan.solid(inputs[place]), y.shape)
    shape, strides = collapsed(y, *parts)
    if len(shape) > LOOPS:
        parts = [plan.solid(part) for part in parts]
    elif not any(here[-1] for here in strides[1:]):
        parts[0] = plan.solid(parts[0])
    return parts


def cast(plan: Plan, x: Array, dtype: str) -> Array:
    """Return an array as one of another type."""
    source = x.dtype.name
    if source == dtype:
        return x
    kernel = casts.CASTS.get((source, dtype))
    if kernel is None:
        return cast(plan, cast(plan, x, "int64"), dtype)
    return elementwise(plan, kernel, dtype, x)


def _widened(plan: Plan, inputs: Sequence[Array]) -> list[Array]:
    """Return inputs of 32-bit whole numbers as such of 64, which are what there are kernels for."""
    return [cast(plan, x, "int64") if x.dtype == np.int32 else x for x in inputs]


def _check_alike(*inputs: Array) -> None:
    """Refuse inputs of several types: a kernel reads all of them as one."""
    if len({x.dtype for x in inputs}) > 1:
        raise ValueError(f"reads {', '.join(str(x.dtype) for x in inputs)}, which are not of one type")


def _computed(plan: Plan, op: Given, *inputs: Array) -> Array:
    _check_alike(*inputs)
    kind = op.kind
    if kind == "Mod" and op.attributes["fmod"]:
        kind = "Fmod"
    if kind == "Gelu" and op.attributes["approximate"] == "tanh":
        kind = "GeluTanh"
    parameters = [float(op.attributes[key]) for key in ("alpha", "beta") if key in op.attributes]
    wide = _widened(plan, inputs)
    dtype = wide[0].dtype.name
    if dtype == "int64":
        kernels = whole.ONE if len(wide) == 1 else whole.TWO
        return cast(plan, elementwise(plan, kernels[kind], dtype, *wide), inputs[0].dtype.name)
    kernels = real.ONE if len(wide) == 1 else real.TWO
    if dtype == "float32" and kind in kernels:
        return elementwise(plan, kernels[kind], dtype, *wide, parameters=parameters)
    numbers = rare.ONE if len(wide) == 1 else rare.TWO
    kernel = rare.KERNELS[dtype, len(wide)]
    return elementwise(plan, kernel, dtype, *wide, parameters=parameters, which=numbers[kind])


def _compared(plan: Plan, op: Given, a: Array, b: Array) -> Array:
    kind = op.kind
    if kind.startswith("Greater"):  # a > b is b < a
        kind, a, b = kind.replace("Greater", "Less"), b, a
    _check_alike(a, b)
    a, b = _widened(plan, (a, b))
    return elementwise(plan, conditions.COMPARED[kind, a.dtype.name], np.bool_, a, b)


def _logic(plan: Plan, op: Given, *inputs: Array) -> Array:
    if len(inputs) != 1 + (op.kind != "Not") or any(x.dtype != np.bool_ for x in inputs):
        raise ValueError(f"reads {', '.join(str(x.dtype) for x in inputs)}, not its conditions")
    return elementwise(plan, conditions.LOGIC[op.kind], np.bool_, *inputs)


def _where(plan: Plan, _: Given, condition: Array, a: Array, b: Array) -> Array:
    _check_alike(a, b)
    if condition.dtype != np.bool_:
        raise ValueError(f"chooses by {condition.dtype}, not by a condition")
    return elementwise(plan, conditions.CHOSEN[a.itemsize], a.dtype, condition, a, b)


def _cast(plan: Plan, op: Given, x: Array) -> Array:
    return cast(plan, x, op.attributes["to"])


COMPUTED = (
    "Add Sub Mul Div Mod Pow Min Max PRelu Neg Abs Sign Floor Ceil Exp Log Sqrt Reciprocal Sin Cos Erf Gelu Elu "
    "LeakyRelu Softplus Softsign HardSigmoid HardSwish Sigmoid Tanh Relu"
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(COMPUTED.split(), _computed),
    **dict.fromkeys(("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"), _compared),
    **dict.fromkeys(("And", "Or", "Not"), _logic),
    "Where": _where,
    "Cast": _cast,
}
