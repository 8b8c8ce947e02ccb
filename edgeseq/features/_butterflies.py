"""What a Fourier transform does to a few complex numbers, and the same written for LANES of them side by side.

A complex number is a pair, (real, imaginary). In memory the two parts lie in arrays of their own, so that neighbours
are lanes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgeseq.features._lanes import (
    LANES,
    UNZIPPED,
    everywhere,
    halved,
    load,
    mirrored,
    offset,
    store,
    transposed,
    unzipped,
    written,
    zipped,
)

Pair = tuple[Any, Any]


def transformed(z: Sequence[Pair]) -> list[Pair]:
    """Return the discrete Fourier transform of 1, 2, 4, 8 ... numbers, or of 5.

    Source: Cooley and Tukey, "An algorithm for the machine calculation of complex Fourier series", Math. Comp. 19,
    1965.
    """
    n = len(z)
    if n == 1:
        return [*z]
    if n == 5:  # noqa: PLR2004
        return _of_five(z)
    even, odd = transformed(z[::2]), transformed(z[1::2])
    pairs = list(zip(even, (turned(each, k, n) for k, each in enumerate(odd)), strict=True))
    return [(a[0] + b[0], a[1] + b[1]) for a, b in pairs] + [(a[0] - b[0], a[1] - b[1]) for a, b in pairs]


def _of_five(z: Sequence[Pair]) -> list[Pair]:
    """Return the transform of five numbers: sums and differences of those that lie opposite, turned by two angles."""
    (c, s), (d, r) = ((math.cos(angle), math.sin(angle)) for angle in (0.4 * math.pi, 0.8 * math.pi))
    parts = []
    for a, first, second, fourth, last in zip(*z[:3], z[4], z[3], strict=True):
        near, far, apart, across = first + fourth, second + last, first - fourth, second - last
        levels = (a + near * c + far * d, a + near * d + far * c)
        parts.append((a + near + far, levels, (apart * s + across * r, apart * r - across * s)))
    (x, (x1, x2), (u1, u2)), (y, (y1, y2), (v1, v2)) = parts
    return [(x, y), (x1 + v1, y1 - u1), (x2 + v2, y2 - u2), (x2 - v2, y2 + u2), (x1 - v1, y1 + u1)]


def turned(z: Pair, k: int, n: int) -> Pair:
    """Return z times exp(-2 pi i k / n), 0 <= 2 k < n."""
    x, y = z
    if k == 0:
        return x, y
    if 4 * k == n:
        return y, -x
    if 8 * k == n:
        return (x + y) * math.sqrt(0.5), (y - x) * math.sqrt(0.5)
    if 8 * k == 3 * n:
        return (y - x) * math.sqrt(0.5), (x + y) * -math.sqrt(0.5)
    c, s = math.cos(2 * math.pi * k / n), math.sin(2 * math.pi * k / n)
    return x * c + y * s, y * c - x * s


def product(z: Pair, w: Pair) -> Pair:
    """Return z times w."""
    return z[0] * w[0] - z[1] * w[1], z[0] * w[1] + z[1] * w[0]


def parted(a: Pair, b: Pair, w: Pair) -> tuple[Pair, Pair]:
    """Return numbers k and half - k of the transform of 2 half real ones, of which two by two were taken as complex.

    a, b: numbers k and half - k of what that gave. w: -i / 2 exp(-pi i k / half).
    Source: Press et al., "Numerical Recipes", 3rd edition, section 12.3.
    """
    even = (a[0] + b[0]) * 0.5, (a[1] - b[1]) * 0.5
    odd = product((a[0] - b[0], a[1] + b[1]), w)
    return (even[0] + odd[0], even[1] + odd[1]), (even[0] - odd[0], odd[1] - even[1])


def first(radix: int) -> Any:
    """Return what makes LANES transforms of `radix` numbers out of a row of real ones, and turns what they give.

    It takes addresses: the row, from the first transform's first two numbers on; how many pairs lie from one number of
    a transform to the next; the turns; where the real parts and the imaginary ones go, one transform behind the other.
    """

    @written
    def code(builder: Any, row: Any, distance: Any, turns: Any, re: Any, im: Any) -> None:
        z = []
        for j in range(radix):
            at = offset(builder, distance, 2 * j)
            z.append(unzipped(load(builder, row, at), load(builder, row, offset(builder, at, 1, LANES))))
        z = transformed(z)
        for block in range(0, radix, LANES):
            for j in range(max(1, block), block + LANES):
                at = 2 * LANES * (j - 1)
                z[j] = product(z[j], (load(builder, turns, at), load(builder, turns, at + LANES)))
            for part, to in enumerate((re, im)):
                columns = transposed([each[part] for each in z[block : block + LANES]])
                for place, column in zip(UNZIPPED, columns, strict=True):
                    store(column, to, radix * place + block)

    return code


def later(radix: int, *, last: bool) -> Any:
    """Return what makes LANES transforms of `radix` numbers and, but for the last, turns what they give.

    It takes addresses: the real parts and the imaginary ones; how many lie from one number of a transform to the next;
    the turns; where the results go, in parts again, and how many lie from one of them to the next.
    """

    @written
    def code(
        builder: Any, re: Any, im: Any, distance: Any, turns: Any, to_re: Any, to_im: Any, to_distance: Any
    ) -> None:
        places = [offset(builder, distance, j) for j in range(radix)]
        z = transformed([(load(builder, re, at), load(builder, im, at)) for at in places])
        for j, each in enumerate(z):
            if j and not last:
                at = 2 * (j - 1)
                each = product(each, (everywhere(builder, turns, at), everywhere(builder, turns, at + 1)))  # noqa: PLW2901
            for part, to in enumerate((to_re, to_im)):
                store(each[part], to, offset(builder, to_distance, j))

    return code


@written
def squares(builder: Any, re: Any, im: Any, k: Any, mirror: Any, turns: Any, to: Any) -> None:
    """Write the squared magnitudes of lines from k on, and of as many up to `mirror` = half - k."""
    low, high = _parted(builder, re, im, k, mirror, turns)
    store(low[0] * low[0] + low[1] * low[1], to, k)
    store(mirrored(high[0] * high[0] + high[1] * high[1]), to, offset(builder, mirror, 1, 1 - LANES))


@written
def spectrum(builder: Any, re: Any, im: Any, k: Any, mirror: Any, turns: Any, to: Any) -> None:
    """Write the same lines as complex numbers, whose parts lie side by side."""
    low, high = _parted(builder, re, im, k, mirror, turns)
    first = offset(builder, mirror, 1, 1 - LANES)
    for place, parts in ((k, low), (first, (mirrored(high[0]), mirrored(high[1])))):
        for block, pairs in enumerate(zipped(*parts)):
            store(pairs, to, offset(builder, place, 2, LANES * block))


@written
def joined(builder: Any, lines: Any, k: Any, mirror: Any, turns: Any, to: Any) -> None:
    """Write, as pairs, the conjugates of what `spectrum` has made lines k on and up to `mirror` of."""
    before = offset(builder, mirror, 1, 1 - LANES)
    a = _pairs(builder, lines, k)
    x, y = (mirrored(each) for each in _pairs(builder, lines, before))
    w, v = _turns(builder, turns, k)
    low, high = parted(a, (x, y), (w, -v))
    for place, parts in ((k, (low[0], -low[1])), (before, (mirrored(high[0]), mirrored(-high[1])))):
        for block, pairs in enumerate(zipped(*parts)):
            store(pairs, to, offset(builder, place, 2, LANES * block))


@written
def paired(builder: Any, re: Any, im: Any, k: Any, scale: Any, to: Any) -> None:
    """Write conjugates of the numbers from k on, times a number that stands at an address, as pairs."""
    share = everywhere(builder, scale, 0)
    for block, pairs in enumerate(zipped(load(builder, re, k) * share, -(load(builder, im, k) * share))):
        store(pairs, to, offset(builder, k, 2, LANES * block))


def _pairs(builder: Any, address: Any, k: Any) -> Pair:
    at = [offset(builder, k, 2, LANES * part) for part in (0, 1)]
    return halved(load(builder, address, at[0]), load(builder, address, at[1]))


def _turns(builder: Any, turns: Any, k: Any) -> Pair:
    at = [offset(builder, k, 2, LANES * part) for part in (0, 1)]
    return load(builder, turns, at[0]), load(builder, turns, at[1])


def _parted(builder: Any, re: Any, im: Any, k: Any, mirror: Any, turns: Any) -> tuple[Pair, Pair]:
    before = offset(builder, mirror, 1, -LANES)
    a = load(builder, re, k), load(builder, im, k)
    # Two loads where the passes have stored: one of parts of both would wait until the stores are through.
    x, y = (mirrored(load(builder, part, before), load(builder, part, mirror)) for part in (re, im))
    return parted(a, (x, y), _turns(builder, turns, k))
