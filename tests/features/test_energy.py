"""energy and zero_crossings against librosa, and what they do with bad input."""

from typing import Any

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray
from sounds import FRAMING, SPEC, near, pushed, sweep

from edgeseq.errors import ConfigError
from edgeseq.features import energy, zero_crossings
from edgeseq.features.energy import Energy
from edgeseq.features.zero_crossings import ZeroCrossings
from edgeseq.types import Channel


def windows(x: NDArray[Any]) -> NDArray[Any]:
    return np.lib.stride_tricks.sliding_window_view(x, 400)[::160]


def test_energy_is_librosas() -> None:
    x = sweep().astype(np.float64)
    expected = librosa.feature.rms(y=x, frame_length=400, hop_length=160, center=False)[0][:, None] ** 2
    near(pushed(Energy(**FRAMING), sweep()), expected, 1e-6)  # librosa's sums are float32
    near(pushed(Energy(**FRAMING, logarithm="db"), sweep()), librosa.power_to_db(expected, top_db=None), 1e-6)
    near(pushed(Energy(**FRAMING, logarithm="log", floor=1e-3), sweep()), np.log(np.maximum(expected, 1e-3)), 1e-6)
    near(np.array([energy.reference(w) for w in windows(x)])[:, None], expected, 1e-6)


@pytest.mark.parametrize("threshold", [0.0, 1e-10, 0.01])
def test_zero_crossings_are_librosas(threshold: float) -> None:
    x = sweep()
    x[3000:3400] = 0
    expected = librosa.feature.zero_crossing_rate(
        x, frame_length=400, hop_length=160, center=False, threshold=threshold
    ).T
    found = pushed(ZeroCrossings(**FRAMING, threshold=threshold), x)
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert np.ptp(found) > 0.1
    for k, window in enumerate(windows(x)):
        assert zero_crossings.reference(window, threshold) == expected[k, 0]


def test_names_and_units() -> None:
    assert Energy(window=0.1).open(SPEC).channels == (Channel("x.energy", "Pa²"),)
    assert Energy(window=0.1, logarithm="db").open(SPEC).channels == (Channel("x.energy", "dB"),)
    spec = ZeroCrossings(window=0.1).open(SPEC)
    assert (spec.channels, spec.rate_hz) == ((Channel("x.zero_crossings"),), 10.0)


def test_bad_input() -> None:
    x = sweep()
    x[5000] = np.nan
    for feature, silence in ((Energy(**FRAMING, logarithm="db"), -100), (ZeroCrossings(**FRAMING), 0)):
        spoiled = np.isnan(pushed(feature, x))
        np.testing.assert_array_equal(spoiled[:, 0], np.isnan(windows(x)).any(axis=1))
        assert (pushed(feature, np.zeros(1000)) == silence).all()
        assert pushed(feature, x[:399]).shape == (0, 1)
    assert not pushed(ZeroCrossings(**FRAMING), sweep() + np.float32(1)).any()
    np.testing.assert_allclose(pushed(Energy(**FRAMING), np.full(1000, 3.0)), 9)
    clipped = np.clip(4 * sweep(), -1, 1)
    np.testing.assert_array_equal(pushed(ZeroCrossings(**FRAMING), clipped), pushed(ZeroCrossings(**FRAMING), sweep()))
    assert pushed(Energy(**FRAMING), clipped).max() <= 1


@pytest.mark.parametrize(
    ("feature", "change", "message"),
    [
        (Energy, {"floor": 0.0}, "floor must be a number above 0"),
        (Energy, {"channels": ["left"]}, "no channel 'left'"),
        (Energy, {"window": 1e-6}, "less than one sample"),
        (ZeroCrossings, {"threshold": -1.0}, "threshold must be a number of at least 0"),
    ],
)
def test_what_is_refused(feature: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        feature(**{**FRAMING, **change}).open(SPEC)
