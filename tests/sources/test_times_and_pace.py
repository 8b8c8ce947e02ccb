"""Times are exact, however long a source runs; the pace waits on a clock and can be interrupted."""

import threading
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.errors import ConfigError
from edgeseq.sources import _pace, _times
from edgeseq.sources._pace import Pace


@pytest.mark.parametrize("rate", [1.0, 0.1, 1 / 3600, 3.0, 44_100.0, 29.97, 1e6, 2.5e-5, 12_345.678])
@settings(deadline=None)
@given(index=st.integers(0, 2**40))
def test_times_do_not_drift(rate: float, index: int) -> None:
    exact = Fraction(rate).limit_denominator(10**6)
    index = min(index, int(200 * 365 * 86400 * exact))
    found = int(_times.Grid(rate, 5).times(np.array([index]))[0])
    assert abs(found - 5 - Fraction(index * 10**9) / exact) <= 1 + abs(
        Fraction(index * 10**9) / exact - Fraction(index * 10**9) / _times.Grid(rate, 0)._rate
    )


@settings(deadline=None)
@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - the zone is in the text
def test_iso_times_are_exact(when: datetime) -> None:
    expected = round(Fraction((when.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**6)
    assert abs(_times.iso_ns(when.isoformat() + "Z") - expected * 1000) <= 1000 * (abs(expected) // 2**52)


@settings(deadline=None)
@given(st.integers(-(2**62), 2**62))
def test_nanoseconds_as_seconds_are_exact(t_ns: int) -> None:
    sign, (whole, rest) = ("-" if t_ns < 0 else ""), divmod(abs(t_ns), 10**9)
    assert _times.number_ns(f"{sign}{whole}.{rest:09d}", "s") == t_ns


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1_0", "1e40", "1e999999999", "1e999999", "0x1"])
def test_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        _times.number_ns(text, "s")


def test_a_start_far_away_counts_too() -> None:
    assert _times.number_ns("-1e9", "s", 5 * 10**18) == 4 * 10**18
    with pytest.raises(ValueError, match="is not a time"):
        _times.number_ns("9e9", "s", 10**18)


@pytest.mark.parametrize("text", ["0001-01-01", "1677-01-01", "2262-04-12T00:00:00Z", "9999-12-31T23:59:59"])
def test_times_that_64_bits_do_not_hold(text: str) -> None:
    with pytest.raises(ValueError, match="lies beyond the years 1678 to 2262"):
        _times.iso_ns(text)
    with pytest.raises(ConfigError, match="start must be 'now' or ISO 8601"):
        _times.start_ns(text)


def test_a_start_leaves_room_for_what_follows() -> None:
    with pytest.raises(ConfigError, match="between the years 1700 and 2200"):
        _times.start_ns("2262-04-11T23:47:10")


class Clock:
    """A monotonic clock that only waiting moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pace: Pace) -> None:
        self.now = 100.0
        monkeypatch.setattr(_pace.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(pace._closed, "wait", self.wait)

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return False


@pytest.mark.parametrize(("pace", "speed"), [("real-time", 1.0), (4.0, 4.0), (0.5, 0.5)])
def test_samples_are_let_out_when_they_are_due(
    pace: str | float, speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Pace(pace)  # type: ignore[arg-type]
    clock = Clock(monkeypatch, made)
    for second in range(0, 20_000, 997):
        assert made.wait("x", 7 + second * 10**9)
        assert clock.now == pytest.approx(100 + second / speed)
    assert made.wait("y", 0)
    assert made.wait("y", 10**9)
    assert clock.now == pytest.approx(100 + (20_000 // 997 * 997 + 1) / speed), "y's clock starts with y"


def test_a_late_sample_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Pace("real-time")
    clock = Clock(monkeypatch, made)
    assert made.wait("x", 0)
    clock.now += 50
    assert made.wait("x", 10**9)
    assert clock.now == 150


def test_fast_never_waits_and_takes_whole_batches() -> None:
    made = Pace("fast")
    assert made.wait("x", 0)
    assert made.wait("x", 2**62)
    assert made.most_rows(1.0, 1000) == 1000
    assert Pace(1.0).most_rows(100.0, 1000) == 1
    assert Pace(10.0).most_rows(1000.0, 1000) == 100


def test_close_ends_a_wait() -> None:
    made = Pace("real-time")
    assert made.wait("x", 0)
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(made.wait("x", 10**18)), daemon=True)
    thread.start()
    made.close()
    thread.join(30)
    assert answers == [False]
