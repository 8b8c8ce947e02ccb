"""The policy of times: jitter, drift, duplicates, steps back, clocks that are set; times only ever increase."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.errors import SourceError
from edgeseq.sources import _clock
from edgeseq.sources._arrivals import Arrivals, Stamps
from edgeseq.sources.csv import Csv

S, MS = 10**9, 10**6


@given(
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    steps=st.lists(st.integers(0, 5 * S), min_size=60, max_size=60),
    lost=st.sets(st.integers(0, 59), max_size=5),
    rate=st.sampled_from([0.1, 1.0, 100.0, 48_000.0]),
)
@settings(max_examples=60, deadline=None)
def test_times_increase_whatever_arrives(counts: list[int], steps: list[int], lost: set[int], rate: float) -> None:
    arrivals, now, before = Arrivals(rate), 10**18, None
    for place, count in enumerate(counts):
        now += steps[place]
        t_ns, gap = arrivals.dated(count, now, lost=place in lost)
        assert t_ns.dtype == np.int64
        assert len(t_ns) == count
        assert (np.diff(t_ns) > 0).all()
        assert before is None or t_ns[0] > before
        assert not (gap and before is None)
        assert gap or place not in lost or before is None
        before = int(t_ns[-1])


def arriving(rate: float, real_rate: float, jitter_s: float, seconds: int) -> tuple[list[np.ndarray], list[bool]]:  # type: ignore[type-arg]
    """Date blocks of 10 samples that a device of real_rate sends, each late by up to jitter_s."""
    arrivals, rng = Arrivals(rate), np.random.default_rng(0)
    times, gaps = [], []
    for block in range(1, int(seconds * real_rate / 10) + 1):
        now = S * 1000 + round((block * 10 / real_rate + rng.uniform(0, jitter_s)) * 1e9)
        t_ns, gap = arrivals.dated(10, now)
        times.append(t_ns)
        gaps.append(gap)
    return times, gaps


def test_jitter_evens_out() -> None:
    times, gaps = arriving(100.0, 100.0, 0.08, 60)
    steps = np.diff(np.concatenate(times[100:])) / MS
    assert not any(gaps)
    assert steps.min() > 9.5
    assert steps.max() < 10.5
    assert abs(times[-1][-1] - (S * 1000 + 60 * S)) < 0.08 * S


def test_a_clock_that_is_not_quite_right_is_followed() -> None:
    """A thousand seconds at a rate 0.1 % off would be 1 s away, and more than a day a gap without reason."""
    for real in (99.9, 100.1):
        times, gaps = arriving(100.0, real, 0.0, 1000)
        assert not any(gaps)
        last = S * 1000 + round(int(1000 * real / 10) * 10 / real * 1e9)
        assert abs(int(times[-1][-1]) - last) < 0.05 * S
        assert np.mean(np.diff(np.concatenate(times[-100:]))) == pytest.approx(S / real, rel=1e-4)


def test_what_comes_much_too_late_is_behind_a_gap() -> None:
    arrivals = Arrivals(100.0)
    assert not arrivals.dated(10, 1000 * S)[1]
    assert not arrivals.dated(10, 1001 * S)[1]
    t_ns, gap = arrivals.dated(10, 1010 * S)
    assert gap
    assert t_ns.tolist() == [1010 * S - at * 10 * MS for at in range(9, -1, -1)]
    slow = Arrivals(1 / 60)
    slow.dated(1, 1000 * S)
    assert not slow.dated(1, 1100 * S)[1]


def stamped(*t_s: float, rate: float = 1.0) -> tuple[list[float], list[float], Counter[str]]:
    """Return the kept times, those with a gap before them, and what was dropped."""
    dropped: Counter[str] = Counter()
    stamps = Stamps(rate, dropped)
    kept, gaps = [], []
    for at in t_s:
        found = stamps.checked(np.array([round(at * S)], np.int64))
        kept += (found.t_ns / S).tolist()
        gaps += (found.t_ns[found.gaps] / S).tolist()
    return kept, gaps, dropped


def test_given_times_stay_as_they_are() -> None:
    assert stamped(5, 6.2, 6.9, 8, 9.49) == ([5, 6.2, 6.9, 8, 9.49], [], {})


def test_a_step_of_more_than_one_and_a_half_periods_is_a_gap() -> None:
    assert stamped(5, 6, 7.6, 9) == ([5, 6, 7.6, 9], [7.6], {})


def test_duplicates_and_late_ones_are_dropped_and_counted() -> None:
    assert stamped(5, 6, 6, 5, 6, 7) == ([5, 6, 7], [], {"duplicate": 2, "late": 1})


def test_a_clock_set_back_goes_on_behind_a_gap_until_it_is_there_again() -> None:
    kept, gaps, dropped = stamped(1000, 1001, 100, 101, 101, 102, 1003, 1004, 1100)
    assert kept == [1000, 1001, 1002, 1003, 1004, 1100]
    assert gaps == [1002, 1100]
    assert dropped == {"clock_set_back": 1, "duplicate": 2, "late": 1}


def test_times_that_would_leave_64_bits_are_dropped_and_counted() -> None:
    dropped: Counter[str] = Counter()
    stamps = Stamps(1.0, dropped)
    century = 100 * 365 * 86_400 * S
    given = np.array([2 * century, 0, century - S, 5 * S], np.int64)
    kept = stamps.checked(given)
    assert kept.keep.tolist() == [True, True, False, True]
    assert kept.t_ns.tolist() == [2 * century, 2 * century + S, 2 * century + 6 * S]
    assert dropped == {"clock_set_back": 1, "too_far": 1}


def test_many_at_once_are_as_one_by_one() -> None:
    given_s = np.random.default_rng(1).integers(0, 200, 300)
    one, many = Counter[str](), Counter[str]()
    a, b = Stamps(1.0, one), Stamps(1.0, many)
    singly = [a.checked(np.array([at * S], np.int64)) for at in given_s]
    together = b.checked(given_s.astype(np.int64) * S)
    np.testing.assert_array_equal(np.concatenate([each.t_ns for each in singly]), together.t_ns)
    np.testing.assert_array_equal(np.concatenate([each.gaps for each in singly]), together.gaps)
    np.testing.assert_array_equal(np.concatenate([each.keep for each in singly]), together.keep)
    assert one == many
    assert (np.diff(together.t_ns) > 0).all()


@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
def test_a_wall_clock_that_is_set_moves_nothing_and_is_told_once(
    by_s: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, clock = time.time_ns, _clock.Clock()
    before = clock.now_ns()
    assert abs(before - real()) < S
    monkeypatch.setattr(time, "time_ns", lambda: real() + round(by_s * S))
    for _ in range(3):
        after = clock.now_ns()
        assert before <= after < before + 60 * S
        before = after
    assert [record.message[:38] for record in caplog.records] == [f"the wall clock was set by {by_s:+.3f} s; "[:38]]


def test_in_a_file_equal_times_are_samples_and_steps_back_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,a\n1,1\n1,2\n2,3\n")
    keys: dict[str, Any] = {"path": tmp_path / "x.csv", "channels": ["a"], "rate_hz": 1.0, "time_column": "t"}
    chunks = list(Csv(**keys))
    assert np.concatenate([chunk.t_ns for chunk in chunks]).tolist() == [S, S, 2 * S]
    assert not any(chunk.gap for chunk in chunks)
    (tmp_path / "x.csv").write_text("t,a\n1,1\n0.5,2\n")
    with pytest.raises(SourceError, match="time runs backwards"):
        list(Csv(**keys))


def blocks(starts_s: list[float], count: int, rate: float) -> tuple[list[Any], Counter[str]]:
    dropped: Counter[str] = Counter()
    stamps = Stamps(rate, dropped)
    return [stamps.spread(round(at * S), count) for at in starts_s], dropped


@pytest.mark.parametrize("real", [990.0, 999.9, 1000.0, 1000.1, 1010.0])
def test_blocks_of_a_rate_that_is_not_quite_right_follow_each_other(real: float) -> None:
    found, dropped = blocks([100 + at * 1000 / real for at in range(50)], 1000, 1000.0)
    times = np.concatenate([each.t_ns for each in found])
    assert len(times) == 50_000
    assert (np.diff(times) > 0).all()
    assert not any(each.gaps.any() for each in found)
    assert dropped == {}
    firsts = np.array([each.t_ns[0] for each in found])
    assert np.abs(firsts - [round((100 + at * 1000 / real) * S) for at in range(50)]).max() < 15 * MS


def test_a_block_that_is_missing_late_or_there_twice() -> None:
    found, dropped = blocks([100, 101, 101, 103, 102, 104, 104.5, 10, 11], 10, 10.0)
    assert [each.keep.sum() for each in found] == [10, 10, 0, 10, 0, 10, 5, 10, 10]
    assert [bool(each.gaps.any()) for each in found] == [False] * 3 + [True] + [False] * 3 + [True, False]
    assert dropped == {"duplicate": 1 + 1, "late": 9 + 10 + 4, "clock_set_back": 1}
    times = np.concatenate([each.t_ns for each in found])
    assert (np.diff(times) > 0).all()
