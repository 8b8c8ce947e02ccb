"""A bearing's fault frequencies, and the shaft's speed that they are multiples of."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq import bearings
from edgeseq.errors import ConfigError
from edgeseq.features._speed import Speed
from edgeseq.types import Channel, Frames, StreamSpec

SPEC = StreamSpec((Channel("x", "g"), Channel("n", "rpm"), Channel("t")), 1000.0)


def test_those_of_a_known_bearing() -> None:
    """SKF 6205-2RS, the drive end of the Case Western Reserve rig, as its data centre gives them per turn."""
    bearing = {"balls": 9, "ball_diameter": 0.3126, "pitch_diameter": 1.537}
    outer, inner, ball, cage = bearings.per_turn(bearing)
    assert (outer, inner, cage) == pytest.approx((3.5848, 5.4152, 0.39828), rel=1e-3)
    assert 2 * ball == pytest.approx(4.7135, rel=1e-3)  # a ball strikes both races in one turn of its own


def test_a_contact_angle_brings_the_races_together() -> None:
    bearing = {"balls": 10, "ball_diameter": 8.0, "pitch_diameter": 40.0}
    flat, steep = (bearings.per_turn(bearing | {"contact_angle": angle}) for angle in (0, 60))
    assert flat == pytest.approx((4, 6, 2.4, 0.4))
    assert steep == pytest.approx((4.5, 5.5, 2.475, 0.45))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ball": 3}, "bearing has no 'ball'. Did you mean 'balls'"),
        ({"ball_diameter": 50}, "below pitch_diameter"),
        ({"balls": 0}, "balls must be 1 or more"),
        ({"contact_angle": 90}, "contact_angle 0 to below 90"),
    ],
)
def test_what_is_no_bearing(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bearings.per_turn({"balls": 10, "ball_diameter": 8, "pitch_diameter": 40} | change)


def test_what_a_bearing_lacks() -> None:
    with pytest.raises(ConfigError, match="bearing lacks balls and pitch_diameter"):
        bearings.per_turn({"ball_diameter": 8})


def tachometer(positions: list[float], count: int) -> Frames:
    """float32[count, 3] with a saw tooth that rises through 0.5 at these places."""
    values = np.zeros((count, 3), np.float32)
    for place in positions:
        first = int(np.floor(place))
        values[first, 2], values[first + 1, 2] = 0.5 - (place - first), 1.5 - (place - first)
    return values


def test_a_speed_in_rpm() -> None:
    values = np.zeros((4, 3), np.float32)
    values[:, 1] = [0, 600, np.nan, 3000]
    np.testing.assert_allclose(Speed(SPEC, "n", None, 0.5).push(values), np.float32([0, 10, np.nan, 50]), rtol=1e-6)


def test_a_tachometers_speed_is_that_of_the_last_two_pulses() -> None:
    found = Speed(SPEC, "t", 2, 0.5).push(tachometer([10.25, 35.25, 75.75], 100))
    assert np.isnan(found[:36]).all()
    assert found[36:60] == pytest.approx(np.full(24, 20))  # 1000 / (25 * 2)
    assert found[60] == pytest.approx(20)
    assert found[76:] == pytest.approx(np.full(24, 1000 / 81))


def test_it_falls_as_the_next_pulse_is_overdue() -> None:
    found = Speed(SPEC, "t", 1, 0.5).push(tachometer([10.0, 30.0], 10_000))
    for place in (60, 130, 9999):
        assert found[place] == pytest.approx(1000 / (place - 30), rel=1e-6)


def test_behind_a_nan_pulses_are_counted_anew() -> None:
    values = tachometer([10.0, 20.0, 40.0, 50.0], 60)
    values[30, 2] = np.nan
    found = Speed(SPEC, "t", 1, 0.5).push(values)
    assert np.isfinite(found[21:30]).all()
    assert np.isnan(found[30:50]).all()
    assert found[51] == pytest.approx(100)


@given(cuts=st.lists(st.integers(1, 299), max_size=10), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_any_split_is_the_same(cuts: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(300, 3)).astype(np.float32)
    values[seed, 2] = np.nan
    whole, pieces = Speed(SPEC, "t", 3, 0.5).push(values), Speed(SPEC, "t", 3, 0.5)
    parts = [pieces.push(values[i:j]) for i, j in itertools.pairwise(sorted({0, 300, *cuts}))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    pieces.reset()
    np.testing.assert_array_equal(pieces.push(values), whole)


def test_what_is_no_speed() -> None:
    with pytest.raises(ConfigError, match="the channel 'x' has the unit 'g', and a speed comes in Hz, rpm, 1/min"):
        Speed(SPEC, "x", None, 0.5)
    with pytest.raises(ConfigError, match="pulses must be at least 1 a turn, not 0"):
        Speed(SPEC, "t", 0, 0.5)
    with pytest.raises(ConfigError, match="no channel 'z'"):
        Speed(SPEC, "z", 1, 0.5)
