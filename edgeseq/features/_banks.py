"""Weighted sums over bands of a spectrum, LANES bands at a time, each LANES lines at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.features._lanes import I64, LANES, Lanes, load, offset, store, sums, transposed, written


def grouped(bank: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], int]:
    """Return a bank [bands, lines], mostly zeros, as `summed` takes it.

    That is int64[groups], how many times LANES lines each group of LANES bands takes; int64[groups, LANES], each band's
    first line; the weights, one such group after the other; and how many lines are read, some without any weight.
    """
    groups = -(-len(bank) // LANES)
    counts, first, weights, read = np.zeros(groups, np.int64), np.zeros((groups, LANES), np.int64), [np.empty(0)], 0
    for group in range(groups):
        rows = bank[group * LANES : (group + 1) * LANES]
        inside = [np.flatnonzero(row) for row in rows]
        widths = [places[-1] + 1 - places[0] if len(places) else 0 for places in inside]
        counts[group] = -(-max(widths) // LANES)
        part = np.zeros((LANES, counts[group] * LANES))
        for band, (row, places) in enumerate(zip(rows, inside, strict=True)):
            if len(places):
                first[group, band] = places[0]
                part[band, : widths[band]] = row[places[0] : places[-1] + 1]
        weights.append(part.reshape(LANES, -1, LANES).transpose(1, 0, 2).ravel())
        read = max(read, int(first[group].max()) + part.shape[1])
    return counts, first, np.concatenate(weights), read


@written
def summed(builder: Any, values: Any, first: Any, weights: Any, count: Any, to: Any) -> None:
    """Write the sums of a group of bands; all are addresses but the count, LANES lines each."""
    starts = []
    for band in range(LANES):
        place = builder.inttoptr(offset(builder, first, 1, 8 * band), I64.as_pointer())
        starts.append(offset(builder, builder.load(place), 8, 0))

    def added(i: Any, totals: list[Lanes]) -> list[Lanes]:
        at = offset(builder, i, LANES)
        weights_of = [load(builder, weights, offset(builder, at, LANES, LANES * band)) for band in range(LANES)]
        values_of = [load(builder, builder.add(values, start), at) for start in starts]
        return [t + value * weight for t, value, weight in zip(totals, values_of, weights_of, strict=True)]

    rows = transposed(sums(builder, count, LANES, added))
    while len(rows) > 1:
        rows = [a + b for a, b in zip(rows[::2], rows[1::2], strict=True)]
    store(rows[0], to)
