"""velocity against SciPy's filters and integral, and against the integral of sines."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, signal
from vibration_streams import agree, frames, in_pieces, noise, opened, push

from edgeseq.errors import ConfigError
from edgeseq.features.velocity import DROOP, Velocity, integrator, reference
from edgeseq.types import Channel, Frames, StreamSpec

RATE_HZ = 10_000.0
SPEC = StreamSpec((Channel("x", "g"), Channel("y", "m/s²"), Channel("t")), RATE_HZ)
G = 9806.65


def scipys(x: Any, low: float = 10, high: float = 1000, order: int = 4) -> Any:
    """SciPy's high-pass, trapezoidal integral and low-pass, and the weights that make up for the trapezoids."""
    above = signal.butter(order, low, "highpass", fs=RATE_HZ, output="sos")
    below = signal.butter(order, high, fs=RATE_HZ, output="sos")
    x = x.astype(np.float64)
    moving = integrate.cumulative_trapezoid(signal.sosfilt(above, x), dx=1 / RATE_HZ, initial=0)
    return signal.sosfilt(below, signal.lfilter(DROOP, 1, moving))


def sine(hz: float, velocity_mm_s: float, unit_mm_s2: float, count: int = 20_000) -> Frames:
    values = np.zeros((count, 3), np.float32)
    rate = 2 * np.pi * hz
    values[:, 0] = values[:, 1] = velocity_mm_s * rate / unit_mm_s2 * np.cos(rate * np.arange(count) / RATE_HZ)
    return values


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("band", [(10.0, 1000.0), (2.0, 1000.0), (100.0, 2500.0)])
def test_it_is_scipys(band: tuple[float, float], order: int) -> None:
    values = noise(5000)
    values[0] = 0  # both from rest
    found = frames(Velocity(low=band[0], high=band[1], order=order, channels=["x", "y"]), values, SPEC)
    agree(found[:, 0], G * scipys(values[:, 0], *band, order))
    agree(found[:, 1], 1000 * scipys(values[:, 1], *band, order))
    agree(reference(values[:, 0], RATE_HZ, *band, order), scipys(values[:, 0], *band, order), 1e-9)


@pytest.mark.parametrize(("hz", "off"), [(20, 0.005), (50, 0.002), (160, 0.002), (400, 0.002)])
def test_a_sines_rms_is_the_integrals(hz: float, off: float) -> None:
    """An octave inside its edge a Butterworth filter of order 4 takes 0.2 %, two octaves inside nothing."""
    for unit, channel in ((G, "x"), (1000.0, "y")):
        found = frames(Velocity(window=0.5, channels=[channel]), sine(hz, 4.5 * 2**0.5, unit), SPEC)
        assert found[-1, 0] == pytest.approx(4.5, rel=off)


@pytest.mark.parametrize("hz", [10, 1000])
def test_at_an_edge_three_decibels_are_lost(hz: float) -> None:
    found = frames(Velocity(window=0.5, channels=["y"]), sine(hz, 10, 1000), SPEC)
    assert found[-1, 0] == pytest.approx(10 / 2, rel=0.01)


def test_outside_the_band_nothing_is_left() -> None:
    for hz in (1, 4000):
        assert frames(Velocity(window=0.5, channels=["y"]), sine(hz, 10, 1000), SPEC)[-1, 0] < 0.05


@pytest.mark.parametrize(("share", "off"), [(0.1, 0.003), (0.2, 0.04), (0.25, 0.085)])
def test_how_far_the_integral_is_off_near_half_the_rate(share: float, off: float) -> None:
    sections = integrator(RATE_HZ, 10, 2500, 4)
    hz = np.array([share * RATE_HZ])
    gain = np.abs(signal.freqz_sos(sections, hz, fs=RATE_HZ)[1])
    below = signal.butter(4, 2500, fs=RATE_HZ, output="sos")
    ideal = np.abs(signal.freqz_sos(below, hz, fs=RATE_HZ)[1]) / (2 * np.pi * hz)
    assert 1 - off < float(gain[0] / ideal[0]) < 1


def test_names_units_and_times() -> None:
    level, moving = Velocity(window=0.1, hop=0.05, channels=["y", "x"]), Velocity(channels=["y"])
    spec = level.open(SPEC)
    assert spec.channels == (Channel("y.velocity_rms", "mm/s"), Channel("x.velocity_rms", "mm/s"))
    assert spec.rate_hz == 20
    t_ns = np.arange(1500) * 100_000
    assert level.push(t_ns, noise(1500))[0].tolist() == [99_900_000, 149_900_000]
    assert moving.open(SPEC) == StreamSpec((Channel("y.velocity", "mm/s"),), RATE_HZ)
    np.testing.assert_array_equal(moving.push(t_ns, noise(1500))[0], t_ns)


def test_the_rms_is_that_of_the_velocity() -> None:
    moving = frames(Velocity(channels=["x", "y"]), noise(3000), SPEC)
    level = frames(Velocity(window=0.1, hop=0.05, channels=["x", "y"]), noise(3000), SPEC)
    expected = [np.sqrt((moving[k : k + 1000].astype(np.float64) ** 2).mean(axis=0)) for k in range(0, 2001, 500)]
    agree(level, np.array(expected))


@given(cuts=st.lists(st.integers(1, 999), max_size=8), window=st.sampled_from([None, 0.02]))
@settings(deadline=None, max_examples=20)
def test_any_split_is_the_same(cuts: list[int], window: float | None) -> None:
    feature = Velocity(window=window, channels=["x", "y"])
    whole = push(opened(feature, SPEC), noise(1000))
    pieces = in_pieces(opened(feature, SPEC), noise(1000), cuts)
    np.testing.assert_array_equal(pieces[1], whole[1])


def test_zeros_constants_and_offsets_have_no_velocity() -> None:
    values = np.zeros((2000, 3), np.float32)
    values[:, 1] = 9.81
    assert np.abs(frames(Velocity(channels=["x", "y"]), values, SPEC)).max() < 1e-9
    plain, shifted = (frames(Velocity(channels=["x"]), noise(2000) + np.float32(by), SPEC) for by in (0, 1))
    agree(shifted, plain, 1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_makes_its_window_nan_and_the_filter_starts_anew(bad: float) -> None:
    values = noise(3000)
    values[999, 0] = bad
    feature = Velocity(window=0.05, channels=["x", "y"])
    found = frames(feature, values, SPEC)
    assert np.isnan(found).tolist() == [[False] * 2, [True, False], *[[False] * 2] * 4]
    np.testing.assert_array_equal(found[2:, 0], frames(feature, values[1000:], SPEC)[:, 0])


def test_what_is_clipped_is_too_low() -> None:
    values = sine(100, 10, G)
    found = frames(Velocity(window=0.5, channels=["x"]), np.clip(values, -0.3, 0.3), SPEC)
    assert found[-1, 0] < 0.7 * 10 / 2**0.5


def test_less_than_a_window_gives_no_frame() -> None:
    assert push(opened(Velocity(window=0.1, channels=["x"]), SPEC), noise(999))[1].shape == (0, 1)


def test_the_unit_of_channels_that_have_none() -> None:
    bare = StreamSpec((Channel("x"), Channel("y"), Channel("t")), RATE_HZ)
    found = frames(Velocity(unit="g", channels=["x"]), noise(500), bare)
    np.testing.assert_array_equal(found, frames(Velocity(channels=["x"]), noise(500), SPEC))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"order": 1}, "order must be 2 or more, not 1"),
        ({"hop": 0.1}, "hop is from one window to the next, and window is missing"),
        ({"low": 2000.0}, "low must lie above 0 and below high, not 2000 and 1000 Hz"),
        ({"channels": ["t"]}, "the channel 't' has no unit; acceleration comes in g, m/s²"),
        ({"channels": ["z"]}, "no channel 'z'"),
        ({"high": 3000.0}, "velocity up to 3000 Hz needs 12000 samples a second, not 10000"),
    ],
)
def test_errors(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Velocity(**{"channels": ["x"]} | more).open(SPEC)


def test_what_is_no_acceleration_is_refused() -> None:
    with pytest.raises(ConfigError, match="the channel 'x' has the unit 'mm/s'; acceleration comes in"):
        Velocity().open(StreamSpec((Channel("x", "mm/s"),), RATE_HZ))
