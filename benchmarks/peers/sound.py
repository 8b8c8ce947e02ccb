"""Features of sound by those who train on them: librosa, kaldi-native-fbank and pymicro-features, a hop a call."""

from __future__ import annotations

from typing import Any

import kaldi_native_fbank as knf
import librosa
import numpy as np
import pymicro_features
from numpy.typing import NDArray

Numbers = NDArray[Any]
RATE_HZ, SIZE, HOP, POINTS, BANDS, COEFFICIENTS = 16_000, 400, 160, 512, 40, 13
NONE = np.empty(0, np.float32)


class Kaldi:
    """kaldi-native-fbank's streaming log-mel energies, or its MFCC: what is complete with the new samples."""

    def __init__(self, *, cepstra: bool = False) -> None:
        self._options = knf.MfccOptions() if cepstra else knf.FbankOptions()
        self._options.frame_opts.dither = 0
        self._options.mel_opts.num_bins = BANDS
        self._make = knf.OnlineMfcc if cepstra else knf.OnlineFbank
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._computer, self._given = self._make(self._options), 0

    def push(self, samples: list[float] | Numbers) -> Numbers:
        """Take the samples of a hop; give a frame, or none."""
        computer = self._computer
        computer.accept_waveform(RATE_HZ, samples)
        if computer.num_frames_ready == self._given:
            return NONE
        self._given += 1
        frame: Numbers = computer.get_frame(self._given - 1)
        return frame


class Micro:
    """The micro frontend's own C code behind Python."""

    def __init__(self) -> None:
        self._frontend = pymicro_features.MicroFrontend()

    def reset(self) -> None:
        """Forget everything."""
        self._frontend.reset()

    def push(self, samples: bytes) -> Numbers:
        """Take the samples of a hop; give a frame, or none."""
        return np.array(self._frontend.process_samples(samples).features)


def librosa_log_mel(samples: Numbers) -> Numbers:
    """Return float32[frames, bands] of samples, in dB."""
    mel = librosa.feature.melspectrogram(
        y=samples, sr=RATE_HZ, n_fft=POINTS, win_length=SIZE, hop_length=HOP, n_mels=BANDS, center=False
    )
    decibels: Numbers = librosa.power_to_db(mel, top_db=None)
    return decibels.T


def librosa_mfcc(samples: Numbers) -> Numbers:
    """Return float32[frames, coefficients] of samples."""
    cepstra: Numbers = librosa.feature.mfcc(S=librosa_log_mel(samples).T, n_mfcc=COEFFICIENTS)
    return cepstra.T
