"""Reads the clips of Speech Commands, parts them by speaker, and finds where in a clip the word is.

Source: Warden, "Speech Commands: a dataset for limited-vocabulary speech recognition", 2018 (CC BY 4.0).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseq import libraries
from edgeseq.features.log_mel import LogMel
from edgeseq.types import Channel, StreamSpec

Floats = NDArray[np.float32]

WORDS: Final = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
CLASSES: Final = ("silence", "unknown", *WORDS)
SILENCE, UNKNOWN = 0, 1
FOLDERS: Final = ("_silence_", "_unknown_", *WORDS)

RATE: Final = 16_000
"""Samples a second."""

CLIP: Final = RATE
"""Samples: every clip lasts a second."""

HOP: Final = 320
"""Samples from one frame to the next, 20 ms."""

BANDS: Final = 40

LOG_MEL: Final = {"dialect": "kaldi", "window": 0.032, "hop": HOP / RATE, "bands": BANDS}
"""The feature's parameters: this table trains, and goes into the bundle."""

TESTED: Final = 0.25
"""Share of the speakers that are kept for the test, always the same ones."""

LOUDNESS_HOP: Final = 160
"""Samples: the grain of where a word begins and ends, 10 ms."""


class DataError(ValueError):
    """A folder of Speech Commands is missing something or is not what it should be."""


@dataclass(frozen=True)
class Clip:
    """One recording. label: place in CLASSES. samples: float32[CLIP], full scale 1.

    begin, end: samples between which nearly all of the word lies; the whole clip where it is silence.
    """

    label: int
    speaker: str
    name: str
    samples: Floats
    begin: int
    end: int


def read_clips(folder: Path) -> list[Clip]:
    """Read every clip, sorted by class and name. Raises DataError."""
    soundfile = libraries.soundfile()
    clips = []
    for label, name in enumerate(FOLDERS):
        paths = sorted(path for path in (folder / name).glob("*") if path.suffix in {".flac", ".wav"})
        if not paths:
            raise DataError(f"{folder / name}: holds no clips; there must be a folder of sound files for each class.")
        for path in paths:
            try:
                samples, rate = soundfile.read(str(path), dtype="float32")
            except (soundfile.LibsndfileError, OSError) as cause:
                raise DataError(f"{path}: cannot be read: {cause}.") from cause
            if rate != RATE or samples.ndim != 1:
                raise DataError(f"{path}: must be one channel at {RATE} Hz.")
            samples = np.pad(samples[:CLIP], (0, max(0, CLIP - len(samples))))
            begin, end = (0, CLIP) if label == SILENCE else word(samples)
            clips.append(Clip(label, speaker(label, path.name), f"{name}/{path.name}", samples, begin, end))
    return clips


def speaker(label: int, name: str) -> str:
    """Return who speaks, as the file's name says; of silence, which nobody speaks, the file's own name."""
    parts = name.partition(".")[0].split("_")
    return f"{parts[0]} noise" if label == SILENCE else parts[1] if label == UNKNOWN else parts[0]


def word(samples: Floats) -> tuple[int, int]:
    """Return samples between which 98 % of what is louder than a clip's own background lies.

    Loudness is the amplitude: by energy, the vowel would be the whole word.
    """
    pieces = samples[: len(samples) // LOUDNESS_HOP * LOUDNESS_HOP].reshape(-1, LOUDNESS_HOP)
    loudness = np.sqrt(np.square(pieces).mean(axis=1))
    share = np.cumsum(np.maximum(loudness - 3 * np.quantile(loudness, 0.2), 0), dtype=np.float64)
    if share[-1] <= 0:
        return 0, len(samples)
    begin, end = np.searchsorted(share, share[-1] * np.array([0.01, 0.99]))
    return int(begin) * LOUDNESS_HOP, (int(end) + 1) * LOUDNESS_HOP


def split(clips: Sequence[Clip], share: float, salt: str) -> tuple[list[Clip], list[Clip]]:
    """Part clips by speaker: those of about `share` of the speakers come second; salt: another choice of speakers."""
    drawn = {who: zlib.crc32(f"{salt} {who}".encode()) / 2**32 < share for who in {clip.speaker for clip in clips}}
    return [clip for clip in clips if not drawn[clip.speaker]], [clip for clip in clips if drawn[clip.speaker]]


def part(clips: Sequence[Clip], which: Literal["train", "test"]) -> list[Clip]:
    """Return the clips to learn from, or those of the speakers kept for the test."""
    return split(clips, TESTED, "test")[which == "test"]


class Listener:
    """Sound to frames, block after block, by the runtime's own feature: float32[n] -> float32[frames, BANDS]."""

    def __init__(self) -> None:
        self._feature = LogMel(**LOG_MEL)  # type: ignore[arg-type]
        self._feature.open(StreamSpec((Channel("audio"),), RATE))

    def __call__(self, samples: Floats) -> Floats:
        """Take a block of a stream; return the frames that it completes."""
        _, frames = self._feature.push(np.zeros(len(samples), np.int64), samples[:, None])
        return frames
