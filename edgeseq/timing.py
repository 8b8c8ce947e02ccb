"""A histogram of durations in bounded memory: percentiles of years of steps within 1 part in 64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SUBDIVISIONS = 64
"""Buckets per power of two: a percentile is read off at most 1/64 too high."""
LIMIT_BITS = 40
"""Durations from 2**40 ns (18 minutes) on share the last bucket."""

MIN_BEYOND = 100


class Timing:
    """Counts durations in nanoseconds in logarithmic buckets, 20 KB whatever their number."""

    def __init__(self) -> None:
        self._counts = np.zeros((LIMIT_BITS + 1) * SUBDIVISIONS, np.int64)
        self.count = 0
        self.total_ns = 0
        self.max_ns = 0

    def record(self, duration_ns: int, times: int = 1) -> None:
        """Count `times` durations of `duration_ns` each."""
        self._counts[_bucket(duration_ns)] += times
        self.count += times
        self.total_ns += duration_ns * times
        self.max_ns = max(self.max_ns, duration_ns)

    def percentile_us(self, percent: float) -> float | None:
        """Return the percentile in microseconds.

        None where fewer than MIN_BEYOND durations lie beyond it: such a tail would rest on a few samples.
        """
        if self.count * (1 - percent / 100) < MIN_BEYOND:
            return None
        rank = int(np.ceil(self.count * percent / 100))
        bucket = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(_upper_ns(bucket), self.max_ns) / 1000

    @property
    def mean_us(self) -> float | None:
        """The mean in microseconds, exact; None before the first duration."""
        return self.total_ns / self.count / 1000 if self.count else None


def edges_ns() -> NDArray[np.int64]:
    """Return the largest duration of each bucket, ascending: int64[buckets], nanoseconds."""
    return np.array(
        [_upper_ns(bucket) for bucket in range((LIMIT_BITS - SUBDIVISIONS.bit_length() + 2) * SUBDIVISIONS)]
    )


def _bucket(duration_ns: int) -> int:
    """Return the bucket: exact below SUBDIVISIONS, then SUBDIVISIONS of them per power of two."""
    bits = max(0, min(int(duration_ns), (1 << LIMIT_BITS) - 1).bit_length() - SUBDIVISIONS.bit_length())
    return (bits << (SUBDIVISIONS.bit_length() - 1)) + (min(duration_ns, (1 << LIMIT_BITS) - 1) >> bits)


def _upper_ns(bucket: int) -> int:
    """Return the largest duration that falls into a bucket."""
    octave, low = divmod(bucket, SUBDIVISIONS)
    if octave <= 1:
        return bucket
    bits = octave - 1
    return ((low + SUBDIVISIONS + 1) << bits) - 1
