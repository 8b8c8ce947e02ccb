"""The cadence of a sensor: deadlines at a fixed rate, each counted from the start and not from the step before."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

clock: Callable[[], int] = time.perf_counter_ns
"""Nanoseconds; on Linux, CLOCK_MONOTONIC. Everything is timed on it."""


class Pace:
    """Step `index` is due at `origin_ns` + index / rate_hz.

    Whoever waits sleeps, as a process does that waits for a sensor: clocks and caches go cold as they would there. A
    step that comes late does not shift those after it.
    """

    def __init__(
        self, rate_hz: float, now: Callable[[], int] = clock, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._period_ns = 1e9 / rate_hz
        self._now, self._sleep = now, sleep
        self.origin_ns = now()

    def wait(self, index: int) -> None:
        """Return when the step is due, at once where it already is."""
        due = self.origin_ns + int(index * self._period_ns)
        while (left := due - self._now()) > 0:
            self._sleep(left / 1e9)

    def misses(self, starts_ns: NDArray[np.int64], durations_ns: NDArray[np.int64]) -> int:
        """Return how many steps ended after the next one was due. Both: int64[n], of the steps from the first on."""
        next_due = self.origin_ns + (np.arange(1, len(starts_ns) + 1) * self._period_ns).astype(np.int64)
        return int(np.count_nonzero(starts_ns + durations_ns > next_due))
