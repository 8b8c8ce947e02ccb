"""The real Fourier transform in 16-bit integers of KISS FFT, whose rounding is part of what networks were trained on.

Source: Borgerding, KISS FFT 1.3.0 with FIXED_POINT=16: radix 4, then 2; every stage halves or quarters its input.
Products are rounded to the nearest, sums wrap around at 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

BITS = 15
LARGEST = 2**BITS - 1


@dataclass(frozen=True)
class Tables:
    """What a transform of n real numbers reads.

    order: int64[n / 2], which sample goes where; stages: int64[stages, 3], radix, distance and stride of factors; turn:
    int64[n / 2, 2], cosine and sine of the complex transform, and last: int64[n / 4, 2], of the step to a real one.
    """

    order: NDArray[np.int64]
    stages: NDArray[np.int64]
    turn: NDArray[np.int64]
    last: NDArray[np.int64]


def tables(points: int) -> Tables:
    """Return the tables for a power of two, of at least 4."""
    half = points // 2
    rest, stride, stages = half, 1, []
    while rest > 1:
        radix = 4 if rest % 4 == 0 else 2
        rest //= radix
        stages.append((radix, rest, stride))
        stride *= radix
    order = np.zeros(1, np.int64)
    for radix, _, step in reversed(stages):
        order = np.concatenate([order + k * step for k in range(radix)])
    return Tables(
        order,
        np.array(stages[::-1], np.int64).reshape(-1, 3),
        _turns(-2 * np.pi * np.arange(half) / half),
        _turns(-np.pi * (np.arange(1, half // 2 + 1) / half + 0.5)),
    )


def _turns(angle: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(0.5 + LARGEST * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.int64)


@numba.njit(inline="always")
def _short(x: Any) -> Any:
    """Return what 16 bits keep of it."""
    return np.int64(np.int16(x))


@numba.njit(inline="always")
def _rounded(x: Any) -> Any:
    return _short((x + (1 << (BITS - 1))) >> BITS)


@numba.njit(inline="always")
def _part(x: Any, parts: Any) -> Any:
    return _rounded(x * (LARGEST // parts))


@numba.njit(inline="always")
def _turned(a: Any, turn: Any) -> Any:
    """Return the complex product."""
    return _rounded(a[0] * turn[0] - a[1] * turn[1]), _rounded(a[0] * turn[1] + a[1] * turn[0])


@numba.njit
def _butterflies(z: Any, radix: Any, distance: Any, stride: Any, turn: Any) -> None:
    """Make one stage of z[n, 2] in place."""
    for start in range(0, len(z), radix * distance):
        for k in range(distance):
            a, b = z[start + k], z[start + k + distance]
            if radix == 2:  # noqa: PLR2004
                x0, y0 = _part(a[0], 2), _part(a[1], 2)
                x1, y1 = _turned((_part(b[0], 2), _part(b[1], 2)), turn[k * stride])
                b[0], b[1] = _short(x0 - x1), _short(y0 - y1)
                a[0], a[1] = _short(x0 + x1), _short(y0 + y1)
                continue
            c, d = z[start + k + 2 * distance], z[start + k + 3 * distance]
            x0, y0 = _part(a[0], 4), _part(a[1], 4)
            x1, y1 = _turned((_part(b[0], 4), _part(b[1], 4)), turn[k * stride])
            x2, y2 = _turned((_part(c[0], 4), _part(c[1], 4)), turn[2 * k * stride])
            x3, y3 = _turned((_part(d[0], 4), _part(d[1], 4)), turn[3 * k * stride])
            even_x, even_y, odd_x, odd_y = _short(x0 + x2), _short(y0 + y2), _short(x1 + x3), _short(y1 + y3)
            apart_x, apart_y, turned_x, turned_y = _short(x0 - x2), _short(y0 - y2), _short(x1 - x3), _short(y1 - y3)
            a[0], a[1] = _short(even_x + odd_x), _short(even_y + odd_y)
            b[0], b[1] = _short(apart_x + turned_y), _short(apart_y - turned_x)
            c[0], c[1] = _short(even_x - odd_x), _short(even_y - odd_y)
            d[0], d[1] = _short(apart_x - turned_y), _short(apart_y + turned_x)


@numba.njit
def forward(x: Any, order: Any, stages: Any, turn: Any, last: Any, z: Any) -> None:
    """Write z[points / 2 + 1, 2], real and imaginary parts, of x[points], all int64 that 16 bits hold."""
    half = len(order)
    for k in range(half):
        z[k, 0], z[k, 1] = x[2 * order[k]], x[2 * order[k] + 1]
    for s in range(len(stages)):
        _butterflies(z[:half], stages[s, 0], stages[s, 1], stages[s, 2], turn)
    x0, y0 = _part(z[0, 0], 2), _part(z[0, 1], 2)
    z[0, 0], z[0, 1], z[half, 0], z[half, 1] = _short(x0 + y0), 0, _short(x0 - y0), 0
    for k in range(1, half // 2 + 1):
        a, b = z[k], z[half - k]
        ax, ay, bx, by = _part(a[0], 2), _part(a[1], 2), _part(b[0], 2), _part(_short(-b[1]), 2)
        sum_x, sum_y = _short(ax + bx), _short(ay + by)
        turned_x, turned_y = _turned((_short(ax - bx), _short(ay - by)), last[k - 1])
        a[0], a[1] = _short((sum_x + turned_x) >> 1), _short((sum_y + turned_y) >> 1)
        b[0], b[1] = _short((sum_x - turned_x) >> 1), _short((turned_y - sum_y) >> 1)
