"""Durations in numbers: mean and spread, percentiles that enough steps stand behind, histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import timing
from edgeseq.bench.case import Microseconds

Durations = NDArray[np.int64]
PERMILLES = {"p50_us": 500, "p90_us": 900, "p95_us": 950, "p99_us": 990, "p999_us": 999}
COUNTED_US = 10_000
"""Durations from here on are counted as one in cyclictest's file."""
TOLD = 1000
"""At most so many of them are named."""


def numbers(durations: Durations) -> dict[str, float | None]:
    """Return percentiles, largest, mean and standard deviation in microseconds. durations: int64[n], nanoseconds."""
    ascending = np.sort(durations)
    return {
        **{name: percentile_us(ascending, permille) for name, permille in PERMILLES.items()},
        "max_us": float(ascending[-1]) / 1000,
        "mean_us": float(durations.mean()) / 1000,
        "std_us": float(durations.std()) / 1000,
    }


def percentile_us(ascending: Durations, permille: int) -> float | None:
    """Return a percentile in microseconds; None with fewer than 100 / (1 - p) samples behind it.

    ascending: int64[n], nanoseconds. With fewer, fewer than a hundred samples would lie beyond the percentile.
    """
    count = len(ascending)
    if count * (1000 - permille) < 100 * 1000:
        return None
    rank = -(-count * permille // 1000)
    return float(ascending[rank - 1]) / 1000


def histogram(durations: Durations) -> dict[str, Any]:
    """Return how many durations lie in each bucket that has any; `le_us`: the buckets' upper edges, 1/64 apart."""
    edges = timing.edges_ns()
    counts = np.bincount(np.searchsorted(edges, np.minimum(durations, edges[-1])), minlength=len(edges))
    (filled,) = np.nonzero(counts)
    return {"le_us": (edges[filled] / 1000).tolist(), "count": counts[filled].tolist()}


def by_microseconds(durations: Durations) -> Microseconds:
    """Count durations by whole microseconds."""
    whole = durations // 1000
    (beyond,) = np.nonzero(whole >= COUNTED_US)
    return Microseconds(
        counts=np.bincount(whole[whole < COUNTED_US]).tolist(),
        beyond=len(beyond),
        beyond_at=beyond[:TOLD].tolist(),
        min_ns=int(durations.min()),
        mean_ns=float(durations.mean()),
        max_ns=int(durations.max()),
    )
