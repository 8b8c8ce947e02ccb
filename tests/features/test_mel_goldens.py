"""log_mel and mfcc against torchaudio's Kaldi and TensorFlow in float64: every band, to the last bit of float32."""

from typing import Any

import mel_goldens
import numpy as np
import pytest
import tf_signal
from sounds import pushed

from edgeseq.features.log_mel import LogMel
from edgeseq.features.mfcc import Mfcc
from edgeseq.types import Channel, StreamSpec

EPS = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize(
    ("dialect", "name"), [(dialect, name) for dialect, cases in mel_goldens.CASES.items() for name in cases]
)
def test_it_is_what_they_give(dialect: Any, name: str) -> None:
    """Their numbers are of float64 all through, so that no band is left out for being quiet beside another.

    What is left is the rounding of ours to float32, at most half an EPS of each number.
    """
    x, expected = mel_goldens.recorded(dialect, name)
    case = mel_goldens.CASES[dialect][name]
    feature = (Mfcc if "coefficients" in case.given else LogMel)(dialect=dialect, **case.parameters)
    found = pushed(feature, x, StreamSpec((Channel("x"),), float(case.rate_hz)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=EPS * np.abs(expected).max())
    assert np.ptp(expected) > 3, "the case has loud and quiet bands"


def test_the_cases_have_bands_far_below_the_loudest() -> None:
    _, tone = mel_goldens.recorded("kaldi", "tone, 40 bands")
    assert (tone.max(axis=1) - tone.min(axis=1) > np.log(1e9)).all()
    _, steps = mel_goldens.recorded("kaldi", "steps, 40 bands")
    assert (steps == np.log(EPS)).any(), "silence, at Kaldi's floor"


def test_tf_signal_is_tensorflows() -> None:
    """What other tests take for TensorFlow, in NumPy."""
    for signal in ("tone", "speech"):
        x, expected = mel_goldens.recorded("tensorflow", f"{signal}, 40 bands")
        np.testing.assert_allclose(tf_signal.log_mel(x, mel_goldens.WINDOW, mel_goldens.HOP, 40), expected, atol=1e-10)
    x, expected = mel_goldens.recorded("tensorflow", "mfcc")
    cepstra = tf_signal.mfcc(tf_signal.log_mel(x, mel_goldens.WINDOW, mel_goldens.HOP, 40))
    np.testing.assert_allclose(cepstra[:, :13], expected, atol=1e-10)
