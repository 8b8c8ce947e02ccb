"""The cadence of steps, on a clock that a test turns; and the loop that times them."""

import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeseq.bench import pace
from edgeseq.bench.pace import Pace
from edgeseq.bench.timed import overhead_ns, timed


class Clock:
    """Time passes when somebody sleeps or works. oversleep_ns: how much later than asked a sleep ends."""

    def __init__(self, oversleep_ns: int = 0) -> None:
        self.ns, self.oversleep_ns = 1_000_000_000, oversleep_ns
        self.slept: list[float] = []

    def now(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ns += round(seconds * 1e9) + self.oversleep_ns


def run(clock: Clock, pace: Pace, work_ns: list[int]) -> tuple[Any, Any]:
    """Take steps that work so long; return when each began and how long it took."""
    starts = []
    for index, work in enumerate(work_ns):
        pace.wait(index)
        starts.append(clock.now())
        clock.ns += work
    return np.array(starts, np.int64), np.array(work_ns, np.int64)


def test_steps_are_due_by_the_start_and_not_by_one_another() -> None:
    clock = Clock(oversleep_ns=60_000)
    pace = Pace(100.0, clock.now, clock.sleep)
    starts, took = run(clock, pace, [1_000_000] * 1000)
    # A sleep that ends 60 µs late makes each step late by that, and none later than the one before.
    assert (starts - pace.origin_ns - 10_000_000 * np.arange(1000) == [0, *[60_000] * 999]).all()
    assert pace.misses(starts, took) == 0
    assert max(clock.slept) < 0.01


def test_a_slow_step_is_made_up_for() -> None:
    clock = Clock()
    pace = Pace(1000.0, clock.now, clock.sleep)
    starts, took = run(clock, pace, [100_000, 2_500_000, 100_000, 100_000, 100_000])
    # The second ends at 3.5 ms: the third and fourth are overdue and follow at once, the fifth is in time.
    assert ((starts - pace.origin_ns) / 1e6).tolist() == [0, 1, 3.5, 3.6, 4]
    # It missed the third's deadline, and the third that of the fourth; the fourth ended before 4 ms.
    assert pace.misses(starts, took) == 2


@pytest.mark.parametrize(("work_ns", "misses"), [(1_000_000, 0), (1_000_001, 1)])
def test_a_deadline_is_missed_when_the_next_step_is_due(work_ns: int, misses: int) -> None:
    clock = Clock()
    pace = Pace(1000.0, clock.now, clock.sleep)
    assert pace.misses(*run(clock, pace, [work_ns])) == misses


def test_a_sleep_that_ends_early_is_taken_up_again() -> None:
    clock = Clock()
    pace = Pace(1000.0, clock.now, lambda seconds: clock.sleep(min(seconds, 0.0004)))
    starts, _ = run(clock, pace, [0] * 3)
    assert np.diff(starts).tolist() == [1_000_000, 1_000_000]
    assert len(clock.slept) == 6


def test_a_rate_that_no_whole_number_of_nanoseconds_fits_does_not_drift() -> None:
    clock = Clock()
    pace = Pace(3.0, clock.now, clock.sleep)
    clock.ns += 10**9 * 86_400 * 365
    before = clock.ns
    pace.wait(3 * 86_400 * 365)
    assert clock.ns - before < 100


class Model:
    """Counts its steps."""

    def __init__(self) -> None:
        self.given: list[float] = []

    def step(self, frame: Any, out: Any) -> None:
        self.given.append(float(frame[0]))
        out[:] = frame


@pytest.mark.skipif(sys.platform != "linux", reason="the clocks' names are Linux's")
def test_deadlines_and_durations_are_on_the_monotonic_clock() -> None:
    assert pace.clock is time.perf_counter_ns
    assert time.get_clock_info("perf_counter").implementation == "clock_gettime(CLOCK_MONOTONIC)"


def test_frames_go_round_and_each_step_is_timed() -> None:
    model = Model()
    found = timed(model, np.arange(3, dtype=np.float32)[:, None], np.empty(1, np.float32), steps=7)  # type: ignore[arg-type]
    assert model.given == [0, 1, 2, 0, 1, 2, 0]
    assert found.starts.shape == found.durations.shape == (7,)
    assert (np.diff(found.starts) >= found.durations[:-1]).all()


def test_a_model_is_reset_where_it_has_to_be_and_that_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, resets = Clock(), []

    def reset() -> None:
        resets.append(len(model.given))
        clock.ns += 10**9

    model = Model()
    model.reset = reset  # type: ignore[attr-defined]
    monkeypatch.setattr("edgeseq.bench.timed.clock", clock.now)
    found = timed(model, np.zeros((3, 1), np.float32), np.empty(1, np.float32), steps=9, at_most=4)  # type: ignore[arg-type]
    assert resets == [0, 4, 8]
    assert not found.durations.any()


def test_a_duration_ends_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("edgeseq.bench.timed.clock", clock.now)
    model = SimpleNamespace(step=lambda _frame, _out: clock.sleep(0.004))
    frames, out = np.zeros((1, 1), np.float32), np.empty(1, np.float32)
    found = timed(model, frames, out, steps=1000, duration_s=0.01)  # type: ignore[arg-type]
    # The third is under way when the time is over.
    assert found.durations.tolist() == [4_000_000] * 3
    assert len(timed(model, frames, out, steps=2, duration_s=0.01).durations) == 2  # type: ignore[arg-type]


def test_readings_of_the_clock_cost_what_lies_between_two(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter(range(0, 10**9, 37))
    monkeypatch.setattr("edgeseq.bench.timed.clock", lambda: next(readings))
    assert overhead_ns() == 37
