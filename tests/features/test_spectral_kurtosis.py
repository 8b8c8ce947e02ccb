"""spectral_kurtosis against SciPy's short-time transforms, and on what it is to find."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from vibration_streams import RATE_HZ, SPEC, agree, frames, noise, opened, push

from edgeseq.errors import ConfigError
from edgeseq.features import _psd
from edgeseq.features.spectral_kurtosis import SpectralKurtosis, reference
from edgeseq.types import Channel, StreamSpec


def scipys(x: Any, size: int, step: int) -> Any:
    """Over SciPy's segments, the lines between zero and half the rate."""
    _, _, squares = signal.spectrogram(x.astype(np.float64), RATE_HZ, "hann", size, size - step, detrend="constant")
    kurtosis = (squares**2).mean(axis=1) / squares.mean(axis=1) ** 2 - 2
    return kurtosis[1 : (size + 1) // 2]


@given(size=st.integers(4, 60), overlap=st.floats(0, 0.9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_it_is_scipys(size: int, overlap: float, seed: int) -> None:
    values = noise(600, seed)
    feature = SpectralKurtosis(window=0.6, segment=size / 1000, overlap=overlap, channels=["x"])
    expected = scipys(values[:, 0], size, size - int(overlap * size))
    agree(frames(feature, values)[0], expected)
    cut = _psd.segments(600, RATE_HZ, segment=size / 1000, overlap=overlap, weights="hann", detrend="constant")
    agree(reference(values[:, 0], cut), expected, 1e-9)


def test_noise_has_none_a_tone_minus_one_and_bursts_much() -> None:
    random = np.random.default_rng(1)
    at = np.arange(20_000)
    values = random.normal(size=(20_000, 3)).astype(np.float32)
    values[:, 1] = 10 * np.sin(2 * np.pi * 0.25 * at) + 0.01 * values[:, 1]
    ring = np.exp(-np.arange(40) / 8) * np.sin(2 * np.pi * 0.3 * np.arange(40))
    hits = np.zeros(20_000)
    hits[::500] = 20
    values[:, 2] += np.convolve(hits, ring)[:20_000]
    found = frames(SpectralKurtosis(window=20, segment=0.04, taper="hann"), values).reshape(3, 19)
    assert np.abs(found[0]).max() < 0.3
    assert found[1, 9] == pytest.approx(-1, abs=1e-3)  # 250 Hz
    assert int(found[2].argmax()) in (10, 11, 12)  # 300 Hz is line 12 of 25 Hz
    assert found[2].max() > 5


def test_names_units_and_times() -> None:
    feature = SpectralKurtosis(window=0.1, hop=0.05, segment=0.01, channels=["y"])
    spec = feature.open(SPEC)
    assert spec.channels == tuple(Channel(f"y.kurtosis_{hz}Hz") for hz in (100, 200, 300, 400))
    assert spec.rate_hz == 20
    assert push(feature, noise(150))[0].tolist() == [99_000_000, 149_000_000]


@pytest.mark.parametrize("value", [0, 9.81])
def test_zeros_and_constants_have_none(value: float) -> None:
    values = np.full((100, 3), value, np.float32)
    assert np.isnan(frames(SpectralKurtosis(window=0.1, segment=0.01), values)).all()


def test_an_offset_does_nothing() -> None:
    plain, shifted = (frames(SpectralKurtosis(window=0.3, segment=0.02), noise(300) + np.float32(by)) for by in (0, 10))
    agree(shifted, plain, 1e-3)  # float32 keeps less of what stands on an offset


def test_what_is_no_number_or_clipped() -> None:
    values = np.clip(noise(300), -1, 1)
    feature = SpectralKurtosis(window=0.1, segment=0.01, channels=["x", "y"])
    assert np.isfinite(frames(feature, values)).all()
    values[150, 0] = np.nan
    found = frames(feature, values).reshape(3, 2, -1)
    assert np.isnan(found[1, 0]).all()
    assert np.isfinite(found[1, 1]).all()
    assert np.isfinite(found[[0, 2]]).all()


def test_less_than_a_window_gives_no_frame() -> None:
    assert push(opened(SpectralKurtosis(window=0.1, segment=0.01)), noise(99))[1].shape == (0, 12)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"segment": 0.05}, "a window holds 4 segments, fewer than 8"),
        ({"segment": 0.002}, "a segment must have 4 samples"),
        ({"overlap": -0.1}, "overlap must be"),
        ({"channels": ["z"]}, "no channel 'z'"),
    ],
)
def test_errors(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SpectralKurtosis(**{"window": 0.1, "segment": 0.01} | more).open(SPEC)


def test_a_rate_too_low_for_its_segments_is_refused() -> None:
    with pytest.raises(ConfigError, match="a segment must have 4 samples"):
        SpectralKurtosis(window=1, segment=0.01).open(StreamSpec(SPEC.channels, 100.0))
