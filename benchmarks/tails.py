"""How far the slowest calls lie behind the usual one, beside a spin loop that takes as long: what the machine adds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import quiet
from benchmarks.ratios import TAIL, Ratio

CALLS = 5000
"""A block's. Thirty blocks leave 150 calls beyond the 99.9th percentile."""
RESAMPLES = 500
TRIES = 12
Call = Callable[[], Any]


@dataclass(frozen=True)
class Tails:
    """Nanoseconds of every call, int64[blocks, CALLS] each: of the step, and of the spin loop between."""

    step: NDArray[np.int64]
    spin: NDArray[np.int64]

    @cached_property
    def ratio(self) -> Ratio:
        """How many times as long as the spin loop's the step's tail is; the interval is a bootstrap over rounds."""
        rng = np.random.default_rng(0)
        drawn = rng.integers(0, len(self.step), (RESAMPLES, len(self.step)))
        ratios = [tail(self.step[rounds]) / tail(self.spin[rounds]) for rounds in drawn]
        low, high = np.quantile(ratios, [TAIL, 1 - TAIL])
        return Ratio(tail(self.step) / tail(self.spin), float(low), float(high))

    def json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"tail_ratio": asdict(self.ratio), "step_ns": points(self.step), "spin_ns": points(self.spin)}


def points(durations: NDArray[np.int64]) -> tuple[float, float]:
    """Return p50 and p99.9."""
    usual, slow = np.percentile(durations, [50, 99.9])
    return float(usual), float(slow)


def tail(durations: NDArray[np.int64]) -> float:
    """Return p99.9 - p50."""
    usual, slow = points(durations)
    return slow - usual


def measure(call: Call, blocks: int) -> Tails:
    """Measure blocks of calls and of a spin loop of the same median, in turn."""
    with quiet():
        times(call)
        spin = spinning(float(np.median(times(call))))
        pairs = [(times(call), times(spin)) for _ in range(blocks)]
    return Tails(np.stack([step for step, _ in pairs]), np.stack([spun for _, spun in pairs]))


def spinning(median_ns: float) -> Call:
    """Return a loop that does nothing for that long at the median."""
    rounds = 100
    for _ in range(TRIES):
        took = float(np.median(times(_loop(rounds))))
        empty = float(np.median(times(_loop(0))))
        rounds = max(1, round(rounds * max(median_ns - empty, 1) / max(took - empty, 1)))
    return _loop(rounds)


def times(call: Call) -> NDArray[np.int64]:
    """Return what each of CALLS calls takes, in nanoseconds, the clock's reading included."""
    durations, now = np.empty(CALLS, np.int64), time.perf_counter_ns
    for place in range(CALLS):
        began = now()
        call()
        durations[place] = now() - began
    return durations


def _loop(rounds: int) -> Call:
    return partial(_spin, rounds)


def _spin(rounds: int) -> None:
    """Go round so often, in C, over nothing."""
    deque(repeat(None, rounds), maxlen=0)
