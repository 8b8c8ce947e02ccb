"""decibels against its definition, and what zeros, NaN and wrong parameters give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vibration_streams import AGREES, SPEC, noise, opened, push

from edgeseq.errors import ConfigError
from edgeseq.features.decibels import Decibels, reference


def test_it_is_its_definition_and_keeps_order_and_times() -> None:
    values = np.abs(noise(500))
    feature = Decibels(reference=0.02, least=0.01, channels=["y", "x"])
    spec = feature.open(SPEC)
    assert [(channel.name, channel.unit) for channel in spec.channels] == [("y.dB", "dB"), ("x.dB", "dB")]
    t_ns, frames = push(feature, values)
    expected = reference(values[:, [1, 0]], 0.02, 0.01)
    assert len(t_ns) == 500
    assert np.abs(frames - expected).max() <= AGREES * np.abs(expected).max()


@given(level=st.floats(1e-3, 1e3), times=st.floats(1.1, 100))
def test_a_factor_is_the_same_step_everywhere(level: float, times: float) -> None:
    values = np.full((2, 3), level, np.float32)
    values[1] *= np.float32(times)
    low, high = push(opened(Decibels()), values)[1]
    np.testing.assert_allclose(high - low, 20 * np.log10(np.float64(values[1] / values[0])), atol=1e-4)


def test_zeros_negatives_and_clipped_values_count_as_stated() -> None:
    values = np.array([[0, -5, 1e-9], [np.inf, 32767, np.nan]], np.float32)
    frames = push(opened(Decibels(least=1e-3)), values)[1]
    np.testing.assert_array_equal(frames[0], [-60, -60, -60])
    assert np.isposinf(frames[1, 0])
    assert frames[1, 1] == pytest.approx(90.3087)
    assert np.isnan(frames[1, 2])


@pytest.mark.parametrize("wrong", [{"least": 0.0}, {"reference": -1.0}, {"least": float("inf")}])
def test_wrong_levels_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be a finite number above 0"):
        Decibels(**wrong)  # type: ignore[arg-type]


def test_a_missing_channel_is_refused() -> None:
    with pytest.raises(ConfigError, match="no channel 'z'"):
        Decibels(channels=["z"]).open(SPEC)


def test_what_is_in_decibels_already_is_refused() -> None:
    twice = Decibels().open(SPEC)
    with pytest.raises(ConfigError, match=r"the channel 'x\.dB' is in dB already"):
        Decibels().open(twice)
