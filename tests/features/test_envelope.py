"""envelope against SciPy's filter, analytic signal and transform, and on bearings with a fault."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from vibration_streams import RATE_HZ, SPEC, agree, frames, in_pieces, noise, opened, push

from edgeseq import bearings
from edgeseq.errors import ConfigError
from edgeseq.features.envelope import Envelope, reference
from edgeseq.types import Channel, Frames, StreamSpec

BEARING = {"balls": 8, "ball_diameter": 8, "pitch_diameter": 40}
PER_TURN = bearings.per_turn(BEARING)
FAULTS: dict[str, Any] = {"band": [100, 400.0], "window": 1.0, "bearing": BEARING, "channels": ["x"]}


def filtered(x: Any, band: list[float], order: int) -> Any:
    sections = signal.butter(order, band, "bandpass", fs=RATE_HZ, output="sos")
    x = x.astype(np.float64)
    return signal.sosfilt(sections, x, zi=signal.sosfilt_zi(sections) * x[0])[0]


def spectrum(x: Any, method: str, taper: str = "hann") -> Any:
    envelope = np.abs(signal.hilbert(x)) if method == "analytic" else np.abs(x)
    mean_square = signal.periodogram(envelope, window=taper, detrend="constant", scaling="spectrum")[1]
    amplitude = np.sqrt(2 * mean_square)
    amplitude[0] /= 2**0.5
    if len(x) % 2 == 0:
        amplitude[-1] /= 2**0.5  # half the rate stands for no negative frequency: its amplitude and RMS are one
    return amplitude


@pytest.mark.parametrize("size", [256, 255])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("method", ["analytic", "rectified"])
def test_it_is_scipys(method: Any, order: int, size: int) -> None:
    values = noise(1000) + np.float32(1)
    feature = Envelope(
        band=[50, 300], order=order, window=size / 1000, hop=0.1, method=method, taper="hamming", channels=["y", "x"]
    )
    found = frames(feature, values)
    assert found.shape == (8, 2 * (size // 2 + 1))
    for place, channel in enumerate((1, 0)):
        x = filtered(values[:, channel], [50, 300], order)
        for k, frame in enumerate(found.reshape(8, 2, -1)):
            window = x[100 * k : 100 * k + size]
            expected = spectrum(window, method, "hamming")
            agree(frame[place, 1:-1], expected[1:-1])
            assert frame[place, 0] == pytest.approx(expected[0], abs=1e-5)
            assert frame[place, -1] == pytest.approx(expected[-1], abs=1e-5)
            agree(frame[place], reference(window, signal.get_window("hamming", size), method))


def modulated(hz: float, count: int = 4000, carrier: float = 200.0, depth: float = 0.5) -> Frames:
    at = np.arange(count) / RATE_HZ
    values = np.zeros((count, 3), np.float32)
    values[:, 0] = (1 + depth * np.cos(2 * np.pi * hz * at)) * np.sin(2 * np.pi * carrier * at)
    return values


def test_a_modulations_line_is_its_amplitude() -> None:
    found = frames(Envelope(band=[100, 300], window=1, max_hz=50, channels=["x"]), modulated(12))
    assert found.shape == (4, 51)
    assert found[1:].argmax(axis=1).tolist() == [12] * 3
    np.testing.assert_allclose(found[1:, 12], 0.5, rtol=0.01)


@pytest.mark.parametrize("fault", range(4))
def test_each_fault_shows_at_its_own_frequency(fault: int) -> None:
    shaft = 10.0
    (*_, found) = frames(Envelope(**FAULTS, speed_hz=shaft, harmonics=1), modulated(PER_TURN[fault] * shaft))
    assert int(found.argmax()) == fault
    assert found[fault] == pytest.approx(0.5, rel=0.05)
    assert np.delete(found, fault).max() < 0.05


def test_harmonics_are_summed_and_those_beyond_the_end_left_out() -> None:
    values = modulated(32, depth=0.3)  # the outer race's at ten turns a second
    values[:, 0] += modulated(64, depth=0.2)[:, 0] - modulated(64, depth=0)[:, 0]
    one, two, cut = (
        frames(Envelope(**FAULTS, speed_hz=10, **more), values)[-1, 0]
        for more in ({"harmonics": 1}, {"harmonics": 2}, {"harmonics": 2, "max_hz": 50.0})
    )
    assert one == pytest.approx(0.3, rel=0.05)
    assert two == pytest.approx(0.5, rel=0.05)
    assert cut == pytest.approx(one, rel=1e-6)


def test_width_finds_what_slips() -> None:
    slipped = modulated(32 * 1.05)
    narrow, wide = (frames(Envelope(**FAULTS, speed_hz=10, harmonics=1, width=w), slipped)[-1, 0] for w in (0.0, 0.08))
    assert wide > 0.4
    assert narrow < wide / 3


@pytest.mark.parametrize("channel", ["rpm", "pulses"])
def test_faults_follow_a_measured_speed(channel: str) -> None:
    """Ten turns a second, then twenty: the fault is where the shaft says, in each window."""
    values = np.concatenate([modulated(32, 5000), modulated(64, 5000)])
    speed = np.repeat([10.0, 20.0], 5000)
    if channel == "rpm":
        values[:, 2] = speed * 60
        feature = Envelope(**FAULTS, speed_channel="t", harmonics=1)
        spec = StreamSpec((*SPEC.channels[:2], Channel("t", "rpm")), RATE_HZ)
    else:
        values[:, 2] = np.cumsum(2 * speed / RATE_HZ) % 1 >= 0.5
        feature = Envelope(**FAULTS, speed_channel="t", pulses=2, harmonics=1)
        spec = SPEC
    found = frames(feature, values, spec)[[2, 3, 4, 6, 7, 8, 9]]
    assert found.argmax(axis=1).tolist() == [0] * 7
    np.testing.assert_allclose(found[:, 0], 0.5, rtol=0.1)


@given(cuts=st.lists(st.integers(1, 999), max_size=8))
@settings(deadline=None, max_examples=20)
def test_any_split_is_the_same_with_a_tachometer(cuts: list[int]) -> None:
    made = Envelope(band=[100, 400], window=0.3, hop=0.1, bearing=BEARING, speed_channel="t", pulses=1)
    whole = push(opened(made), noise(1000))
    pieces = in_pieces(opened(made), noise(1000), cuts)
    np.testing.assert_array_equal(pieces[0], whole[0])
    np.testing.assert_array_equal(pieces[1], whole[1])
    assert np.isfinite(whole[1][2:]).all()


@pytest.mark.filterwarnings("error")
def test_a_speed_that_is_infinite_both_ways_is_unknown_without_a_warning() -> None:
    values = modulated(32)
    values[1500:1502, 2] = np.inf, -np.inf
    spec = StreamSpec((*SPEC.channels[:2], Channel("t", "Hz")), RATE_HZ)
    assert np.isnan(frames(Envelope(**FAULTS, speed_channel="t"), values, spec)[1]).all()


def test_a_speed_that_is_unknown_or_zero_or_too_high_makes_faults_nan() -> None:
    spec = StreamSpec((*SPEC.channels[:2], Channel("t", "Hz")), RATE_HZ)
    for speed in (np.nan, 0.0, 2000.0):
        values = modulated(32)
        values[:, 2] = speed
        assert np.isnan(frames(Envelope(**FAULTS, speed_channel="t"), values, spec)).all()
    values = modulated(32)
    values[1500, 2] = np.nan
    values[:1500, 2] = values[1501:, 2] = 10
    found = np.isnan(frames(Envelope(**FAULTS, speed_channel="t"), values, spec))
    assert found.all(axis=1).tolist() == [False, True, False, False]
    assert np.isnan(frames(Envelope(**FAULTS, speed_channel="t", pulses=1), modulated(32))).all(), "no pulse ever came"


def test_names_units_and_times() -> None:
    lines = Envelope(band=[100, 400], window=0.1, hop=0.05, max_hz=20)
    spec = lines.open(SPEC)
    assert [channel.name for channel in spec.channels[:4]] == [
        "x.envelope_0Hz", "x.envelope_10Hz", "x.envelope_20Hz", "y.envelope_0Hz",
    ]  # fmt: skip
    assert (spec.channels[0].unit, spec.channels[3].unit, spec.rate_hz) == ("g", "m/s²", 20)
    assert push(lines, noise(150))[0].tolist() == [99_000_000, 149_000_000]
    faults = Envelope(band=[100, 400], window=1, bearing=BEARING, speed_channel="t", pulses=1).open(SPEC)
    names = [f"{channel}.{fault}" for channel in "xy" for fault in ("bpfo", "bpfi", "bsf", "ftf")]
    assert [channel.name for channel in faults.channels] == names


def test_zeros_constants_and_offsets() -> None:
    values = np.zeros((300, 3), np.float32)
    values[:, 1] = 9.81
    assert np.abs(frames(Envelope(band=[100, 400], window=0.1), values)).max() < 1e-6
    plain, shifted = (frames(Envelope(band=[100, 400], window=0.1), noise(500) + np.float32(by)) for by in (0, 100))
    agree(shifted, plain, 1e-4)  # float32 keeps less of what stands on an offset


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_no_number_makes_its_channels_window_nan_and_the_filter_starts_anew(bad: float) -> None:
    values = noise(600)
    values[199, 0] = bad
    feature = Envelope(band=[100, 400], window=0.1, channels=["x", "y"])
    found = frames(feature, values).reshape(6, 2, -1)
    assert np.isnan(found[1, 0]).all()
    assert np.isfinite(found[1, 1]).all()
    anew = frames(feature, values[200:]).reshape(4, 2, -1)
    np.testing.assert_array_equal(found[2:, 0], anew[:, 0])


def test_what_is_clipped_counts_as_it_came() -> None:
    values = np.clip(modulated(12), -0.5, 0.5)
    found = frames(Envelope(band=[100, 300], window=1, channels=["x"]), values)[-1]
    agree(found[1:], spectrum(filtered(values[:, 0], [100, 300], 4)[3000:], "analytic")[1:])


def test_less_than_a_window_gives_no_frame() -> None:
    assert push(opened(Envelope(band=[100, 400], window=0.1)), noise(99))[1].shape == (0, 3 * 51)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"band": [100.0]}, "band must be two frequencies"),
        ({"band": [100.0, 500.0]}, "100 to 500 Hz does not lie between 0 and 500 Hz"),
        ({"max_hz": 501.0}, "max_hz must lie between 1, the first line, and half the rate, not 501"),
        ({"max_hz": np.nan}, "max_hz must lie between 1"),
        ({"channels": []}, "channels names no channel"),
        ({"bearing": None}, "bearing and a speed, speed_hz or speed_channel, come together"),
        ({"speed_hz": None}, "come together"),
        ({"speed_channel": "t"}, "speed_hz must be above 0, and speed_channel not there beside it"),
        ({"speed_hz": 0.0}, "speed_hz must be above 0"),
        ({"pulses": 1}, "pulses are those of a speed_channel, which is missing"),
        ({"harmonics": 0}, "harmonics must be 1 or more"),
        ({"width": 0.5}, "width 0 to below 0.5"),
        ({"speed_hz": 1.0}, r"ftf is 0\.4 Hz at speed_hz = 1; the envelope's spectrum goes from 1, the first line"),
        ({"speed_hz": 150.0}, "bpfi is 720 Hz at speed_hz = 150"),
        ({"speed_hz": None, "speed_channel": "t"}, "the channel 't' has the unit ''"),
        ({"channels": ["z"]}, "no channel 'z'"),
    ],
)
def test_errors(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Envelope(**FAULTS | {"speed_hz": 10.0} | more).open(SPEC)


def test_a_rate_too_low_for_its_band_is_refused() -> None:
    with pytest.raises(ConfigError, match="100 to 400 Hz does not lie between 0 and 400 Hz"):
        Envelope(band=[100, 400], window=0.1).open(StreamSpec(SPEC.channels, 800.0))
