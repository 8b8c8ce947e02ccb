"""Curves over float32, written in LLVM's instructions: of one number, or of a vector of them to the same bits.

Their greatest errors are found by tests/backends/test_native_ops.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from edgeseq.backends.native.kernels.vectors import F32, I32, called


class Number:
    """A float32, or a vector of them, in a function that a builder writes."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Number | float) -> Number:
        return self._made(self.builder.fadd(self.value, self.alike(other).value))

    def __sub__(self, other: Number | float) -> Number:
        return self._made(self.builder.fsub(self.value, self.alike(other).value))

    def __mul__(self, other: Number | float) -> Number:
        return self._made(self.builder.fmul(self.value, self.alike(other).value))

    def __truediv__(self, other: Number | float) -> Number:
        return self._made(self.builder.fdiv(self.value, self.alike(other).value))

    def __neg__(self) -> Number:
        return self._made(self.builder.fneg(self.value))

    def times(self, other: Number | float, more: Number | float) -> Number:
        """Return self * other + more, in one rounding where the processor has that."""
        return self._called("llvm.fmuladd", self, other, more)

    def rounded(self) -> Number:
        """Return the nearest whole number, the even one of two."""
        return self._called("llvm.rint", self)

    def within(self, least: float, most: float) -> Number:
        """Return it, not below the one and not above the other; NaN stays NaN."""
        x = self
        for sign, end in ((">", self.alike(most)), ("<", self.alike(least))):
            beyond = self.builder.fcmp_ordered(sign, x.value, end.value)
            x = self._made(self.builder.select(beyond, end.value, x.value))
        return x

    def whole(self) -> Any:
        """Return it as int32, less what is behind the point."""
        return self.builder.fptosi(self.value, self._kind(I32))

    def power_of_two(self, n: Any) -> Number:
        """Return 2^n of int32: zero or infinity at the ends of what an exponent holds, nothing beyond."""
        exponent = self.builder.add(n, self._constant(I32, 127))
        bits = self.builder.shl(exponent, self._constant(I32, 23))
        return self._made(self.builder.bitcast(bits, self.value.type))

    def halves(self, n: Any) -> tuple[Any, Any]:
        """Return an int32 in two parts."""
        half = self.builder.ashr(n, self._constant(I32, 1))
        return half, self.builder.sub(n, half)

    def alike(self, other: Number | float) -> Number:
        """Return a number as this one is, in each place of a vector."""
        if isinstance(other, Number):
            return other
        return self._made(self._constant(F32, float(np.float32(other))))

    def _constant(self, kind: ir.Type, value: float) -> ir.Constant:
        one, many = ir.Constant(kind, value), self._kind(kind)
        return one if many == kind else ir.Constant(many, [one] * many.count)

    def _kind(self, kind: ir.Type) -> Any:
        mine = self.value.type
        return ir.VectorType(kind, mine.count) if isinstance(mine, ir.VectorType) else kind

    def _called(self, name: str, *given: Number | float) -> Number:
        """Call one of LLVM's own functions."""
        args = [self.alike(each).value for each in given]
        kind = args[0].type
        many = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
        return self._made(called(self.builder, f"{name}.{many}f32", kind, args))

    def _made(self, value: Any) -> Number:
        return Number(self.builder, value)


def of_one(curve: Callable[[Number], Number]) -> Any:
    """Return a curve as a function of one float32, for loops that become vector instructions by themselves."""

    @intrinsic
    def of(typingctx: Any, x: Any) -> Any:
        return types.float32(types.float32), lambda _, builder, __, args: curve(Number(builder, args[0])).value

    return of


def polynomial(x: Number, *factors: float) -> Number:
    """Return ((first x + second) x + third) …: even and odd powers side by side, each by Horner, for half the wait."""
    square = x * x
    ending, beside = (_horner(square, factors[(len(factors) + side) % 2 :: 2]) for side in (1, 0))
    return x.times(beside, ending)


def _horner(x: Number, factors: Sequence[float]) -> Number:
    y = x.alike(factors[0])
    for factor in factors[1:]:
        y = x.times(y, factor)
    return y


def _ratio(x: Number, end: float, p: Sequence[float], q: Sequence[float]) -> Number:
    """Return x P(x²) / Q(x²), held within [-1, 1]; from `end` on, where it is above one however it is rounded, one."""
    x = x.within(-end, end)
    u = x * x
    return (x * polynomial(u, *p) / polynomial(u, *q)).within(-1, 1)


def tanh(x: Number) -> Number:
    """Return tanh(x), as a ratio fitted for the least greatest relative error over [0, 9]: within 4e-7."""
    p = 1.8255382e-11, -1.2780492e-08, 9.2674372e-06, 2.9207636e-03, 0.12919231, 0.99999994
    return _ratio(x, 9.4, p, (2.2810044e-04, 2.3763176e-02, 0.46252513, 1))


def erf(x: Number) -> Number:
    """Return the error function, as a ratio fitted as tanh is, over [0, 3.92]: within 4e-7."""
    p = 1.9924265e-08, -1.9578360e-06, 1.4185038e-04, 3.7016049e-03, 5.0573315e-02, 0.19992439, 1.1283791
    return _ratio(x, 4.1, p, (9.5603800e-04, 1.4353195e-02, 0.11499836, 0.51051003, 1))


def _parts(x: Number) -> tuple[Number, Number, Any]:
    """Return (r, P, n): e^x = 2^n (1 + r P), |r| <= ln 2 / 2, for x in [-104, 89].

    Cody and Waite, "Software Manual for the Elementary Functions", 1980, chapter 6.
    """
    n = (x * 1.44269504).rounded()
    r = n.times(2.12194440e-4, n.times(-0.693359375, x))
    p = polynomial(r, 1.9841270e-4, 1.3888889e-3, 8.3333333e-3, 4.1666667e-2, 0.16666667, 0.5, 1)
    return r, p, n.whole()


def exp(x: Number) -> Number:
    """Return e^x, infinity and zero beyond what float32 holds: within 2e-7 of its size."""
    r, p, n = _parts(x.within(-104, 89))
    # 2^n in two factors, for n reaches from -150 to 128, beyond what an exponent holds.
    half, rest = x.halves(n)
    return r.times(p, 1) * x.power_of_two(half) * x.power_of_two(rest)


def expm1(x: Number) -> Number:
    """Return e^x - 1 of x below zero: within 2e-7 of its size."""
    # From -30 on it is -1 in float32.
    r, p, n = _parts(x.within(-30, 0))
    power = x.power_of_two(n)
    # The one is taken off the power of two, which is exact, so that nothing is lost near zero.
    return power * (r * p) + (power - 1)


def sigmoid(x: Number) -> Number:
    """Return 1 / (1 + e^-x): within 2e-7 of its size, and at no place off to one side.

    A gate near one makes a long memory, and what the curve always adds there is summed over as long a time.
    """
    r, p, n = _parts(-x.within(-89, 88))
    # Beyond its ends 2^n is zero or infinity, and the curve one or zero.
    return x.alike(1) / r.times(p, 1).times(x.power_of_two(n), 1)
