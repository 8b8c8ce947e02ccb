"""One number to one number, or two to one, in float32, with the operands of a whole block stretched as NumPy does.

A row: 1 what to compute; 2, 3, 4 the loops' lengths, the innermost last; 5 y and 6, 7 its outer strides; 8 a and
9, 10, 11 its strides; 12 b and 13, 14, 15 its strides; 16, 17 parameters, as the bits of two float32. Strides are
in numbers; y has no gaps in the innermost loop, where a's and b's are 0 or 1.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from edgeseq.backends.native.kernels import functions
from edgeseq.backends.native.kernels.functions import erf, exp, float_of_bits, relu, sigmoid, tanh
from edgeseq.backends.native.kernels.memory import f32
from edgeseq.jit import kernel

_F = np.float32

BINARY = {name: place for place, name in enumerate(("Add", "Sub", "Mul", "Div", "Min", "Max", "Pow", "Mod", "Fmod", "PRelu"))}
UNARY = {
    name: place
    for place, name in enumerate((
        "Sigmoid", "Tanh", "Relu", "Neg", "Abs", "Sign", "Floor", "Ceil", "Exp", "Log", "Sqrt", "Reciprocal", "Sin",
        "Cos", "Erf", "Gelu", "GeluTanh", "Elu", "LeakyRelu", "Softplus", "Softsign", "HardSigmoid", "HardSwish",
    ))
}  # fmt: skip


@numba.njit(inline="always")
def _two(row: Any, f: Any) -> None:
    n, whole_a, whole_b = row[4], row[11] == 1, row[15] == 1
    for i in range(row[2]):
        for j in range(row[3]):
            y = f32(row[5] + 4 * (i * row[6] + j * row[7]))
            a = f32(row[8] + 4 * (i * row[9] + j * row[10]))
            b = f32(row[12] + 4 * (i * row[13] + j * row[14]))
            if whole_a and whole_b:
                for k in range(n):
                    y[k] = f(a[k], b[k])
            elif whole_a:
                second = b[0]
                for k in range(n):
                    y[k] = f(a[k], second)
            else:
                first = a[0]
                for k in range(n):
                    y[k] = f(first, b[k * row[15]])


@numba.njit(inline="always")
def _one(row: Any, f: Any) -> None:
    for i in range(row[2]):
        for j in range(row[3]):
            y = f32(row[5] + 4 * (i * row[6] + j * row[7]))
            a = f32(row[8] + 4 * (i * row[9] + j * row[10]))
            for k in range(row[4]):
                y[k] = f(a[k])


@numba.njit(inline="always")
def _add(a: Any, b: Any) -> Any:
    return a + b


@numba.njit(inline="always")
def _sub(a: Any, b: Any) -> Any:
    return a - b


@numba.njit(inline="always")
def _mul(a: Any, b: Any) -> Any:
    return a * b


@numba.njit(inline="always", error_model="numpy")
def _div(a: Any, b: Any) -> Any:
    return a / b


@numba.njit(inline="always")
def _min(a: Any, b: Any) -> Any:
    return a if a < b or a != a else b  # noqa: PLR0124 - NaN is what differs from itself


@numba.njit(inline="always")
def _max(a: Any, b: Any) -> Any:
    return a if a > b or a != a else b  # noqa: PLR0124


@kernel()
def add(row: Any) -> None:
    """y = a + b."""
    _two(row, _add)


@kernel()
def multiply(row: Any) -> None:
    """y = a * b."""
    _two(row, _mul)

@kernel()
def subtract(row: Any) -> None:
    """y = a - b."""
    _two(row, _sub)

@kernel()
def sig(row: Any) -> None:
    """y = a - b."""
    _one(row, sigmoid)

@kernel()
def tan(row: Any) -> None:
    """y = a - b."""
    _one(row, tanh)
@kernel()
def ex(row: Any) -> None:
    """y = a - b."""
    _one(row, exp)
