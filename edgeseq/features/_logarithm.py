"""The natural logarithm of LANES numbers at once, within one unit in the last place of float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from edgeseq.features._lanes import F64, I32, I64, LANES, VECTOR, Lanes, everywhere, load, store, written
from edgeseq.jit import inline

LEAST = float(np.finfo(np.float64).tiny)
"""Below it a number has fewer digits, and another form."""
_BITS = 52
"""Of the fraction."""
_ROOT = int(np.array(0.5**0.5).view(np.int64))
_LN2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)
"""In two parts, of which the first times any exponent is exact."""
_EVEN = (3.999999999940941908e-01, 2.222219843214978396e-01, 1.531383769920937332e-01)
_ODD = (6.666666666666735130e-01, 2.857142874366239149e-01, 1.818357216161805012e-01, 1.479819860511658591e-01)


def logarithm(x: Lanes) -> Lanes:
    """Return ln x: -infinity of 0, NaN of what is below it.

    x = 2^k (1 + f), with 1 + f between the roots of 1/2 and of 2; s = f / (2 + f).
    Source: Sun Microsystems, FDLIBM 5.3, e_log.c, whose coefficients these are.
    """
    builder, given = x.builder, x.value
    small = builder.fcmp_ordered("<", given, _all(LEAST))
    scaled = builder.select(small, (x * 2.0**54).value, given)
    bits = builder.bitcast(scaled, ir.VectorType(I64, LANES))
    shifted = builder.sub(bits, _whole(_ROOT))
    power = builder.ashr(shifted, _whole(_BITS))
    rest = builder.sub(bits, builder.shl(power, _whole(_BITS)))
    k = Lanes(builder, builder.sitofp(builder.trunc(power, ir.VectorType(I32, LANES)), VECTOR))
    k += Lanes(builder, builder.select(small, _all(-54.0), _all(0.0)))
    f = Lanes(builder, builder.bitcast(rest, VECTOR)) + constant(builder, -1.0)
    s = Lanes(builder, builder.fdiv(f.value, (f + constant(builder, 2.0)).value))
    z = s * s
    w = z * z
    half = f * f * 0.5
    series = w * _polynomial(w, _EVEN) + z * _polynomial(w, _ODD)
    y = k * _LN2[0] - ((half - (s * (half + series) + k * _LN2[1])) - f)
    # Infinity and NaN are their own.
    y = builder.select(builder.fcmp_ordered("<", given, _all(np.inf)), y.value, given)
    y = builder.select(builder.fcmp_ordered("<", given, _all(0.0)), _all(np.nan), y)
    return Lanes(builder, builder.select(builder.fcmp_ordered("==", given, _all(0.0)), _all(-np.inf), y))


@written
def levels(builder: Any, values: Any, added: Any, least: Any, factor: Any) -> None:
    """Put factor * ln(max(value + added, least)) in the place of LANES values; a NaN stays one. All are addresses."""
    x = load(builder, values) + everywhere(builder, added, 0)
    floor = everywhere(builder, least, 0)
    x = Lanes(builder, builder.select(builder.fcmp_ordered("<", x.value, floor.value), floor.value, x.value))
    store(logarithm(x) * everywhere(builder, factor, 0), values)


@inline
def logarithms(values: Any, count: Any, reals: Any) -> None:
    """Do it to `count` values, behind which as many as fill the lanes are changed; reals: added, least, factor."""
    at = reals.ctypes.data
    for k in range(0, count, LANES):
        levels(values.ctypes.data + 8 * k, at, at + 8, at + 16)


def constant(builder: Any, value: float) -> Lanes:
    """Return a number in every lane."""
    return Lanes(builder, _all(value))


def _polynomial(x: Lanes, coefficients: tuple[float, ...]) -> Lanes:
    total = constant(x.builder, coefficients[-1])
    for each in coefficients[-2::-1]:
        total = total * x + constant(x.builder, each)
    return total


def _all(value: float) -> Any:
    return ir.Constant(VECTOR, [ir.Constant(F64, value)] * LANES)


def _whole(value: int) -> Any:
    return ir.Constant(ir.VectorType(I64, LANES), [ir.Constant(I64, value)] * LANES)
