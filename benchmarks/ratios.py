"""How many times faster one is than another, from blocks measured in turn: a ratio of medians and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
TAIL = 0.025
"""Of the resampled ratios so many lie below the interval, and so many above: it is a 95 % one."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def meets(self, target: float) -> bool | None:
        """Return whether a target is reached or not; None where it lies inside the interval."""
        return True if self.low >= target else False if self.high < target else None


def ratio(theirs: Sequence[float], ours: Sequence[float], seed: int = 0) -> Ratio:
    """Return median(theirs) / median(ours), both from the same rounds, in order.

    The interval is a bootstrap over rounds, both blocks of a round drawn together: what slowed one round down, as a
    neighbour on the machine does, slowed both.
    """
    pairs = np.array([theirs, ours], np.float64)
    drawn = np.random.default_rng(seed).integers(0, pairs.shape[1], (RESAMPLES, pairs.shape[1]))
    above, below = np.median(pairs[:, drawn], axis=2)
    low, high = np.quantile(above / below, [TAIL, 1 - TAIL])
    value = np.median(pairs[0]) / np.median(pairs[1])
    return Ratio(float(value), float(low), float(high))
