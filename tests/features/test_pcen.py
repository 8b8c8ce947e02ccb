"""pcen against librosa, alone and behind log_mel."""

from typing import Any

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray
from sounds import RATE_HZ, SPEC, near, pushed, sweep

from edgeseq.errors import ConfigError
from edgeseq.features import pcen
from edgeseq.features.log_mel import LogMel
from edgeseq.features.pcen import Pcen
from edgeseq.types import Channel, Frames, StreamSpec

BANDS = StreamSpec(tuple(Channel(f"x.mel{k}", "Pa²") for k in range(40)), 100.0)
LOUD = {"gain": 2.0**31}
CASES: list[dict[str, float]] = [
    {},
    {"time_constant": 0.06, "gain": 0.5, "bias": 10.0, "power": 0.25, "eps": 1e-3},
    {"power": 0.0},
    {"bias": 0.0},
    {"gain": 0.0},
]


def energies() -> Frames:
    mel = LogMel(
        dialect="librosa", window=0.025, hop=0.01, bands=40, logarithm="none", spectrum="magnitude", gain=2**31
    )
    return pushed(mel, sweep())


def through(energy: NDArray[Any], **keyword: float) -> Frames:
    feature = Pcen(**keyword)
    feature.open(BANDS)
    return feature.push(np.arange(len(energy), dtype=np.int64), energy)[1]


@pytest.mark.parametrize("case", CASES)
def test_librosa(case: dict[str, float]) -> None:
    energy = energies()
    expected = librosa.pcen(energy.T.astype(np.float64), sr=RATE_HZ, hop_length=160, **case).T
    near(through(energy, **case), expected, 1e-6)
    given = {"time_constant": 0.4, "gain": 0.98, "bias": 2.0, "power": 0.5, "eps": 1e-6, **case}
    newest = pcen.smoothing(given.pop("time_constant"), 100.0)
    near(pcen.reference(energy, newest, **given), expected, 1e-9)


def test_loud_and_soft_come_to_look_alike() -> None:
    energy = energies()
    loud, soft = through(energy), through(energy * np.float32(1e-3))
    np.testing.assert_allclose(loud[50:].mean(), soft[50:].mean(), rtol=0.2)


def test_a_nan_is_told_and_forgotten() -> None:
    energy = energies()
    clean = through(np.delete(energy, 30, axis=0))
    energy[30, :3], energy[30, 3:] = np.nan, np.inf
    frames = through(energy)
    assert np.isnan(frames[30]).all()
    np.testing.assert_array_equal(np.delete(frames, 30, axis=0), clean)


def test_zeros_and_what_is_below() -> None:
    assert not through(np.zeros((50, 40), np.float32)).any()
    energy = energies()
    np.testing.assert_array_equal(
        through(np.where(energy > 1e6, energy, -1)), through(np.where(energy > 1e6, energy, 0))
    )


def test_names_and_rate() -> None:
    spec = Pcen().open(BANDS)
    assert (spec.channels[2], spec.rate_hz) == (Channel("x.mel2.pcen"), 100.0)
    assert Pcen().open(SPEC).names == ("x.pcen",)


def test_what_is_in_decibels_is_no_energy() -> None:
    mel = LogMel(dialect="librosa", window=0.025, hop=0.01, bands=40)
    with pytest.raises(ConfigError, match=r"'x\.mel0' is in dB, and pcen takes energies: .* logarithm = \"none\""):
        Pcen().open(mel.open(SPEC))


@pytest.mark.parametrize("name", ["gain", "bias", "power", "time_constant", "eps"])
def test_what_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a number"):
        Pcen(**{name: -1.0})
