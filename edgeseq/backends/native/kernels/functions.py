"""Curves over float32, as arithmetic alone, so that loops over them become vector instructions.

Their greatest errors are found by tests/backends/test_native_kernels.py.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_F = np.float32


@intrinsic
def float_of_bits(typingctx: Any, bits: Any) -> Any:  # noqa: ARG001 - Numba's own form
    """Return the float32 whose bits an int32 is."""
    return types.float32(types.int32), lambda _, builder, __, args: builder.bitcast(args[0], ir.FloatType())


@numba.njit(inline="always")
def relu(x: Any) -> Any:
    """Not below zero; NaN stays NaN."""
    return _F(0) if x < _F(0) else x


@numba.njit(inline="always")
def tanh(x: Any) -> Any:
    """Return tanh(x) as x P(x²) / Q(x²), fitted for the least greatest relative error over [0, 9]: within 4e-7."""
    # From 9 on float32 has 1 alone.
    x = _F(9) if x > _F(9) else x
    x = _F(-9) if x < _F(-9) else x
    u = x * x
    p = _F(-1.2780492e-08) + u * _F(1.8255382e-11)
    p = _F(2.9207636e-03) + u * (_F(9.2674372e-06) + u * p)
    p = _F(0.99999994) + u * (_F(0.12919231) + u * p)
    q = _F(1) + u * (_F(0.46252513) + u * (_F(2.3763176e-02) + u * _F(2.2810044e-04)))
    y = x * p / q
    y = _F(1) if y > _F(1) else y
    return _F(-1) if y < _F(-1) else y


@numba.njit(inline="always")
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)) by way of tanh: within 2e-7."""
    return _F(0.5) * tanh(_F(0.5) * x) + _F(0.5)


@numba.njit(inline="always")
def erf(x: Any) -> Any:
    """Return the error function as x P(x²) / Q(x²), fitted as tanh is, over [0, 3.92]: within 4e-7."""
    x = _F(3.92) if x > _F(3.92) else x
    x = _F(-3.92) if x < _F(-3.92) else x
    u = x * x
    p = _F(1.4185038e-04) + u * (_F(-1.9578360e-06) + u * _F(1.9924265e-08))
    p = _F(5.0573315e-02) + u * (_F(3.7016049e-03) + u * p)
    p = _F(1.1283791) + u * (_F(0.19992439) + u * p)
    q = _F(0.11499836) + u * (_F(1.4353195e-02) + u * _F(9.5603800e-04))
    q = _F(1) + u * (_F(0.51051003) + u * q)
    y = x * p / q
    y = _F(1) if y > _F(1) else y
    return _F(-1) if y < _F(-1) else y


@numba.njit(inline="always")
def exp(x: Any) -> Any:
    """Return e^x, infinity and zero beyond what float32 holds: within 2e-7 of its size.

    x = n ln 2 + r, |r| <= ln 2 / 2 (Cody and Waite, "Software Manual for the Elementary Functions", 1980, chapter 6).
    """
    x = _F(89) if x > _F(89) else x
    x = _F(-104) if x < _F(-104) else x
    n = np.rint(x * _F(1.44269504))
    r = x - n * _F(0.693359375)
    r = r - n * _F(-2.12194440e-4)
    p = _F(8.3333333e-3) + r * (_F(1.3888889e-3) + r * _F(1.9841270e-4))
    p = _F(0.5) + r * (_F(0.16666667) + r * (_F(4.1666667e-2) + r * p))
    p = _F(1) + r * (_F(1) + r * p)
    # 2^n in two factors, for n reaches from -150 to 128, beyond what an exponent holds.
    whole = np.int32(n)
    half = whole >> np.int32(1)
    first = float_of_bits(np.int32((half + np.int32(127)) << np.int32(23)))
    return p * first * float_of_bits(np.int32((whole - half + np.int32(127)) << np.int32(23)))
