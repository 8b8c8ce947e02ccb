"""cepstrum against its definition in NumPy, and on echoes and harmonics."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vibration_streams import SPEC, agree, frames, noise, opened, push

from edgeseq.errors import ConfigError
from edgeseq.features._fft import taper
from edgeseq.features.cepstrum import Cepstrum, reference
from edgeseq.types import Channel


def numpys(x: Any, weights: Any) -> Any:
    return np.fft.irfft(np.log(np.abs(np.fft.rfft(x.astype(np.float64) * weights))), len(x))[: len(x) // 2 + 1]


@given(size=st.integers(4, 300), seed=st.integers(0, 99), name=st.sampled_from(["hann", "boxcar", "hamming"]))
@settings(deadline=None, max_examples=40)
def test_the_real_cepstrum_is_numpys(size: int, seed: int, name: Any) -> None:
    values = noise(size, seed)
    (found,) = frames(Cepstrum(window=size / 1000, taper=name, channels=["x"]), values)
    expected = numpys(values[:, 0], taper(name, size))
    agree(found, expected)
    agree(reference(values[:, 0], taper(name, size), "real"), expected, 1e-12)


def test_the_power_cepstrum_is_that_of_the_logarithm_of_the_power() -> None:
    values = noise(200)
    (found,) = frames(Cepstrum(window=0.2, kind="power", channels=["y"]), values)
    spectrum = np.abs(np.fft.rfft(values[:, 1].astype(np.float64) * taper("hann", 200))) ** 2
    expected = np.fft.irfft(np.log(spectrum), 200)[:101] ** 2
    agree(found, expected)
    agree(reference(values[:, 1], taper("hann", 200), "power"), expected, 1e-12)


def test_an_echo_is_a_line_at_its_lag() -> None:
    x = np.random.default_rng(0).normal(size=5000)
    values = np.zeros((4000, 3), np.float32)
    values[:, 0] = x[1000:] + 0.5 * x[960:-40]
    (found,) = frames(Cepstrum(window=4, lags=[0.005, 0.1], channels=["x"]), values)
    assert int(found.argmax()) == 35  # 40 samples, 40 ms, of which the first 5 are left out
    assert found.max() == pytest.approx(0.25, abs=0.05)  # ln(1 + a e^-jw) has a cosine of amplitude a, halved


def test_gain_is_in_lag_zero_alone() -> None:
    quiet, loud = (frames(Cepstrum(window=0.2, channels=["x"]), noise(200) * np.float32(gain)) for gain in (1, 100))
    np.testing.assert_allclose(loud[0, 1:], quiet[0, 1:], atol=1e-5)
    assert loud[0, 0] - quiet[0, 0] == pytest.approx(np.log(100), rel=1e-5)


def test_names_units_and_times() -> None:
    feature = Cepstrum(window=0.1, hop=0.05, lags=[0.002, 0.01], channels=["y"])
    spec = feature.open(SPEC)
    assert spec.channels == tuple(Channel(f"y.cepstrum_{lag / 1000:g}s") for lag in range(2, 11))
    assert spec.rate_hz == 20
    assert push(feature, noise(150))[0].tolist() == [99_000_000, 149_000_000]


@pytest.mark.parametrize("name", ["hann", "boxcar"])
@pytest.mark.parametrize("value", [0, 9.81])
def test_zeros_and_constants_have_no_logarithm(value: float, name: Any) -> None:
    values = np.full((256, 3), value, np.float32)
    assert np.isnan(frames(Cepstrum(window=0.256, taper=name), values)).all()
    assert np.isnan(reference(values[:, 0], taper(name, 256), "real")).all()


def test_an_offset_is_spread_over_the_lags() -> None:
    plain, shifted = (frames(Cepstrum(window=1, channels=["x"]), noise(1000) + np.float32(by)) for by in (0, 5))
    assert 1e-4 < np.abs(shifted - plain)[0, 1:].max() < 0.05


def test_what_is_no_number_or_clipped() -> None:
    values = np.clip(noise(300), -1, 1)
    assert np.isfinite(frames(Cepstrum(window=0.1, channels=["x", "y"]), values)).all()
    values[150, 0] = np.inf
    found = frames(Cepstrum(window=0.1, channels=["x", "y"]), values).reshape(3, 2, -1)
    assert np.isnan(found[1, 0]).all()
    assert np.isfinite(found[1, 1]).all()
    assert np.isfinite(found[[0, 2]]).all()


def test_less_than_a_window_gives_no_frame() -> None:
    assert push(opened(Cepstrum(window=0.1, channels=["x"])), noise(99))[1].shape == (0, 51)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"lags": [0.01]}, "lags must go from a time up to a later one"),
        ({"lags": [0.02, 0.01]}, "lags must go"),
        ({"lags": [0.02, np.inf]}, "lags must go"),
        ({"lags": [0.01, 0.06]}, r"lags go up to 0\.06 s; a window of 0\.1 s"),
        ({"channels": ["z"]}, "no channel 'z'"),
    ],
)
def test_errors(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Cepstrum(window=0.1, **more).open(SPEC)
