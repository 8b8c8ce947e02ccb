"""What kernels compute of a float32, as arithmetic alone, so that loops over it become vector instructions.

The greatest errors of curves are found by tests/backends/test_native_ops.py.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from edgeseq.backends.native.kernels import curves
from edgeseq.backends.native.kernels.vectors import F32, called

_F = np.float32


@intrinsic
def float_of_bits(typingctx: Any, bits: Any) -> Any:
    """Return the float32 whose bits an int32 is."""
    return types.float32(types.int32), lambda _, builder, __, args: builder.bitcast(args[0], ir.FloatType())


@intrinsic
def double_of_bits(typingctx: Any, bits: Any) -> Any:
    """Return the float64 whose bits an int64 is."""
    return types.float64(types.int64), lambda _, builder, __, args: builder.bitcast(args[0], ir.DoubleType())


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c of float32, in one rounding where the processor has that."""

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return called(builder, "llvm.fmuladd.f32", F32, args)

    return types.float32(types.float32, types.float32, types.float32), generate


@numba.njit(inline="always")
def relu(x: Any) -> Any:
    """Not below zero; NaN stays NaN."""
    return max(x, _F(0))


tanh, exp, sigmoid = curves.of_one(curves.tanh), curves.of_one(curves.exp), curves.of_one(curves.sigmoid)
erf, _expm1 = curves.of_one(curves.erf), curves.of_one(curves.expm1)


@numba.njit(inline="always")
def elu(x: Any, alpha: Any) -> Any:
    """Return x above zero, else alpha (e^x - 1): within 2e-7 of its size."""
    return x if x > _F(0) else alpha * _expm1(x)


@numba.njit(inline="always")
def softplus(x: Any) -> Any:
    """Return log(1 + e^x) = max(x, 0) + log(1 + e^-|x|): within 3e-7 of its size.

    log(1 + u) = 2 artanh(u / (2 + u)), whose series ends soon: the argument is at most 1/3.
    """
    u = exp(-np.abs(x))
    s = u / (_F(2) + u)
    v = s * s
    p = _F(1 / 9) + v * (_F(1 / 11) + v * (_F(1 / 13) + v * _F(1 / 15)))
    p = _F(1) + v * (_F(1 / 3) + v * (_F(1 / 5) + v * (_F(1 / 7) + v * p)))
    return relu(x) + _F(2) * s * p


@numba.njit(inline="always")
def gelu(x: Any) -> Any:
    """Return x / 2 (1 + erf(x / √2))."""
    return _F(0.5) * x * (_F(1) + erf(x * _F(0.70710678)))


@numba.njit(inline="always")
def gelu_tanh(x: Any) -> Any:
    """Return x / 2 (1 + tanh(√(2 / π) (x + 0.044715 x³)))."""
    return _F(0.5) * x * (_F(1) + tanh(_F(0.79788456) * (x + _F(0.044715) * (x * x * x))))


@numba.njit(inline="always")
def softsign(x: Any) -> Any:
    """Return x / (1 + |x|)."""
    return x / (_F(1) + np.abs(x))


@numba.njit(inline="always")
def hard(x: Any) -> Any:
    """Not below zero, nor above one; NaN stays NaN."""
    x = relu(x)
    return min(x, _F(1))


@numba.njit(inline="always")
def hard_swish(x: Any) -> Any:
    """Return x times x / 6 + 1 / 2, held within [0, 1]."""
    return x * hard(x / _F(6) + _F(0.5))
