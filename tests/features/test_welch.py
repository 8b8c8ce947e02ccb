"""welch against SciPy's, over its parameters."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from vibration_streams import RATE_HZ, SPEC, agree, frames, noise, opened, push

from edgeseq.errors import ConfigError
from edgeseq.features import _psd
from edgeseq.features._fft import Taper
from edgeseq.features.welch import Welch, reference
from edgeseq.types import Channel, StreamSpec

DETREND = {"none": False, "constant": "constant", "linear": "linear"}


def scipys(x: Any, size: int, overlap: float = 0.5, **more: Any) -> Any:
    detrend = DETREND[more.pop("detrend", "constant")]
    window = more.pop("taper", "hann")
    return signal.welch(
        x.astype(np.float64), RATE_HZ, window, size, int(overlap * size), detrend=detrend, **more
    )[1]  # fmt: skip


@pytest.mark.parametrize("scaling", ["density", "spectrum"])
@pytest.mark.parametrize("detrend", DETREND)
@pytest.mark.parametrize("taper", get_args(Taper))
def test_it_is_scipys(taper: Any, detrend: Any, scaling: Any) -> None:
    values = noise(1000) + np.float32(2)
    values[:, 1] += np.linspace(0, 30, 1000)
    feature = Welch(
        window=0.4, hop=0.15, segment=0.1, taper=taper, detrend=detrend, scaling=scaling, channels=["y", "x"]
    )
    found = frames(feature, values)
    assert found.shape == (5, 2 * 51)
    for k, frame in enumerate(found):
        window = values[150 * k : 150 * k + 400]
        for got, place in zip(frame.reshape(2, -1), (1, 0), strict=True):
            agree(got, scipys(window[:, place], 100, taper=taper, detrend=detrend, scaling=scaling))


@given(size=st.integers(4, 200), more=st.integers(0, 200), overlap=st.floats(0, 0.95), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_any_cut_is_scipys(size: int, more: int, overlap: float, seed: int) -> None:
    values = noise(size + more, seed)
    feature = Welch(window=(size + more) / 1000, segment=size / 1000, overlap=overlap, channels=["x"])
    agree(frames(feature, values)[0], scipys(values[:, 0], size, overlap))


@pytest.mark.parametrize("detrend", DETREND)
def test_the_reference_is_scipys(detrend: Any) -> None:
    x = noise(1000)[:, 0] + 5
    cut = _psd.segments(1000, RATE_HZ, segment=0.15, overlap=0.7, weights="hamming", detrend=detrend)
    expected = scipys(x, 150, 0.7, taper="hamming", detrend=detrend)
    agree(reference(x, cut, cut.density), expected, 1e-12)


def test_names_units_and_times() -> None:
    feature = Welch(window=0.08, hop=0.05, channels=["y", "x", "t"])
    spec = feature.open(SPEC)
    assert spec.rate_hz == 20
    assert len(spec.channels) == 3 * 41
    assert [spec.channels[place] for place in (1, 40, 42, 83)] == [
        Channel("y.psd_12.5Hz", "(m/s²)²/Hz"),
        Channel("y.psd_500Hz", "(m/s²)²/Hz"),
        Channel("x.psd_12.5Hz", "g²/Hz"),
        Channel("t.psd_12.5Hz", ""),
    ]
    assert push(feature, noise(200))[0].tolist() == [79_000_000, 129_000_000, 179_000_000]
    assert Welch(window=0.08, scaling="spectrum").open(SPEC).channels[0].unit == "g²"


def test_a_sines_line_is_its_mean_square() -> None:
    values = np.zeros((1000, 3), np.float32)
    values[:, 0] = 3 * np.sin(2 * np.pi * 50 * np.arange(1000) / RATE_HZ)
    (found,) = frames(Welch(window=1, segment=0.2, scaling="spectrum", channels=["x"]), values)
    assert found[10] == pytest.approx(4.5, rel=1e-5)


def test_zeros_and_constants() -> None:
    values = np.zeros((100, 3), np.float32)
    values[:, 1] = 9.81
    assert not frames(Welch(window=0.1), values).any()
    raw = frames(Welch(window=0.1, detrend="none", taper="boxcar", scaling="spectrum", channels=["y"]), values)
    assert raw[0, 0] == pytest.approx(9.81**2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_no_number_makes_its_channels_window_nan(bad: float) -> None:
    values = noise(300)
    values[150, 0] = bad
    found = frames(Welch(window=0.1, segment=0.02, channels=["x", "y"]), values).reshape(3, 2, -1)
    assert np.isnan(found[1, 0]).all()
    assert np.isfinite(found[[0, 2]]).all()
    assert np.isfinite(found[1, 1]).all()


def test_what_is_clipped_counts_as_it_came() -> None:
    clipped = np.clip(noise(400), -2, 2)
    agree(frames(Welch(window=0.4, channels=["x"]), clipped)[0], scipys(clipped[:, 0], 400))


def test_less_than_a_window_gives_no_frame() -> None:
    assert push(opened(Welch(window=0.1)), noise(99))[1].shape == (0, 3 * 51)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"channels": ["z"]}, "no channel 'z'"),
        ({"segment": 0.2}, "a segment must have 4 samples to the window's 100 at 1000 Hz, not 200"),
        ({"segment": 0.003}, "not 3"),
        ({"segment": np.inf}, "not 0"),
        ({"channels": []}, "channels names no channel"),
        ({"overlap": 1.0}, "from 0 to below 1, not 1"),
    ],
)
def test_errors(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Welch(window=0.1, **more).open(SPEC)


def test_at_a_rate_too_low_for_its_segments_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="at 10 Hz, not 1"):
        Welch(window=1, segment=0.1).open(StreamSpec(SPEC.channels, 10.0))
