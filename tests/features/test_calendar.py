"""calendar against Python's own, in UTC and where clocks are changed."""

import itertools
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.errors import ConfigError
from edgeseq.features import calendar
from edgeseq.features.calendar import Calendar
from edgeseq.types import Channel, Frames, StreamSpec

SPEC = StreamSpec((Channel("a", "m"),), 1.0)
CYCLES = ["hour_of_day", "day_of_week", "day_of_year"]


def ns(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def push(t_ns: list[int], **more: Any) -> Frames:
    feature = Calendar(**{"cycles": CYCLES, **more})
    feature.open(SPEC)
    times, frames = feature.push(np.array(t_ns, np.int64), np.arange(len(t_ns), dtype=np.float32)[:, None])
    assert times.tolist() == t_ns
    assert frames[:, 0].tolist() == list(range(len(t_ns)))
    return frames[:, 1:]


def held_to_the_reference(t_ns: list[int], zone: str, cuts: list[int]) -> None:
    frames = push(t_ns, zone=zone)
    for row, t in zip(frames, t_ns, strict=True):
        phases = calendar.reference(t, ZoneInfo(zone))
        expected = [f(2 * np.pi * phases[cycle]) for cycle in CYCLES for f in (np.sin, np.cos)]  # type: ignore[index]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-7)  # half of float32's last bit of 1 is 3e-8
    edges = sorted({0, len(t_ns), *(cut % len(t_ns) for cut in cuts)})
    parts = [push(t_ns[i:j], zone=zone) for i, j in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), frames)


ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Auckland", "Asia/Kathmandu"]
CUTS = st.lists(st.integers(0, 20), max_size=4)


@pytest.mark.parametrize("zone", ZONES)
@settings(deadline=None)
@given(st.lists(st.integers(ns("1900-01-01"), ns("2201-01-01") - 1), min_size=1, max_size=20), CUTS)
def test_it_is_pythons_calendar(zone: str, t_ns: list[int], cuts: list[int]) -> None:
    held_to_the_reference(t_ns, zone, cuts)


@pytest.mark.parametrize("zone", ZONES)
def test_it_is_pythons_calendar_where_days_months_and_years_meet(zone: str) -> None:
    days = [ns(f"{year}-{day}") for year in range(1900, 2201) for day in ("01-01", "02-28", "03-01", "12-31")]
    t_ns = [day + seconds * 10**9 + rest for day in days for seconds in (-43_200, 0, 86_400) for rest in (-1, 0)]
    held_to_the_reference(t_ns, zone, [7])


def test_it_is_pythons_calendar_as_far_as_nanoseconds_go() -> None:
    held_to_the_reference([-(2**63), -(2**63) + 1, -1, 0, 2**63 - 1], "UTC", [2])
    held_to_the_reference([-(2**63), 2**63 - 1], "Asia/Kathmandu", [1])


def test_quarters_of_a_day() -> None:
    frames = push([ns(f"2026-11-24T{hour:02}:00") for hour in (0, 6, 12, 18)], cycles=["hour_of_day"])
    np.testing.assert_allclose(frames, [[0, 1], [1, 0], [0, -1], [-1, 0]], atol=1e-7)


def test_a_week_begins_on_monday_and_a_leap_year_is_longer() -> None:
    np.testing.assert_allclose(push([ns("2026-11-23")], cycles=["day_of_week"]), [[0, 1]], atol=1e-7)
    np.testing.assert_allclose(push([ns("2025-07-02T12:00")], cycles=["day_of_year"]), [[0, -1]], atol=1e-7)
    np.testing.assert_allclose(push([ns("2024-07-02")], cycles=["day_of_year"]), [[0, -1]], atol=1e-7)


def test_summer_time_begins_within_a_block() -> None:
    t_ns = [ns("2026-03-29T00:59:59"), ns("2026-03-29T01:00:00")]  # in Berlin 1:59:59, then 3:00
    angles = np.arctan2(*push(t_ns, cycles=["hour_of_day"], zone="Europe/Berlin").T) / (2 * np.pi) * 24
    np.testing.assert_allclose(angles, [2 - 1 / 3600, 3], atol=1e-5)


def test_a_microsecond_counts_in_any_year() -> None:
    for year in (1700, 2026, 2200):
        one, other = (push([ns(f"{year}-06-01") + k], cycles=["hour_of_day"])[0, 0] for k in (0, 1000))
        assert other - one == pytest.approx(2 * np.pi * 1e-6 / 86400, rel=1e-3)


def test_names_and_values_that_come_in_stay_as_they_are() -> None:
    out = Calendar(cycles=["day_of_week"]).open(SPEC)
    assert out.channels == (Channel("a", "m"), Channel("day_of_week.sin"), Channel("day_of_week.cos"))
    feature = Calendar(cycles=["day_of_week"])
    feature.open(SPEC)
    _, frames = feature.push(np.zeros(2, np.int64), np.array([[np.nan], [np.inf]], np.float32))
    assert np.isnan(frames[0, 0])
    assert frames[1, 0] == np.inf
    assert np.isfinite(frames[:, 1:]).all()


@pytest.mark.parametrize("zone", ["Europe/Berlim", "", "../etc/passwd", "/etc/localtime", "Europe", "a\0b"])
def test_zones_that_there_are_not(zone: str) -> None:
    with pytest.raises(ConfigError, match="there is no time zone"):
        Calendar(cycles=["hour_of_day"], zone=zone)


@pytest.mark.parametrize("cycles", [[], ["hour_of_day", "hour_of_day"]])
def test_cycles_that_are_none(cycles: list[Any]) -> None:
    with pytest.raises(ConfigError, match="cycles must name at least one"):
        Calendar(cycles=cycles)
