"""Judges any model of spoken words: float PyTorch and quantized steps go through the same functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edgeseq.deciders.classes import Classes
from edgeseq.types import Output
from zoo.keyword.augment import Augmentation, Stage, faded
from zoo.keyword.data import CLASSES, CLIP, HOP, RATE, SILENCE, UNKNOWN, Clip, Floats

Hear = Callable[[Floats], Floats]
"""Sound float32[n] -> probabilities float32[frames, classes], from the model's reset; frame k ends near (k + 1) HOP."""

SMOOTH: Final = 12
"""Frames whose probabilities are averaged, 0.24 s; chosen on held-out speakers."""

HOLD: Final = 20
"""Frames after a word in which no other is told, 0.4 s."""

LATEST: Final = 0.75
"""Seconds after a word's end until which it counts as found."""

LIKELY: Final = 0.4
"""The least average for which a clip is a word and not silence; chosen on held-out speakers."""

FALSE_PER_HOUR: Final = 30.0
"""What the threshold is set for, on the held-out speakers' words streamed one after another."""

BEFORE: Final = 1.5
"""Seconds of silence before a clip that is judged by itself, more than the network looks back."""

AFTER: Final = 0.5
"""Seconds of silence behind it."""

SHIFTS: Final = 4
"""How often a clip is judged by itself: it begins at as many places between two frames."""

ORDERS: Final = 12
"""In how many orders clips are judged in a row, each of them beginning at another place between two frames."""

EVENLY: Final = Augmentation(noise_db=(-30.0, -10.0), quiet=0.2)
"""The noise of a stream to be judged."""

THRESHOLDS: Final = tuple(round(0.4 + 0.02 * step, 2) for step in range(30))
"""What a threshold is chosen from."""


@dataclass(frozen=True)
class Spoken:
    """A word in a stream: when it begins and ends, in seconds, and its label."""

    begin: float
    end: float
    label: int


@dataclass(frozen=True)
class Told:
    """A word that the decider told: when, in seconds, and its label."""

    at: float
    label: int


@dataclass(frozen=True)
class Heard:
    """What a decider made of a stream.

    found: share of the ten words that were told. wrong: told while another word, of the ten or not, was spoken, and
    nothing: told elsewhere, both an hour. late: seconds from a word's end until it was told, the median; LATEST where
    none was.
    """

    found: float
    wrong_per_hour: float
    nothing_per_hour: float
    late: float

    @property
    def false_per_hour(self) -> float:
        """All that was told and not said."""
        return self.wrong_per_hour + self.nothing_per_hour


def apart(hear: Hear, clips: Sequence[Clip]) -> float:
    """Return the share of clips that are recognized, each by itself between silences, SHIFTS times."""
    after = np.zeros(int(AFTER * RATE), np.float32)
    right = []
    for shift in range(SHIFTS):
        before = np.zeros(int(BEFORE * RATE) + shift * HOP // SHIFTS, np.float32)
        right += [
            recognized(hear(np.concatenate([before, clip.samples, after])), len(before)) == clip.label for clip in clips
        ]
    return float(np.mean(right))


def in_a_row(hear: Hear, clips: Sequence[Clip]) -> float:
    """Return the share of clips that are recognized where one follows another without a pause, in ORDERS orders.

    The state is carried from the first clip to the last; what a clip follows, and where it begins between two frames,
    is another in each order.
    """
    after = np.zeros(int(AFTER * RATE), np.float32)
    right = []
    for number in range(ORDERS):
        before = np.zeros(int(BEFORE * RATE) + number * HOP // ORDERS, np.float32)
        row = [clips[place] for place in np.random.default_rng(number).permutation(len(clips))]
        probabilities = hear(np.concatenate([before, *(clip.samples for clip in row), after]))
        right += [recognized(probabilities, len(before) + place * CLIP) == clip.label for place, clip in enumerate(row)]
    return float(np.mean(right))


def recognized(probabilities: Floats, start: int) -> int:
    """Return the label of a clip that begins at a sample: its likeliest word, or silence where none is likely."""
    average = smoothed(probabilities)[(start + int(0.3 * RATE)) // HOP : (start + CLIP + int(0.3 * RATE)) // HOP]
    peaks = average.max(axis=0)
    peaks[SILENCE] = LIKELY
    return int(peaks.argmax())


def smoothed(probabilities: Floats) -> Floats:
    """Return the mean of the last SMOOTH rows, of fewer at the start."""
    total = np.cumsum(np.pad(probabilities, ((SMOOTH, 0), (0, 0))), axis=0, dtype=np.float64)
    return np.asarray((total[SMOOTH:] - total[:-SMOOTH]) / SMOOTH, np.float32)


def stream(clips: Sequence[Clip], seed: int) -> tuple[Floats, list[Spoken]]:
    """Return sound in which every clip is heard once, in any order, as recorded, over noise and over quiet.

    Noise is of these clips, too, 10 to 30 dB less loud than recorded, another every half minute.
    """
    random = np.random.default_rng(seed)
    stage = Stage(clips, EVENLY, random)
    words = [clip for clip in clips if clip.label != SILENCE]
    pauses = random.uniform(0.2, 3.0, len(words))
    starts = (np.cumsum(pauses + 1) * RATE).astype(int) - CLIP
    sound = np.concatenate([stage.noise(30 * RATE) for _ in range(starts[-1] // (30 * RATE) + 2)])
    spoken = []
    for start, place in zip(starts.tolist(), random.permutation(len(words)), strict=True):
        clip = words[place]
        sound[start : start + CLIP] += faded(clip.samples)
        spoken.append(Spoken((start + clip.begin) / RATE, (start + clip.end) / RATE, clip.label))
    return np.clip(sound[: starts[-1] + 3 * RATE], -1, 1), spoken


def tell(probabilities: Floats, threshold: float) -> list[Told]:
    """Return what the decider tells."""
    decider = Classes(names=list(CLASSES), **decider_table(threshold))
    return [
        Told((frame + 1) * HOP / RATE, CLASSES.index(event.level))
        for frame, row in enumerate(probabilities)
        for event in decider.update(Output(frame, "", row))
        if event.kind == "raised"
    ]


def decider_table(threshold: float) -> dict[str, Any]:
    """Return the decider's parameters, which go into the bundle."""
    return {
        "background": [CLASSES[SILENCE], CLASSES[UNKNOWN]],
        "threshold": threshold,
        "smooth": SMOOTH,
        "hold": HOLD,
    }


def judge(told: Sequence[Told], spoken: Sequence[Spoken], seconds: float) -> Heard:
    """Hold what was told against what was spoken; a word counts once."""
    lateness: dict[Spoken, float] = {}
    wrong = nothing = 0
    for one in told:
        near = [word for word in spoken if word.begin <= one.at <= word.end + LATEST]
        meant = [word for word in near if word.label == one.label and word not in lateness]
        if meant:
            lateness[meant[0]] = one.at - meant[0].end
        elif near:
            wrong += 1
        else:
            nothing += 1
    hours, words = seconds / 3600, sum(word.label != UNKNOWN for word in spoken)
    return Heard(
        found=len(lateness) / words,
        wrong_per_hour=wrong / hours,
        nothing_per_hour=nothing / hours,
        late=float(np.median([*lateness.values()])) if lateness else LATEST,
    )


def find_threshold(hear: Hear, clips: Sequence[Clip], seeds: Sequence[int] = (0, 1)) -> float:
    """Return the least threshold with at most FALSE_PER_HOUR false words an hour on streams of these clips."""
    streams = [stream(clips, seed) for seed in seeds]
    heard = [(hear(sound), spoken, len(sound) / RATE) for sound, spoken in streams]
    for threshold in THRESHOLDS:
        judged = [judge(tell(probabilities, threshold), spoken, seconds) for probabilities, spoken, seconds in heard]
        if np.mean([one.false_per_hour for one in judged]) <= FALSE_PER_HOUR:
            return threshold
    return THRESHOLDS[-1]
