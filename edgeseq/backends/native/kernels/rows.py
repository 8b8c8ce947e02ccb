"""What is computed of whole rows: softmax, norms, sums, greatest and least.

A row of the table: 1 how many rows; 2 numbers in each; 3 y, 4 its row stride; 5 x, 6 its row stride; 7 scale, 8 bias,
9 the bits of epsilon as float64. Strides are in bytes; the numbers of a row lie side by side. Rows of y may be written
beyond their end, up to a cache line: the next row comes later, and behind the last one there is room.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from edgeseq.backends.native.kernels.functions import double_of_bits, exp
from edgeseq.backends.native.kernels.sums import extreme, squares, total
from edgeseq.jit import Kernel, kernel
from edgeseq.pointers import f32, f64, i64

_F = np.float32
_TO_GREATEST, _TO_LEAST = np.int32(0), np.int32(-(2**31))


@numba.njit(inline="always")
def _whole_vectors(n: Any) -> Any:
    return (n + 15) & ~15


@kernel(fastmath=("contract",))
def softmax(row: Any) -> None:
    """e^x over its sum."""
    n = row[2]
    for r in range(row[1]):
        y, x = f32(row[3] + r * row[4]), f32(row[5] + r * row[6])
        top = extreme(row[5] + r * row[6], n, _TO_GREATEST)
        for k in range(_whole_vectors(n)):
            y[k] = exp(x[k] - top)
        factor = _F(1) / total(y, n)
        for k in range(_whole_vectors(n)):
            y[k] *= factor


@kernel(fastmath=("contract",))
def log_softmax(row: Any) -> None:
    """X less the logarithm of e^x's sum."""
    n = row[2]
    for r in range(row[1]):
        y, x = f32(row[3] + r * row[4]), f32(row[5] + r * row[6])
        top = extreme(row[5] + r * row[6], n, _TO_GREATEST)
        for k in range(_whole_vectors(n)):
            y[k] = exp(x[k] - top)
        rest = _F(np.log(np.float64(total(y, n))))
        for k in range(_whole_vectors(n)):
            y[k] = x[k] - top - rest


@kernel(fastmath=("contract",))
def layer_norm(row: Any) -> None:
    """X less its mean, over the root of its variance, times scale plus bias."""
    n, scale, bias = row[2], f32(row[7]), f32(row[8])
    share, epsilon = _F(1) / _F(n), _F(double_of_bits(row[9]))
    for r in range(row[1]):
        y, x = f32(row[3] + r * row[4]), f32(row[5] + r * row[6])
        mean = total(x, n) * share
        factor = _F(1) / np.sqrt(squares(x, n, mean) * share + epsilon)
        for k in range(_whole_vectors(n)):
            y[k] = (x[k] - mean) * factor * scale[k] + bias[k]


@kernel()
def sum_f32(row: Any) -> None:
    """The sum."""
    for r in range(row[1]):
        f32(row[3] + r * row[4])[0] = total(f32(row[5] + r * row[6]), row[2])


@kernel()
def mean_f32(row: Any) -> None:
    """The mean."""
    for r in range(row[1]):
        f32(row[3] + r * row[4])[0] = total(f32(row[5] + r * row[6]), row[2]) / _F(row[2])


@kernel()
def greatest_f32(row: Any) -> None:
    """The greatest; NaN where one is."""
    for r in range(row[1]):
        f32(row[3] + r * row[4])[0] = extreme(row[5] + r * row[6], row[2], _TO_GREATEST)


@kernel()
def least_f32(row: Any) -> None:
    """The least; NaN where one is."""
    for r in range(row[1]):
        f32(row[3] + r * row[4])[0] = extreme(row[5] + r * row[6], row[2], _TO_LEAST)


@numba.njit(inline="always")
def _gathered(row: Any, at: Any, f: Any) -> None:
    for r in range(row[1]):
        x = at(row[5] + r * row[6])
        y = x[0]
        for k in range(1, row[2]):
            y = f(y, x[k])
        at(row[3] + r * row[4])[0] = y


@numba.njit(inline="always")
def _sum(a: Any, b: Any) -> Any:
    return a + b


@numba.njit(inline="always")
def _greater(a: Any, b: Any) -> Any:
    return a if a > b or a != a else b  # noqa: PLR0124 - NaN is what differs from itself


@numba.njit(inline="always")
def _lesser(a: Any, b: Any) -> Any:
    return a if a < b or a != a else b  # noqa: PLR0124


@kernel()
def sum_f64(row: Any) -> None:
    """The sum."""
    _gathered(row, f64, _sum)


@kernel()
def mean_f64(row: Any) -> None:
    """The mean."""
    _gathered(row, f64, _sum)
    for r in range(row[1]):
        f64(row[3] + r * row[4])[0] /= row[2]


@kernel()
def greatest_f64(row: Any) -> None:
    """The greatest; NaN where one is."""
    _gathered(row, f64, _greater)


@kernel()
def least_f64(row: Any) -> None:
    """The least; NaN where one is."""
    _gathered(row, f64, _lesser)


@kernel()
def sum_i64(row: Any) -> None:
    """The sum."""
    _gathered(row, i64, _sum)


@kernel()
def greatest_i64(row: Any) -> None:
    """The greatest."""
    _gathered(row, i64, _greater)


@kernel()
def least_i64(row: Any) -> None:
    """The least."""
    _gathered(row, i64, _lesser)


REDUCED: dict[tuple[str, str], Kernel] = {
    ("ReduceSum", "float32"): sum_f32,
    ("ReduceMean", "float32"): mean_f32,
    ("ReduceMax", "float32"): greatest_f32,
    ("ReduceMin", "float32"): least_f32,
    ("ReduceSum", "float64"): sum_f64,
    ("ReduceMean", "float64"): mean_f64,
    ("ReduceMax", "float64"): greatest_f64,
    ("ReduceMin", "float64"): least_f64,
    ("ReduceSum", "int64"): sum_i64,
    ("ReduceMax", "int64"): greatest_i64,
    ("ReduceMin", "int64"): least_i64,
}
