"""What is computed number by number in float32, with vector instructions (rows: elementwise.py).

Parameters are the bits of float64. What becomes a vector may be computed beyond the last number, up to a cache line.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from edgeseq.backends.native.kernels import functions
from edgeseq.backends.native.kernels.elementwise import one, two, with_parameter
from edgeseq.backends.native.kernels.functions import double_of_bits
from edgeseq.jit import Kernel, kernel
from edgeseq.pointers import f32

_F = np.float32
_FUSED = ("contract",)
"""Lets a product and a sum be rounded once: faster, and closer."""


@numba.njit(inline="always")
def _add(a: Any, b: Any) -> Any:
    return a + b


@numba.njit(inline="always")
def _subtract(a: Any, b: Any) -> Any:
    return a - b


@numba.njit(inline="always")
def _multiply(a: Any, b: Any) -> Any:
    return a * b


@numba.njit(inline="always", error_model="numpy")
def _divide(a: Any, b: Any) -> Any:
    return a / b


@numba.njit(inline="always")
def _least(a: Any, b: Any) -> Any:
    return a if a < b or a != a else b  # noqa: PLR0124 - NaN is what differs from itself


@numba.njit(inline="always")
def _greatest(a: Any, b: Any) -> Any:
    return a if a > b or a != a else b  # noqa: PLR0124


@numba.njit(inline="always")
def _steep(x: Any, slope: Any) -> Any:
    return x if x > _F(0) else slope * x


@numba.njit(inline="always")
def _negative(x: Any) -> Any:
    return -x


@numba.njit(inline="always")
def _size(x: Any) -> Any:
    return np.abs(x)


@numba.njit(inline="always")
def _root(x: Any) -> Any:
    return np.sqrt(x)


@numba.njit(inline="always", error_model="numpy")
def _reciprocal(x: Any) -> Any:
    return _F(1) / x


@kernel()
def add(row: Any) -> None:
    """Give a + b."""
    two(row, f32, f32, _add)


@kernel()
def subtract(row: Any) -> None:
    """Give a - b."""
    two(row, f32, f32, _subtract)


@kernel()
def multiply(row: Any) -> None:
    """Give a b."""
    two(row, f32, f32, _multiply)


@kernel()
def divide(row: Any) -> None:
    """Give a / b."""
    two(row, f32, f32, _divide)


@kernel()
def least(row: Any) -> None:
    """Give the lesser of a and b; NaN where one is."""
    two(row, f32, f32, _least)


@kernel()
def greatest(row: Any) -> None:
    """Give the greater of a and b; NaN where one is."""
    two(row, f32, f32, _greatest)


@kernel()
def steep(row: Any) -> None:
    """Give a above zero, else a b."""
    two(row, f32, f32, _steep)


@kernel()
def leaky(row: Any) -> None:
    """Give a above zero, else a times the parameter."""
    with_parameter(row, f32, f32, _steep, _F(double_of_bits(row[20])))


@kernel()
def negative(row: Any) -> None:
    """Give -a."""
    one(row, f32, f32, _negative)


@kernel()
def size(row: Any) -> None:
    """Give |a|."""
    one(row, f32, f32, _size)


@kernel()
def root(row: Any) -> None:
    """Give √a."""
    one(row, f32, f32, _root)


@kernel()
def reciprocal(row: Any) -> None:
    """Give 1 / a."""
    one(row, f32, f32, _reciprocal)


@kernel()
def relu(row: Any) -> None:
    """Give a, not below zero."""
    one(row, f32, f32, functions.relu)


@kernel(fastmath=_FUSED)
def sigmoid(row: Any) -> None:
    """Give 1 / (1 + e^-a)."""
    one(row, f32, f32, functions.sigmoid)


@kernel(fastmath=_FUSED)
def tanh(row: Any) -> None:
    """Give tanh(a)."""
    one(row, f32, f32, functions.tanh)


@kernel(fastmath=_FUSED)
def exp(row: Any) -> None:
    """Give e^a."""
    one(row, f32, f32, functions.exp)


@kernel(fastmath=_FUSED)
def erf(row: Any) -> None:
    """Give erf(a)."""
    one(row, f32, f32, functions.erf)


@kernel(fastmath=_FUSED)
def gelu(row: Any) -> None:
    """Give GELU(a)."""
    one(row, f32, f32, functions.gelu)


@kernel(fastmath=_FUSED)
def gelu_tanh(row: Any) -> None:
    """Give GELU(a) in its form with tanh."""
    one(row, f32, f32, functions.gelu_tanh)


@kernel(fastmath=_FUSED)
def elu(row: Any) -> None:
    """Give a above zero, else the parameter times (e^a - 1)."""
    with_parameter(row, f32, f32, functions.elu, _F(double_of_bits(row[20])))


@kernel(fastmath=_FUSED)
def softplus(row: Any) -> None:
    """Give log(1 + e^a)."""
    one(row, f32, f32, functions.softplus)


@kernel()
def softsign(row: Any) -> None:
    """Give a / (1 + |a|)."""
    one(row, f32, f32, functions.softsign)


@kernel()
def hard_sigmoid(row: Any) -> None:
    """Give a times the first parameter plus the second, within [0, 1]."""
    alpha, beta = _F(double_of_bits(row[20])), _F(double_of_bits(row[21]))
    for i in range(row[1]):
        for j in range(row[2]):
            y, a = f32(row[4] + i * row[5] + j * row[6]), f32(row[8] + i * row[9] + j * row[10])
            for k in range(row[3]):
                y[k] = functions.hard(a[k] * alpha + beta)


@kernel()
def hard_swish(row: Any) -> None:
    """Give a times a / 6 + 1 / 2 within [0, 1]."""
    one(row, f32, f32, functions.hard_swish)


TWO: dict[str, Kernel] = {
    "Add": add,
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "Min": least,
    "Max": greatest,
    "PRelu": steep,
}
ONE: dict[str, Kernel] = {
    "Neg": negative,
    "Abs": size,
    "Sqrt": root,
    "Reciprocal": reciprocal,
    "Relu": relu,
    "Sigmoid": sigmoid,
    "Tanh": tanh,
    "Exp": exp,
    "Erf": erf,
    "Gelu": gelu,
    "GeluTanh": gelu_tanh,
    "Elu": elu,
    "LeakyRelu": leaky,
    "Softplus": softplus,
    "Softsign": softsign,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
}
