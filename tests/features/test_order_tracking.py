"""order_tracking against its reference, and on shafts whose speed changes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vibration_streams import RATE_HZ, SPEC, agree, frames, in_pieces, noise, opened, push, times

from edgeseq.errors import ConfigError
from edgeseq.features import order_tracking
from edgeseq.features._fft import taper
from edgeseq.features.order_tracking import OrderTracking, reference
from edgeseq.types import Channel, Frames

TURNING: dict[str, Any] = {"tachometer": "t", "slowest_hz": 5.0, "turns": 8, "channels": ["x"]}
LAG = 16
"""Samples behind the pulse that ends an interval, where points are no farther apart than samples."""


def angle(count: int, slow: float, fast: float) -> Any:
    """Turns of the shaft at each sample, its speed going up evenly from `slow` to `fast` turns a second."""
    at = np.arange(count) / RATE_HZ
    return slow * at + (fast - slow) * at**2 / (2 * count / RATE_HZ)


def machine(turns: Any, orders: dict[float, float], pulses: int = 1) -> Frames:
    """x has cosines of these amplitudes at orders; t is a saw tooth that rises at every full turn and in between."""
    values = np.zeros((len(turns), 3), np.float32)
    values[:, 0] = sum(much * np.cos(2 * np.pi * order * turns + order) for order, much in orders.items())
    # Through 0.5 exactly where a pulse is, and straight there, so that it is found between the samples.
    off = (turns * pulses + 0.5) % 1 - 0.5
    values[:, 2] = 0.5 + np.where(np.abs(off) < 0.25, off, np.sign(off) * (0.5 - np.abs(off)))
    return values


@pytest.mark.parametrize("pulses", [1, 2, 8])
def test_amplitudes_at_a_changing_speed(pulses: int) -> None:
    """From 10 to 20 turns a second an order passes over half the spectrum: here it stays one line."""
    values = machine(angle(20_000, 10, 20), {1: 2.0, 2.5: 0.7, 7: 0.3}, pulses)
    feature = OrderTracking(**TURNING, pulses=pulses, orders=[1, 2, 2.5, 7])
    found = frames(feature, values)
    assert len(found) > 30
    # One pulse a turn: speed changes by half a percent within one, which counts as even.
    np.testing.assert_allclose(found, np.tile([2, 0, 0.7, 0.3], (len(found), 1)), atol=0.02 if pulses == 1 else 0.01)


def test_it_is_the_references_points_transformed() -> None:
    values = machine(angle(4000, 12, 12.5), {1: 1.0}) + np.float32(0)
    values[:, 0] += np.random.default_rng(0).normal(size=4000).astype(np.float32)
    found = frames(OrderTracking(**TURNING, points=32), values)
    tachometer = values[:, 2].astype(np.float64)
    rises = np.flatnonzero((tachometer[:-1] < 0.5) & (tachometer[1:] >= 0.5))
    places = rises + (0.5 - tachometer[rises]) / (tachometer[rises + 1] - tachometer[rises])
    reach = 16 * 200 / 32 + 1  # what slowest_hz asks for
    places = places[places >= reach]
    points = np.concatenate([
        reference(values[:, 0], places[k], places[k + 1] - places[k], 32) for k in range(len(found) * 8)
    ])  # fmt: skip
    for k, frame in enumerate(found):
        window = points[256 * k : 256 * k + 256] * taper("hann", 256)
        agree(frame, np.abs(np.fft.rfft(window))[1:103] / 64)


def test_points_are_the_signals() -> None:
    """What lies below PASSED of the rate comes through the interpolation, what lies above its mirror does not."""
    at = np.arange(2000)
    for hz, through in ((0.05, 1), (0.19, 1), (0.31, 0), (0.45, 0)):  # of points 2 samples apart: 0.2 and 0.3
        x = np.cos(2 * np.pi * hz * at)
        found = reference(x, 500.25, 1000, 500)
        expected = through * np.cos(2 * np.pi * hz * (500.25 + 2 * np.arange(500)))
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_what_is_above_the_orders_does_not_fold_back() -> None:
    """At 4 points a turn order 3 would be order 1."""
    values = machine(angle(10_000, 10, 10), {3: 1.0})
    found = frames(OrderTracking(**TURNING, points=4), values)
    assert found.max() < 2e-3
    assert frames(OrderTracking(**TURNING, points=16, orders=[3]), values).min() > 0.99


@given(cuts=st.lists(st.integers(1, 1999), max_size=8), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_any_split_is_the_same(cuts: list[int], seed: int) -> None:
    """Also where the shaft stands for a while, and a value of the tachometer is no number."""
    values = machine(angle(2000, 20, 40), {1: 1.0}) + noise(2000, seed) * np.float32([0.1, 1, 0])
    values[800:1300, 2] = 0
    values[400 + seed, 2] = np.nan
    feature = OrderTracking(**TURNING | {"turns": 2, "channels": ["x", "y"]}, hop_turns=1, points=8)
    whole = push(opened(feature), values)
    pieces = in_pieces(opened(feature), values, cuts)
    np.testing.assert_array_equal(pieces[0], whole[0])
    np.testing.assert_array_equal(pieces[1], whole[1])
    assert len(whole[0]) > 10


def test_times_and_when_a_frame_comes() -> None:
    values = machine(np.arange(2000) / 100 + 0.003, {1: 1.0})  # a turn is 100 samples
    feature = opened(OrderTracking(**TURNING | {"turns": 2, "slowest_hz": 10.0}, points=100))
    t_ns, _ = push(feature, values)
    assert np.diff(t_ns).tolist() == [200_000_000] * (len(t_ns) - 1)
    first = int(t_ns[0]) // 1_000_000  # where its last point is
    assert first % 100 == 98
    feature.reset()
    pulse = first + 1
    assert len(feature.push(times(2000)[: pulse + LAG + 2], values[: pulse + LAG + 2])[0]) == 0
    assert len(feature.push(times(2000)[pulse + LAG + 2 :][:1], values[pulse + LAG + 2 :][:1])[0]) == 1


def test_names_units_and_the_rate() -> None:
    spec = OrderTracking(tachometer="t", slowest_hz=5, turns=2, points=5).open(SPEC)
    names = [Channel(f"{channel}.order_{order}", unit) for channel, unit in (("x", "g"), ("y", "m/s²"))
             for order in (0.5, 1, 1.5, 2)]  # fmt: skip
    assert [*spec.channels] == names
    assert spec.rate_hz == 2.5


def test_a_shaft_that_stands_gives_no_frames_and_turns_begin_anew() -> None:
    turns = angle(3000, 20, 20)
    values = machine(np.concatenate([turns, np.full(5000, turns[-1]), turns[-1] + turns]), {1: 1.0})
    t_ns, found = push(opened(OrderTracking(**TURNING)), values)
    seconds = t_ns / 1e9
    assert not ((seconds > 3.0) & (seconds < 8.4)).any()
    assert (seconds < 3.0).sum() == (seconds > 8.0).sum() == 7
    np.testing.assert_allclose(found[:, 7], 1, atol=0.01)
    slow = push(opened(OrderTracking(**TURNING | {"slowest_hz": 25.0})), values)[0]
    assert len(slow) == 0


def test_zeros_and_offsets() -> None:
    values = machine(angle(5000, 20, 30), {1: 0.0})
    assert not frames(OrderTracking(**TURNING), values).any()
    values[:, 0] = 9.81
    found = frames(OrderTracking(**TURNING, orders=[0, 0.125, 0.25, 1]), values)
    np.testing.assert_allclose(found, np.tile([9.81, 9.81, 0, 0], (len(found), 1)), atol=1e-4)


def test_what_is_no_number() -> None:
    values = machine(angle(8000, 20, 20), {1: 1.0})
    values[:, 1] = values[:, 0]
    feature = OrderTracking(**TURNING | {"channels": ["x", "y"]}, orders=[1])
    whole = frames(feature, values)
    for column, bad in ((0, np.nan), (0, np.inf), (2, np.nan), (2, np.inf)):
        spoiled = values.copy()
        spoiled[4025, column] = bad
        found = frames(feature, spoiled)
        assert np.isnan(found[:, 0]).sum() == 1
        assert np.isnan(found[:, 1]).sum() == (column == 2)
        good = np.isfinite(found)
        np.testing.assert_array_equal(found[good], whole[good])


def test_what_is_clipped_counts_as_it_came() -> None:
    values = machine(angle(8000, 20, 20), {1: 1.0})
    values[:, 0] = np.sign(values[:, 0])
    found = frames(OrderTracking(**TURNING, orders=[1, 3, 5]), values)
    np.testing.assert_allclose(found, np.tile(4 / np.pi / np.array([1, 3, 5]), (len(found), 1)), atol=0.02)


def test_less_than_its_turns_give_no_frame() -> None:
    assert frames(OrderTracking(**TURNING), machine(angle(350, 20, 20), {1: 1.0})).shape == (0, 204)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"turns": 0}, "turns and hop_turns must be 1 or more"),
        ({"pulses": 3}, "points must be a multiple of pulses, the 3 of a turn, not 64"),
        ({"orders": [0.3]}, r"order 0\.3 must be a multiple of 1 / turns = 0\.125 up to 25\.5"),
        ({"orders": [np.nan]}, r"orders must be numbers, one or more, not \[nan\]"),
        ({"orders": []}, "orders must be numbers"),
        ({"turns": 10**9}, "a frame of 1000000000 turns with 64 points each has more than"),
        ({"channels": []}, "channels names no channel"),
        ({"orders": [26]}, "order 26 must be a multiple"),
        ({"points": 2, "turns": 1}, r"2 points a turn have no order below 0\.8: take more"),
        ({"slowest_hz": 0.0}, "slowest_hz = 0: two pulses must lie 2 samples to an hour apart"),
        ({"slowest_hz": 600.0}, "slowest_hz = 600: two pulses must lie"),
        ({"tachometer": "z"}, "no channel 'z'"),
        ({"channels": ["z"]}, "no channel 'z'"),
    ],
)
def test_errors(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OrderTracking(**TURNING | more).open(SPEC)


def test_the_kernels_weight_is_the_references() -> None:
    assert order_tracking.CROSSINGS == LAG
    one = np.zeros(81)
    one[40] = 1
    places = reference(one, 40 - 20.3, 40, 40)
    weights = [order_tracking.weight(k - 20.3) for k in range(40)]
    np.testing.assert_allclose(places, weights, atol=1e-4)  # the reference's sum to 1
