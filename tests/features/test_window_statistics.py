"""window_statistics against its reference and against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from vibration_streams import SPEC, agree, frames, noise, opened, push

from edgeseq.errors import ConfigError
from edgeseq.features.window_statistics import STATISTICS, WITHOUT_UNIT, WindowStatistics, reference
from edgeseq.types import Frames


def test_every_statistic_of_every_window_is_the_references() -> None:
    values = noise(1000)
    found = frames(WindowStatistics(window=0.2, hop=0.075, channels=["y", "x"]), values)
    assert found.shape == (11, 2 * len(STATISTICS))
    for k, frame in enumerate(found):
        window = values[75 * k : 75 * k + 200]
        for got, place in zip(frame.reshape(2, -1), (1, 0), strict=True):
            np.testing.assert_allclose(got, reference(window[:, place]), rtol=1e-6, atol=1e-6)


def test_skewness_and_kurtosis_are_scipys() -> None:
    x = noise(2560)[:, :1]
    found = frames(
        WindowStatistics(window=2.56, statistics=["kurtosis", "skewness", "std"], channels=["x"]), noise(2560)
    )
    agree(found[0], [stats.kurtosis(x[:, 0], fisher=False), stats.skew(x[:, 0]), x.std(dtype=np.float64)])


def test_what_the_factors_are_for_a_sine() -> None:
    values = np.zeros((1000, 3), np.float32)
    values[:, 0] = 2 * np.sin(2 * np.pi * np.arange(1000) / 1000)
    names = ["rms", "mean_abs", "peak", "crest", "shape", "impulse"]
    (found,) = frames(WindowStatistics(window=1, statistics=names, channels=["x"]), values)
    expected = [2**0.5, 4 / np.pi, 2, 2**0.5, np.pi / 8**0.5, np.pi / 2]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_names_units_and_times() -> None:
    feature = WindowStatistics(window=0.1, statistics=["rms", "crest"])
    spec = feature.open(SPEC)
    assert [(channel.name, channel.unit) for channel in spec.channels] == [
        ("x.rms", "g"), ("x.crest", ""), ("y.rms", "m/s²"), ("y.crest", ""), ("t.rms", ""), ("t.crest", ""),
    ]  # fmt: skip
    assert spec.rate_hz == 10
    assert push(feature, noise(250))[0].tolist() == [99_000_000, 199_000_000]


@given(
    scale=st.floats(1e-3, 1e3),
    offset=st.floats(-100, 100),
    size=st.integers(2, 300),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=30)
def test_any_window_is_the_references(scale: float, offset: float, size: int, seed: int) -> None:
    values = (noise(size, seed) * scale + offset).astype(np.float32)
    (found,) = frames(WindowStatistics(window=size / 1000, channels=["x"]), values)
    expected = reference(values[:, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * max(1, abs(offset), scale))


def pieces(values: Frames) -> dict[str, float]:
    (found,) = frames(WindowStatistics(window=0.1, channels=["x"]), values)
    return dict(zip(STATISTICS, found.tolist(), strict=True))


def test_a_window_of_zeros_has_no_factors() -> None:
    found = pieces(np.zeros((100, 3), np.float32))
    assert {name for name, value in found.items() if np.isnan(value)} == WITHOUT_UNIT
    assert {value for name, value in found.items() if name not in WITHOUT_UNIT} == {0}


def test_a_constant_window_has_neither_skewness_nor_kurtosis() -> None:
    found = pieces(np.full((100, 3), 9.81, np.float32))
    assert {name for name, value in found.items() if np.isnan(value)} == {"skewness", "kurtosis"}
    assert found["crest"] == found["shape"] == pytest.approx(1)


def test_an_offset_does_not_reach_what_is_about_the_mean() -> None:
    plain, shifted = pieces(noise(100)), pieces(noise(100) + np.float32(50))
    for name in ("std", "peak_to_peak", "skewness", "kurtosis"):
        assert shifted[name] == pytest.approx(plain[name], rel=1e-4, abs=1e-4)
    assert shifted["mean"] == pytest.approx(plain["mean"] + 50)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_no_number_makes_its_channels_window_nan(bad: float) -> None:
    values = noise(300)
    values[150, 0] = bad
    found = frames(WindowStatistics(window=0.1, statistics=["std", "kurtosis"], channels=["x", "y"]), values)
    assert np.isnan(found).tolist() == [[False] * 4, [True, True, False, False], [False] * 4]


def test_what_is_clipped_counts_as_it_came() -> None:
    clipped = np.clip(noise(100), -2, 2)
    np.testing.assert_allclose(list(pieces(clipped).values()), reference(clipped[:, 0]), rtol=1e-5, atol=1e-6)
    assert pieces(clipped)["peak"] == 2


def test_less_than_a_window_gives_no_frame() -> None:
    assert push(opened(WindowStatistics(window=0.1)), noise(99))[1].shape == (0, 3 * len(STATISTICS))


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"statistics are some of .*not \['median'\]"):
        WindowStatistics(window=1, statistics=["rms", "median"])
    with pytest.raises(ConfigError, match="no channel 'z'"):
        WindowStatistics(window=1, channels=["z"]).open(SPEC)
    with pytest.raises(ConfigError, match=r"window = 0\.0001 s is less than one sample at 1000 Hz"):
        WindowStatistics(window=0.0001).open(SPEC)
