"""What is rarely computed of real values: one number after the other, in float64 whatever they are stored in.

Rows are those of elementwise.py, the function's number being the 23rd; parameters are the bits of float64. A loop over
all functions is one kernel, for each costs time to compile.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from edgeseq.backends.native.kernels.functions import double_of_bits
from edgeseq.jit import Kernel, kernel
from edgeseq.pointers import f32, f64

_NAMES = (
    "Sign", "Floor", "Ceil", "Log", "Sin", "Cos", "Neg", "Abs", "Sqrt", "Reciprocal", "Relu", "Sigmoid", "Tanh", "Exp",
    "Erf", "Gelu", "GeluTanh", "Elu", "LeakyRelu", "Softplus", "Softsign", "HardSigmoid", "HardSwish",
)  # fmt: skip
(
    _SIGN, _FLOOR, _CEIL, _LOG, _SIN, _COS, _NEG, _ABS, _SQRT, _RECIPROCAL, _RELU, _SIGMOID, _TANH, _EXP,
    _ERF, _GELU, _GELU_TANH, _ELU, _LEAKY, _SOFTPLUS, _SOFTSIGN, _HARD_SIGMOID, _HARD_SWISH,
) = range(len(_NAMES))  # fmt: skip
_PAIRS = ("Pow", "Mod", "Fmod", "Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu")
_POW, _MOD, _FMOD, _ADD, _SUB, _MUL, _DIV, _MIN, _MAX, _PRELU = range(len(_PAIRS))
ONE = {name: number for number, name in enumerate(_NAMES)}
TWO = {name: number for number, name in enumerate(_PAIRS)}


@numba.njit(error_model="numpy")
def _one(which: int, x: float, alpha: float, beta: float) -> float:  # noqa: C901, PLR0911, PLR0912 - one line each
    if x != x:  # noqa: PLR0124 - NaN
        return x
    if which == _SIGN:
        return np.sign(x)
    if which == _FLOOR:
        return np.floor(x)
    if which == _CEIL:
        return np.ceil(x)
    if which == _LOG:
        return np.log(x)
    if which == _SIN:
        return np.sin(x)
    if which == _COS:
        return np.cos(x)
    if which == _NEG:
        return -x
    if which == _ABS:
        return abs(x)
    if which == _SQRT:
        return np.sqrt(x)
    if which == _RECIPROCAL:
        return 1 / x
    if which == _RELU:
        return max(x, 0.0)
    if which == _SIGMOID:
        return 0.5 * (math.tanh(0.5 * x) + 1)
    if which == _TANH:
        return math.tanh(x)
    if which == _EXP:
        return np.exp(x)
    if which == _ERF:
        return math.erf(x)
    if which == _GELU:
        return 0.5 * x * (1 + math.erf(x * math.sqrt(0.5)))
    if which == _GELU_TANH:
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if which == _ELU:
        return x if x > 0 else alpha * math.expm1(x)
    if which == _LEAKY:
        return x if x > 0 else alpha * x
    if which == _SOFTPLUS:
        return max(x, 0.0) + math.log1p(np.exp(-abs(x)))
    if which == _SOFTSIGN:
        return x / (1 + abs(x))
    if which == _HARD_SIGMOID:
        return min(max(alpha * x + beta, 0.0), 1.0)
    return x * min(max(x / 6 + 0.5, 0.0), 1.0)


@numba.njit(error_model="numpy")
def _two(which: int, a: float, b: float) -> float:  # noqa: PLR0911 - one line each
    if which == _POW:
        return a**b
    if which == _MOD:
        return _mod(a, b)
    if which == _FMOD:
        return np.fmod(a, b)
    if which == _ADD:
        return a + b
    if which == _SUB:
        return a - b
    if which == _MUL:
        return a * b
    if which == _DIV:
        return a / b
    if which == _MIN:
        return a if a < b or a != a else b  # noqa: PLR0124
    if which == _MAX:
        return a if a > b or a != a else b  # noqa: PLR0124
    return a if a > 0 else a * b


@numba.njit(error_model="numpy")
def _mod(a: float, b: float) -> float:
    """Return the rest that has the divisor's sign."""
    rest = np.fmod(a, b)
    if rest == 0:
        return math.copysign(0.0, b)
    return rest + b if (rest < 0) != (b < 0) else rest


@numba.njit(inline="always")
def _ones(row: Any, at: Any, dtype: Any) -> None:
    alpha, beta = double_of_bits(row[20]), double_of_bits(row[21])
    step = 0 if row[11] == 0 else 1
    for i in range(row[1]):
        for j in range(row[2]):
            y, a = at(row[4] + i * row[5] + j * row[6]), at(row[8] + i * row[9] + j * row[10])
            for k in range(row[3]):
                y[k] = dtype(_one(row[22], float(a[k * step]), alpha, beta))


@numba.njit(inline="always")
def _twos(row: Any, at: Any, dtype: Any) -> None:
    step_a, step_b = 0 if row[11] == 0 else 1, 0 if row[15] == 0 else 1
    for i in range(row[1]):
        for j in range(row[2]):
            y, a = at(row[4] + i * row[5] + j * row[6]), at(row[8] + i * row[9] + j * row[10])
            b = at(row[12] + i * row[13] + j * row[14])
            for k in range(row[3]):
                y[k] = dtype(_two(row[22], float(a[k * step_a]), float(b[k * step_b])))


@kernel()
def one32(row: Any) -> None:
    """Of one float32."""
    _ones(row, f32, np.float32)


@kernel()
def two32(row: Any) -> None:
    """Of two float32."""
    _twos(row, f32, np.float32)


@kernel()
def one64(row: Any) -> None:
    """Of one float64."""
    _ones(row, f64, np.float64)


@kernel()
def two64(row: Any) -> None:
    """Of two float64."""
    _twos(row, f64, np.float64)


KERNELS: dict[tuple[str, int], Kernel] = {
    ("float32", 1): one32,
    ("float32", 2): two32,
    ("float64", 1): one64,
    ("float64", 2): two64,
}
