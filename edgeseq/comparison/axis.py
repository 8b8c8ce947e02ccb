"""A logarithmic axis of durations, and histograms brought to its columns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from edgeseq.comparison.documents import Histogram, Result

PER_OCTAVE = 16
"""Columns per power of two where there is room: wide enough that each holds several buckets."""
MAX_COLUMNS = 256
MIN_OCTAVES = 2
LEAST_US = 0.001
"""Durations are whole nanoseconds; 0 is one that the clock could not tell from nothing."""
MAX_TICKS = 7
STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))


class Axis(NamedTuple):
    """Durations from 2 ** low to 2 ** high microseconds, in columns of equal width on a logarithmic scale."""

    low: float
    high: float
    columns: int

    def at(self, value_us: float) -> float:
        """Return where a duration lies, from 0 at the left end to 1 at the right; what lies beyond is outside that."""
        return (math.log2(max(value_us, LEAST_US)) - self.low) / (self.high - self.low)

    def column(self, value_us: float) -> int:
        """Return the column that a duration falls into."""
        return min(max(math.ceil(self.at(value_us) * self.columns - 1e-9) - 1, 0), self.columns - 1)

    def counts(self, histogram: Histogram) -> list[int]:
        """Return how many steps fell into each column."""
        counts = [0] * self.columns
        for edge, count in zip(histogram.le_us, histogram.count, strict=True):
            counts[self.column(edge)] += count
        return counts

    def ticks(self) -> list[float]:
        """Return round durations within the axis, in microseconds: as few as tell the scale."""
        low, high = 2**self.low, 2**self.high
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found: list[float] = []
        for steps in STEPS:
            found = [tick for decade in decades for step in steps if low <= (tick := step * 10.0**decade) <= high]
            if len(found) >= 3:  # noqa: PLR2004 - two could as well be ends of a linear scale
                break
        return found[:: -(-len(found) // MAX_TICKS) or 1]


def around(results: Iterable[Result]) -> Axis | None:
    """Return an axis that holds all that these results measured; None where there is nothing to draw."""
    values = [value for result in results for value in _durations(result)]
    if not values:
        return None
    low = math.log2(max(min(values), LEAST_US)) - 0.25
    high = math.log2(max(*values, LEAST_US)) + 0.25
    # So that a machine that hardly varies is seen to, instead of filling the width with noise.
    spare = max(MIN_OCTAVES - (high - low), 0) / 2
    low, high = low - spare, high + spare
    octave = PER_OCTAVE
    while octave > 1 and (high - low) * octave > MAX_COLUMNS:
        octave //= 2
    low, high = math.floor(low * octave) / octave, math.ceil(high * octave) / octave
    return Axis(low, high, round((high - low) * octave))


def _durations(result: Result) -> list[float]:
    """Return the durations that must lie within the axis."""
    marks = [value for value in (result.p50_us, result.p99_us, result.p999_us) if value is not None]
    if result.histogram is None:
        return marks
    return [
        *marks,
        *(edge for edge, count in zip(result.histogram.le_us, result.histogram.count, strict=True) if count),
    ]
