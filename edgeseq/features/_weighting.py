"""A window's samples as the transform takes them: less their mean, less some of the sample before, weighted."""

from __future__ import annotations

from typing import Any

from numba.core import cgutils

from edgeseq.features._lanes import LANES, Lanes, everywhere, floats, load, offset, store, sums, written

AT_ONCE = 4 * LANES
"""Samples that `total` adds side by side: it takes a multiple of them, zeros behind the last."""


@written
def total(builder: Any, samples: Any, rounds: Any, to: Any) -> None:
    """Write the sum of rounds * AT_ONCE samples, float32, to an address."""

    def added(i: Any, held: list[Lanes]) -> list[Lanes]:
        return [each + floats(builder, samples, offset(builder, i, AT_ONCE, LANES * k)) for k, each in enumerate(held)]

    a, b, c, d = sums(builder, rounds, 4, added)
    store((a + b) + (c + d), to)


@written
def weighted(builder: Any, samples: Any, weights: Any, before: Any, level: Any, blocks: Any, row: Any) -> None:
    """Write (x[i] - before * x[i - 1] - level) * weights[i] of blocks * LANES samples x; x[-1] stands before them.

    before, level: addresses of a number.
    """
    share, less = everywhere(builder, before, 0), everywhere(builder, level, 0)
    with cgutils.for_range(builder, blocks) as loop:
        at = offset(builder, loop.index, LANES)
        x, past = floats(builder, samples, at), floats(builder, samples, offset(builder, at, 1, -1))
        store((x - share * past - less) * load(builder, weights, at), row, at)
