"""Operations on quantized tensors, with the multipliers that export's reference interpreter computes with."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends.native.kernels import integer_products, integers, scaling
from edgeseq.backends.native.kernels.products import panels
from edgeseq.backends.native.kernels.vectors import BYTES, LANES
from edgeseq.backends.native.plan import Array, Plan, address, collapsed
from edgeseq.backends.native.program import Tensor
from edgeseq.backends.native.rules.convolution import channels_of, rows_of
from edgeseq.backends.native.rules.moving import reshaped
from edgeseq.backends.native.rules.rule import Given, Rule

MULTIPLIER_BITS, MAX_SHIFT = 31, 62
NARROW_BITS = 22
"""Of the multiplier of int16 products, whose sums pass 32 bits."""
PART = 508
"""Inputs of int16 times int8 whose sum fits 32 bits, whatever they are."""
LOOPS = 3


def multiplier(ratio: float) -> tuple[int, int]:
    """Return (m, s), m below 2^31: ratio = m / 2^s to 31 bits. s is at least 1, at most MAX_SHIFT."""
    mantissa, exponent = math.frexp(ratio)
    m = round(mantissa * (1 << MULTIPLIER_BITS))
    if m == 1 << MULTIPLIER_BITS:
        m, exponent = m >> 1, exponent + 1
    shift = MULTIPLIER_BITS - exponent
    return (m, shift) if shift <= MAX_SHIFT else (round(math.ldexp(ratio, MAX_SHIFT)), MAX_SHIFT)


def shifted_down(m: int, shift: int) -> tuple[int, int]:
    """Return (m, s) with the same m / 2^s and s at least 1, for a kernel shifts to the right."""
    return (m, shift) if shift >= 1 else (m << (1 - shift), 1)


def scale(kind: Tensor) -> float:
    """Return a quantized tensor's scale. Raises ValueError where it has none."""
    if kind.scale is None or kind.scale <= 0 or kind.dtype not in {"int8", "int16"}:
        raise ValueError(f"a tensor of {kind.dtype} with scale {kind.scale} is no quantized one")
    return kind.scale


def limits(kind: Tensor, *, relu: bool = False) -> tuple[int, int]:
    """Return the least and greatest integer that a tensor holds."""
    info = np.iinfo(kind.dtype)
    return (kind.zero_point if relu else int(info.min)), int(info.max)


def _linear(plan: Plan, op: Given, x: Array) -> Array:
    weight = op.arrays["weight"]
    y = plan.buffer((*x.shape[:-1], len(weight)), op.stored.dtype)
    rows = reshaped(plan, plan.solid(x), (-1, x.shape[-1]))
    _product(plan, op, y.reshape(-1, len(weight)), _sixteen(plan, rows, op.kinds[0]), weight, slice(None))
    return y


def _sixteen(plan: Plan, x: Array, kind: Tensor) -> Array:
    """Return what a product multiplies as int16, int8 less its zero point."""
    if x.dtype == np.int16:
        return x
    made = plan.buffer(x.shape, np.int16)
    plan.row(integers.widen, x.size, address(x), address(made), kind.zero_point)
    return made


def _product(  # noqa: PLR0917 - what a product is made of
    plan: Plan, op: Given, y: Array, x: Array, weight: NDArray[np.int8], outputs: slice
) -> None:
    """Write y [rows, outputs] = x int16[rows, inputs] @ weight.T + bias, brought to y's integers.

    outputs: which of the operation's they are.
    """
    bias, scales = op.arrays["bias"][outputs].astype(np.int64), op.arrays["scale"][outputs]
    fits = x.ndim == y.ndim == weight.ndim == 2 and x.shape[1] == weight.shape[1] and len(x) == len(y)  # noqa: PLR2004
    if not fits or weight.dtype != np.int8 or not len(weight) == len(bias) == len(scales) == y.shape[1]:
        raise ValueError(f"{x.dtype}{x.shape} does not go with weights {weight.dtype}{weight.shape}")
    entering = op.kinds[0]
    if entering.dtype == "int16":
        bias = bias - entering.zero_point * weight.sum(axis=1, dtype=np.int64)
    m, shift = _multipliers(entering, op.stored, scales)
    # A sum of |weights| times the greatest |input| is the greatest that there can be.
    greatest = np.abs(weight.astype(np.int64)).sum(axis=1) << 15
    most = int((greatest + np.abs(bias)).max(initial=0))
    parts = [slice(None)] if most < 2**31 else [slice(i, i + PART) for i in range(0, x.shape[1], PART)]
    planes = plan.buffer((len(parts), len(y), y.shape[1]), np.int32)
    for plane, part in zip(planes, parts, strict=True):
        sums(plan, plane, x[:, part], np.ascontiguousarray(weight[:, part]))
    zero, (low, high) = op.stored.zero_point, limits(op.stored, relu=bool(op.attributes.get("relu")))
    columns: tuple[Array, ...] = (bias, m, shift)
    kernels, ending = integers.WIDE, [zero, low, high, planes.strides[0], len(parts)]
    upper = _upper(m, shift, most)
    if upper is not None:
        columns = tuple(column.astype(np.int32) for column in (bias, *upper[:2]))
        kernels, ending = scaling.NARROW, [2 * zero + 1, low, upper[2]]
    tables = [address(plan.stored(column)) for column in columns]
    plan.row(
        kernels[y.itemsize], len(y), y.shape[1], address(planes), planes.strides[1], *tables, address(y), *ending
    )  # fmt: skip


def _multipliers(entering: Tensor, stored: Tensor, scales: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each output's multiplier and shift."""
    pairs = [_of_sums(entering, scale(entering) * float(each) / scale(stored)) for each in scales]
    columns = np.ascontiguousarray(np.array(pairs, np.int64).reshape(-1, 2).T)
    return columns[0], columns[1]


def _of_sums(entering: Tensor, ratio: float) -> tuple[int, int]:
    """Return the multiplier and shift of a product's sums."""
    m, shift = multiplier(ratio)
    dropped = MULTIPLIER_BITS - NARROW_BITS if entering.dtype == "int16" else 0
    return shifted_down(m >> dropped, shift - dropped)


def sums(plan: Plan, y: Array, x: Array, weight: NDArray[np.int8]) -> None:
    """Write y int32[rows, outputs] = x int16[rows, inputs] @ weight.T; the last axes have no gaps."""
    groups = -(-x.shape[1] // integer_products.PER)
    entering, within = x, x.strides[0]
    if BYTES:
        within = integer_products.PER * groups
        entering = plan.buffer((len(x), 2, within), np.int8)
        plan.row(
            integer_products.halve, len(x), address(x), x.strides[0], x.shape[1], address(entering), entering.strides[0]
        )
    for size, count, first in panels(len(weight), weight.shape[1]):
        packed = plan.stored(integer_products.packed(weight, size, count, first))
        width = min(count * size * LANES, len(weight) - first)
        plan.row(
            integer_products.LINEAR[size], len(x), address(entering), entering.strides[0], address(packed), count,
            groups, address(y) + 4 * first, y.strides[0], width, 0, within,
        )  # fmt: skip


def _conv(plan: Plan, op: Given, x: Array) -> Array:
    weight = op.arrays["weight"]
    rows, places = rows_of(plan, op, x, op.kinds[0].zero_point)
    rows, outputs = _sixteen(plan, rows, op.kinds[0]), len(weight) // len(rows)
    y = plan.buffer((*rows.shape[:2], outputs), op.stored.dtype)
    for group, (here, entering) in enumerate(zip(y, rows, strict=True)):
        part = slice(group * outputs, (group + 1) * outputs)
        _product(plan, op, here, entering, weight[part].reshape(outputs, -1), part)
    return channels_of(plan, y, places)


def _matmul(plan: Plan, op: Given, a: Array, b: Array) -> Array:
    streams = max(len(a), len(b))
    outer = np.broadcast_shapes(a.shape[:-2], b.shape[:-2], (streams,) + (1,) * (a.ndim - 3))
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"{a.shape} and {b.shape} do not multiply")
    m, depth, n = a.shape[-2], a.shape[-1], b.shape[-1]
    a, b = (_matrices(plan, np.broadcast_to(x, (*outer, *x.shape[-2:]))) for x in (a, b))
    count = math.prod(outer)
    sums, y = plan.buffer((count, m, n), np.int64), plan.buffer((*outer, m, n), op.stored.dtype)
    first, second = op.kinds
    strides = [[step // x.itemsize for step in x.strides] for x in (a, b)]
    plan.row(
        integers.MATMUL[a.itemsize, b.itemsize], count, m, depth, n, address(a), *strides[0], address(b), *strides[1],
        address(sums), first.zero_point, second.zero_point,
    )  # fmt: skip
    factor, shift = _of_sums(first, scale(first) * scale(second) / scale(op.stored))
    plan.row(
        integers.SETTLE[y.itemsize], sums.size, address(sums), address(y), factor, shift, op.stored.zero_point,
        *limits(op.stored),
    )  # fmt: skip
    return y


def _matrices(plan: Plan, x: Array) -> Array:
    """Return [..., rows, columns] as [matrices, rows, columns] with one stride from matrix to matrix."""
    return reshaped(plan, x, (-1, *x.shape[-2:]))


def _pair(plan: Plan, op: Given, a: Array, b: Array) -> tuple[Array, list[int]]:
    """Return a new output and the loops and strides over it and two int16 operands, stretched as NumPy does."""
    parts = list(np.broadcast_arrays(a, b))
    if any(part.dtype != np.int16 for part in parts) or op.stored.dtype != "int16":
        raise ValueError(f"has integers of {a.dtype}, {b.dtype} and {op.stored.dtype}; all have to be int16")
    y = plan.buffer(parts[0].shape, np.int16)
    shape, strides = collapsed(y, *parts)
    if len(shape) > LOOPS or any(each[-1] != y.itemsize for each in strides):
        parts = [plan.solid(part) for part in parts]
        shape, strides = collapsed(y, *parts)
    fill = (0,) * (LOOPS - len(shape))
    values = [*(1,) * len(fill), *shape]
    for part, here in zip((y, *parts), strides, strict=True):
        values += [address(part), *(*fill, *(s // 2 for s in here))[:-1]]
    return y, values


def _sum(plan: Plan, op: Given, a: Array, b: Array) -> Array:
    y, values = _pair(plan, op, a, b)
    first, second = op.kinds
    ratios = scale(first) / scale(op.stored), scale(second) / scale(op.stored)
    shift = multiplier(max(ratios))[1]
    factors = [round(ratio * 2.0**shift) for ratio in ratios]
    if op.kind == "Sub":
        factors[1] = -factors[1]
    while shift < 1:
        factors, shift = [2 * factor for factor in factors], shift + 1
    if any(abs(factor) >= 2**31 for factor in factors):
        raise ValueError("its scales lie too far apart")
    zeros = first.zero_point, second.zero_point, op.stored.zero_point
    halves = _halves(factors, shift, zeros)
    if halves is None:
        plan.row(integers.wide_sum, *values, *factors, shift, *zeros, *limits(op.stored))
    else:
        plan.row(scaling.weighted_sum, *values, *halves)
    return y


def _halves(factors: list[int], shift: int, zeros: tuple[int, int, int]) -> list[int] | None:
    """Return a weighted sum as scaling.weighted_sum takes it; None where that could pass 32 bits."""
    lower = [(factor + 2**15) % 2**16 - 2**15 for factor in factors]
    upper = [(factor - low) >> 16 for factor, low in zip(factors, lower, strict=True)]
    constant = (zeros[2] << shift) + (1 << (shift - 1)) - zeros[0] * factors[0] - zeros[1] * factors[1]
    more_upper, more_lower = divmod(constant, 2**16)
    # The greatest that there can be, whatever the int16; what the lower halves carry is at most 2^15.
    of_lower = (sum(map(abs, lower)) << 15) + more_lower
    of_upper = (sum(map(abs, upper)) << 15) + abs(more_upper) + 2**15
    if max(of_lower, of_upper) >= 2**31 or max(map(abs, upper)) >= 2**15 or not 0 <= shift - 16 < 32:  # noqa: PLR2004
        return None
    pairs = [(first % 2**16) + (second << 16) for first, second in (lower, upper)]
    return [*pairs, more_lower, more_upper, shift - 16]


def _mul(plan: Plan, op: Given, a: Array, b: Array) -> Array:
    y, values = _pair(plan, op, a, b)
    first, second = op.kinds
    m, shift = _single(scale(first) * scale(second) / scale(op.stored))
    if first.zero_point or second.zero_point:
        raise ValueError("int16 operands of a product have zero points")
    upper = _upper(np.array(m), np.array(shift), 2**30)
    zero = op.stored.zero_point
    if upper is None:
        plan.row(integers.wide_product, *values, m, shift, zero, *limits(op.stored))
    else:
        plan.row(scaling.scaled_product, *values, *map(int, upper[:2]), 2 * zero + 1)
    return y


def _upper(m: Array, shift: Array, greatest: int) -> tuple[Array, Array, int] | None:
    """Return m and shifts less SHIFT, as scaling.py takes them, and what values are to be shifted up by before.

    greatest: of all values. None where shifts are too low, and m or values have no bits left for it.
    """
    for up in range(1 + (2**31 - 1).bit_length() - greatest.bit_length()):
        more = np.maximum(scaling.SHIFT - up - shift, 0)
        down = shift + up + more - scaling.SHIFT
        if np.all(m <= (2**31 - 1) >> more) and np.all(down < 32):  # noqa: PLR2004 - bits
            return m << more, down, up
    return None


def _single(ratio: float) -> tuple[int, int]:
    """Return a multiplier of 31 bits and its shift. Raises ValueError where there is none."""
    m, shift = shifted_down(*multiplier(ratio))
    if m >= 2**31:
        raise ValueError(f"its scales have a ratio of {ratio:g}")
    return m, shift


@cache
def table(kind: str, step: float) -> NDArray[np.int16]:
    """Return Sigmoid or Tanh for every int16 input at a scale, as integers of scale 2^-15."""
    x = np.arange(-32768, 32768, dtype=np.float64) * step
    y = 0.5 * (np.tanh(0.5 * x) + 1.0) if kind == "Sigmoid" else np.tanh(x)
    return np.clip(np.floor(y * 32768 + 0.5), -32768, 32767).astype(np.int16)


def _curve(plan: Plan, op: Given, x: Array) -> Array:
    if x.dtype != np.int16 or op.stored.dtype != "int16" or scale(op.stored) != 2.0**-15:
        raise ValueError("reads and writes int16, and writes it at a scale of 2^-15")
    x, y = plan.solid(x), plan.buffer(x.shape, np.int16)
    entries = plan.keep(table(op.kind, scale(op.kinds[0])))
    plan.row(integers.curve, x.size, address(x), address(y), address(entries))
    return y


def _requantize(plan: Plan, op: Given, x: Array) -> Array:
    x, y = plan.solid(x), plan.buffer(x.shape, op.stored.dtype)
    m, shift = _single(scale(op.kinds[0]) / scale(op.stored))
    kernel = integers.REQUANTIZE[x.itemsize, y.itemsize]
    if op.kind == "Relu":
        if (x.itemsize, y.itemsize) != (2, 2):
            raise ValueError(f"has integers of {x.dtype} and {y.dtype}; both have to be int16")
        kernel = integers.rectified
    plan.row(
        kernel, x.size, address(x), address(y), op.kinds[0].zero_point, m, shift, op.stored.zero_point,
        *limits(op.stored),
    )  # fmt: skip
    return y


def _quantize(plan: Plan, op: Given, x: Array) -> Array:
    if x.dtype != np.float32:
        raise ValueError(f"reads {x.dtype}, not float32")
    step, zero = scale(op.stored), op.stored.zero_point
    x, y = plan.solid(x), plan.buffer(x.shape, op.stored.dtype)
    low, high = limits(op.stored)
    plan.row(integers.QUANTIZE[y.itemsize], x.size, address(x), address(y), _bits(step), zero, low - zero, high - zero)
    return y


def _dequantize(plan: Plan, op: Given, x: Array) -> Array:
    kind = op.kinds[0]
    columns = x.shape[-1] if x.ndim > 1 else 1
    x, y = plan.solid(x), plan.buffer(x.shape, np.float32)
    scaled = bool(op.arrays)
    tables = [
        plan.stored(np.broadcast_to(op.arrays.get(key, np.float32(value)), columns).astype(np.float32))
        for key, value in (("factor", 1), ("offset", 0))
        if scaled
    ]
    plan.row(
        integers.REAL[scaled, x.itemsize], x.size // max(columns, 1), columns, address(x), address(y), kind.zero_point,
        _bits(scale(kind)), *map(address, tables),
    )  # fmt: skip
    return y


def _bits(value: float) -> int:
    """Return a number's float32 as the whole number of its bits."""
    return int(np.float32(value).view(np.int32))


RULES: dict[str, Rule] = {
    "Linear": _linear,
    "Conv": _conv,
    "MatMul": _matmul,
    "Add": _sum,
    "Sub": _sum,
    "Mul": _mul,
    "Sigmoid": _curve,
    "Tanh": _curve,
    "Relu": _requantize,
    "Requantize": _requantize,
    "Quantize": _quantize,
    "Dequantize": _dequantize,
}
