"""What quantized tensors are computed with beside products, to the bit as export's reference interpreter has it.

A result is (value * m + 2^(s-1)) >> s, rounded once, halves upwards; then the zero point is added and it saturates.
Nothing here is left to floating point but what enters and leaves as real values.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from edgeseq.backends.native.kernels.functions import float_of_bits
from edgeseq.jit import Kernel, kernel
from edgeseq.pointers import f32, i8, i16, i32, i64, word


def _narrow(instruction: str) -> Any:
    """Return what gives int32 of two int32. Numba's own gives int64, of which Arm's vectors know no product."""

    @intrinsic
    def narrow(typingctx: Any, a: Any, b: Any) -> Any:
        kind = types.int32(types.int32, types.int32)
        return kind, lambda _, builder, __, args: getattr(builder, instruction)(*args)

    return narrow


_plus, _minus, _times = (_narrow(instruction) for instruction in ("add", "sub", "mul"))


@numba.njit(inline="always")
def _limited(value: Any, low: Any, high: Any) -> Any:
    value = max(value, low)
    return min(value, high)


@numba.njit(inline="always")
def _rescaled(row: Any, y: Any, planes: int) -> None:
    zero, low, high = row[9], row[10], row[11]
    m, shift, bias = i64(row[6]), i64(row[7]), i64(row[5])
    for r in range(row[1]):
        for k in range(row[2]):
            total = bias[k]
            for plane in range(planes):
                total += np.int64(i32(row[3] + plane * row[12] + r * row[4])[k])
            down = (total * m[k] + (np.int64(1) << (shift[k] - 1))) >> shift[k]
            y[r * row[2] + k] = _limited(down + zero, low, high)


# A row: 1 rows, 2 outputs, 3 sums int32, 4 their row stride in bytes, 5 bias, 6 m, 7 shift, int64, 8 y (without gaps),
# 9 zero point, 10 least, 11 greatest value, 12 bytes from plane to plane of the sums, 13 planes.
@kernel()
def wide8(row: Any) -> None:
    """To int8, of sums in several planes."""
    _rescaled(row, i8(row[8]), row[13])


@kernel()
def wide16(row: Any) -> None:
    """To int16, of sums in several planes."""
    _rescaled(row, i16(row[8]), row[13])


WIDE: dict[int, Kernel] = {1: wide8, 2: wide16}


# A row: 1 numbers, 2 x, 3 y, 4 x's zero point, 5 m, 6 shift, 7 y's zero point, 8 least, 9 greatest value.
# Neither has gaps.
@numba.njit(inline="always")
def _requantized(row: Any, x: Any, y: Any) -> None:
    entering, m, shift, leaving, low, high = word(row, 4), word(row, 5), row[6], row[7], row[8], row[9]
    half = np.int64(1) << (shift - 1)
    for k in range(row[1]):
        value = _minus(np.int32(x[k]), entering)
        down = (np.int64(value) * np.int64(m) + half) >> shift
        y[k] = _limited(down + leaving, low, high)


@kernel()
def requantize_8_8(row: Any) -> None:
    """From int8 to int8."""
    _requantized(row, i8(row[2]), i8(row[3]))


@kernel()
def requantize_8_16(row: Any) -> None:
    """From int8 to int16."""
    _requantized(row, i8(row[2]), i16(row[3]))


@kernel()
def requantize_16_8(row: Any) -> None:
    """From int16 to int8."""
    _requantized(row, i16(row[2]), i8(row[3]))


@kernel()
def requantize_16_16(row: Any) -> None:
    """From int16 to int16."""
    _requantized(row, i16(row[2]), i16(row[3]))


REQUANTIZE: dict[tuple[int, int], Kernel] = {
    (1, 1): requantize_8_8, (1, 2): requantize_8_16, (2, 1): requantize_16_8, (2, 2): requantize_16_16,
}  # fmt: skip


@kernel()
def widen(row: Any) -> None:
    """int16 y = int8 x less its zero point. A row: 1 numbers, 2 x, 3 y, 4 zero point."""
    x, y, zero = i8(row[2]), i16(row[3]), np.int16(row[4])
    for k in range(row[1]):
        y[k] = np.int16(x[k]) - zero


# A row: 1, 2, 3 loops; 4 y, 5, 6 its outer strides; 7 a, 8, 9 its strides; 10 b, 11, 12 its strides; in numbers, those
# of the innermost loop lying side by side. Then what the kernel says.
@numba.njit(inline="always")
def two(row: Any, f: Any) -> None:
    """Call f(row, y, a, b) with the addresses of each innermost loop."""
    for i in range(row[1]):
        for j in range(row[2]):
            y = row[4] + 2 * (i * row[5] + j * row[6])
            a = row[7] + 2 * (i * row[8] + j * row[9])
            b = row[10] + 2 * (i * row[11] + j * row[12])
            f(row, y, a, b)


@numba.njit(inline="always")
def _weighted(row: Any, y_at: int, a_at: int, b_at: int) -> None:
    y, a, b, a_m, b_m, shift = i16(y_at), i16(a_at), i16(b_at), word(row, 13), word(row, 14), row[15]
    a_zero, b_zero, zero, low, high = word(row, 16), word(row, 17), row[18], row[19], row[20]
    half = np.int64(1) << (shift - 1)
    for k in range(row[3]):
        first, second = _minus(np.int32(a[k]), a_zero), _minus(np.int32(b[k]), b_zero)
        total = np.int64(first) * np.int64(a_m) + np.int64(second) * np.int64(b_m)
        y[k] = _limited(((total + half) >> shift) + zero, low, high)


@numba.njit(inline="always")
def _multiplied(row: Any, y_at: int, a_at: int, b_at: int) -> None:
    y, a, b = i16(y_at), i16(a_at), i16(b_at)
    m, shift, zero, low, high = word(row, 13), row[14], row[15], row[16], row[17]
    half = np.int64(1) << (shift - 1)
    for k in range(row[3]):
        # 2^15 times 2^15 fits 32 bits.
        product = _times(np.int32(a[k]), np.int32(b[k]))
        y[k] = _limited(((np.int64(product) * np.int64(m) + half) >> shift) + zero, low, high)


@kernel()
def wide_sum(row: Any) -> None:
    """Give a times its m and b times its own.

    13, 14 m; 15 shift; 16, 17, 18 zero points of a, b, y; 19 least, 20 greatest value.
    """
    two(row, _weighted)


@kernel()
def wide_product(row: Any) -> None:
    """Give a b times m (13; 14 shift; 15 zero point of y; 16 least, 17 greatest); a and b have zero points of 0."""
    two(row, _multiplied)


@kernel()
def curve(row: Any) -> None:
    """Give table[x + 32768], all int16. A row: 1 numbers, 2 x, 3 y, 4 table."""
    x, y, table = i16(row[2]), i16(row[3]), i16(row[4] + 2 * 32768)
    for k in range(row[1]):
        y[k] = table[np.int64(x[k])]


@kernel()
def rectified(row: Any) -> None:
    """As requantize_16_16, of what is not below x's zero point."""
    x, y = i16(row[2]), i16(row[3])
    entering, m, shift, leaving, low, high = word(row, 4), word(row, 5), row[6], row[7], row[8], row[9]
    half = np.int64(1) << (shift - 1)
    for k in range(row[1]):
        value = _minus(max(np.int32(x[k]), entering), entering)
        y[k] = _limited(((np.int64(value) * np.int64(m) + half) >> shift) + leaving, low, high)


# A row: 1 numbers, 2 x, 3 y, 4 the bits of the scale, 5 zero point, 6 least, 7 greatest value less the zero point.
@numba.njit(inline="always")
def _quantized(row: Any, y: Any) -> None:
    x, scale, zero = f32(row[2]), float_of_bits(word(row, 4)), word(row, 5)
    low, high = np.float32(row[6]), np.float32(row[7])
    for k in range(row[1]):
        # Saturated while it is still a float: 1e30 has no whole number.
        y[k] = _plus(np.int32(_limited(np.rint(x[k] / scale), low, high)), zero)


@kernel()
def quantize8(row: Any) -> None:
    """To int8."""
    _quantized(row, i8(row[3]))


@kernel()
def quantize16(row: Any) -> None:
    """To int16."""
    _quantized(row, i16(row[3]))


QUANTIZE: dict[int, Kernel] = {1: quantize8, 2: quantize16}


# A row: 1 rows, 2 columns, 3 x, 4 y, 5 zero point, 6 the bits of the scale, 7 factors, 8 offsets, float32 a column.
@numba.njit(inline="always")
def _real(row: Any, x: Any) -> None:
    y, zero, scale = f32(row[4]), word(row, 5), float_of_bits(word(row, 6))
    factor, offset, n = f32(row[7]), f32(row[8]), row[2]
    for r in range(row[1]):
        for k in range(n):
            y[r * n + k] = np.float32(_minus(np.int32(x[r * n + k]), zero)) * scale * factor[k] + offset[k]


@numba.njit(inline="always")
def _real_plain(row: Any, x: Any) -> None:
    y, zero, scale = f32(row[4]), word(row, 5), float_of_bits(word(row, 6))
    for k in range(row[1] * row[2]):
        y[k] = np.float32(_minus(np.int32(x[k]), zero)) * scale


@kernel()
def real8(row: Any) -> None:
    """Of int8, with factors and offsets."""
    _real(row, i8(row[3]))


@kernel()
def real16(row: Any) -> None:
    """Of int16, with factors and offsets."""
    _real(row, i16(row[3]))


@kernel()
def real_plain8(row: Any) -> None:
    """Of int8."""
    _real_plain(row, i8(row[3]))


@kernel()
def real_plain16(row: Any) -> None:
    """Of int16."""
    _real_plain(row, i16(row[3]))


REAL: dict[tuple[bool, int], Kernel] = {
    (True, 1): real8, (True, 2): real16, (False, 1): real_plain8, (False, 2): real_plain16,
}  # fmt: skip


# A row: 1 matrices, 2 M, 3 K, 4 N; 5 a, 6 its strides by matrix, 7 by row, 8 by column; 9 b, 10 to 12 the same;
# 13 y int64 [matrices, M, N]; 14, 15 zero points; strides in numbers.
@numba.njit(inline="always")
def _matmul(row: Any, a_at: Any, b_at: Any, a_size: int, b_size: int) -> None:
    n, depth = row[4], row[3]
    a_zero, b_zero = word(row, 14), word(row, 15)
    for g in range(row[1]):
        for m in range(row[2]):
            y = i64(row[13] + 8 * (g * row[2] + m) * n)
            a = a_at(row[5] + a_size * (g * row[6] + m * row[7]))
            for j in range(n):
                y[j] = 0
            for k in range(depth):
                b = b_at(row[9] + b_size * (g * row[10] + k * row[11]))
                value = _minus(np.int32(a[k * row[8]]), a_zero)
                if row[12] == 1:
                    for j in range(n):
                        y[j] += np.int64(value) * np.int64(_minus(np.int32(b[j]), b_zero))
                else:
                    for j in range(n):
                        y[j] += np.int64(value) * np.int64(_minus(np.int32(b[j * row[12]]), b_zero))


@kernel()
def matmul_8_8(row: Any) -> None:
    """int8 times int8."""
    _matmul(row, i8, i8, 1, 1)


@kernel()
def matmul_8_16(row: Any) -> None:
    """int8 times int16."""
    _matmul(row, i8, i16, 1, 2)


@kernel()
def matmul_16_8(row: Any) -> None:
    """int16 times int8."""
    _matmul(row, i16, i8, 2, 1)


@kernel()
def matmul_16_16(row: Any) -> None:
    """int16 times int16."""
    _matmul(row, i16, i16, 2, 2)


MATMUL: dict[tuple[int, int], Kernel] = {
    (1, 1): matmul_8_8, (1, 2): matmul_8_16, (2, 1): matmul_16_8, (2, 2): matmul_16_16,
}  # fmt: skip


# A row: 1 numbers, 2 sums int64, 3 y, 4 m, 5 shift, 6 zero point, 7 least, 8 greatest value.
@numba.njit(inline="always")
def _settled(row: Any, y: Any) -> None:
    sums, m, shift, zero, low, high = i64(row[2]), row[4], row[5], row[6], row[7], row[8]
    half = np.int64(1) << (shift - 1)
    for k in range(row[1]):
        y[k] = _limited(((sums[k] * m + half) >> shift) + zero, low, high)


@kernel()
def settle8(row: Any) -> None:
    """To int8."""
    _settled(row, i8(row[3]))


@kernel()
def settle16(row: Any) -> None:
    """To int16."""
    _settled(row, i16(row[3]))


SETTLE: dict[int, Kernel] = {1: settle8, 2: settle16}
