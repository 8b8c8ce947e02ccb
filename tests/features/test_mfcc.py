"""mfcc in three dialects, each against those whose numbers they are."""

from dataclasses import replace
from typing import Any

import kaldi_native_fbank as knf
import librosa
import numpy as np
import pytest
import tf_signal
from numpy.typing import NDArray
from scipy import fft
from sounds import FRAMING, RATE_HZ, SPEC, near, pushed, sweep

from edgeseq.errors import ConfigError
from edgeseq.features import _recipe
from edgeseq.features.mfcc import Mfcc, cosines
from edgeseq.types import Channel

KALDI: dict[str, Any] = {**FRAMING, "dialect": "kaldi", "bands": 23, "coefficients": 13}
LIBROSA: dict[str, Any] = {**FRAMING, "dialect": "librosa", "bands": 40, "coefficients": 20, "points": 512}
TENSORFLOW: dict[str, Any] = {**FRAMING, "dialect": "tensorflow", "bands": 40, "coefficients": 13}


def kaldi(x: NDArray[np.float32], **keyword: Any) -> NDArray[np.float32]:
    options = knf.MfccOptions()
    options.frame_opts.dither = 0
    for name, value in keyword.items():
        setattr(options, name, value)
    computer = knf.OnlineMfcc(options)
    computer.accept_waveform(RATE_HZ, x.tolist())
    computer.input_finished()
    return np.array([computer.get_frame(k) for k in range(computer.num_frames_ready)])


@pytest.mark.parametrize("lifter", [0, 22, 35.5])
def test_librosa(lifter: float) -> None:
    x = sweep().astype(np.float64)
    mel = librosa.feature.melspectrogram(
        y=x, sr=RATE_HZ, n_fft=512, win_length=400, hop_length=160, n_mels=40, center=False, dtype=np.float64
    )
    expected = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=20, lifter=lifter)
    near(pushed(Mfcc(**LIBROSA, lifter=lifter), sweep()), expected.T)


@pytest.mark.parametrize(("ours", "theirs"), [
    ({}, {}),
    ({"energy": False}, {"use_energy": False}),
    ({"lifter": 0.0}, {"cepstral_lifter": 0.0}),
    ({"coefficients": 23, "gain": 1.0}, {"num_ceps": 23}),
])  # fmt: skip
def test_kaldi(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    given = {**KALDI, "gain": 32768.0, **ours}
    x = sweep(noise=0.03)
    near(pushed(Mfcc(**given), x), kaldi(x * np.float32(given["gain"]), **theirs))


def test_tensorflow() -> None:
    expected = tf_signal.mfcc(tf_signal.log_mel(sweep(), 400, 160, 40))[:, :13]
    near(pushed(Mfcc(**TENSORFLOW), sweep()), expected)


@pytest.mark.parametrize(("coefficients", "bands"), [(1, 1), (13, 23), (40, 40)])
def test_cosines_and_back(coefficients: int, bands: int) -> None:
    matrix = cosines(coefficients, bands)
    np.testing.assert_allclose(matrix, fft.dct(np.eye(bands), norm="ortho", axis=0)[:coefficients], atol=1e-12)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(coefficients), atol=1e-12)


def test_names_and_bad_input() -> None:
    spec = Mfcc(**KALDI).open(SPEC)
    assert (spec.channels[12], len(spec.channels), spec.rate_hz) == (Channel("x.mfcc12"), 13, 100.0)
    silent = pushed(Mfcc(**KALDI), np.zeros(1000))
    floor = np.log(np.finfo(np.float32).eps)
    assert silent[:, 0] == pytest.approx(floor)
    np.testing.assert_allclose(silent[:, 1:], 0, atol=1e-4)
    x = sweep()
    clean = pushed(Mfcc(**KALDI), x)
    near(pushed(Mfcc(**KALDI), x + np.float32(0.25)), clean, 1e-4)
    assert np.isfinite(pushed(Mfcc(**KALDI), np.clip(4 * x, -1, 1))).all()
    x[5000] = np.nan
    spoiled = np.isnan(pushed(Mfcc(**KALDI), x))
    assert 2 <= spoiled.all(axis=1).sum() == spoiled.any(axis=1).sum() <= 3
    assert pushed(Mfcc(**KALDI), x[:399]).shape == (0, 13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_db": 80.0}, "top_db = 80 cuts off"),
        ({"center": True}, "center = true pads"),
        ({"coefficients": 41}, "coefficients must be 1 to the number of bands, 40"),
        ({"energy": True}, "energy = true is Kaldi's"),
        ({"lifter": -1.0}, "lifter must be a number of at least 0"),
        ({"high_hz": 9000.0}, "another rate"),
        ({"channels": ["left"]}, "no channel 'left'"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mfcc(**{**LIBROSA, **change}).open(SPEC)


@pytest.mark.parametrize("given", [KALDI, LIBROSA, TENSORFLOW], ids=lambda each: each["dialect"])
def test_it_is_the_reference(given: dict[str, Any]) -> None:
    x, feature = sweep(), Mfcc(**given)
    feature.open(SPEC)
    recipe = replace(feature._bands.recipe(SPEC), matrix=feature._matrix, energy=given["dialect"] == "kaldi")
    near(pushed(feature, x), _recipe.reference(x, recipe))
