"""Makes endless streams of sound to learn from: words of several people over noise, one scene after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.keyword.data import CLIP, HOP, RATE, SILENCE, UNKNOWN, WORDS, Clip, Floats, Listener

IGNORED = -1
"""The label of frames that teach nothing: a word is being spoken, or has just been told."""


@dataclass(frozen=True)
class Augmentation:
    """How scenes differ from the recordings.

    words, spoken: so many places for words are in a scene, each taken with this probability. unknown: share of words
    that are none of the ten; made_up: share of these that are put together from others, or played backwards. word_db,
    noise_db: least and most gain. quiet: share of scenes without noise. speed: up to exp(+-speed) times as fast, and as
    high. told: seconds after a word's end in which its class is to be said. shift: most bands by which a spectrum is
    moved. tilt: most standard deviations that are added to its top and taken from its bottom, or the other way round.
    stripes, bands, frames: of SpecAugment, how many stripes of bands and of time are blanked out, and the widest (Park
    et al., "SpecAugment", Interspeech 2019).
    """

    words: int = 3
    spoken: float = 0.85
    unknown: float = 0.25
    made_up: float = 0.5
    word_db: tuple[float, float] = (-12.0, 6.0)
    noise_db: tuple[float, float] = (-40.0, 0.0)
    quiet: float = 0.1
    speed: float = 0.2
    told: float = 0.3
    shift: float = 2.0
    tilt: float = 0.5
    stripes: int = 2
    bands: int = 8
    frames: int = 12


@dataclass(frozen=True)
class Scene:
    """Some seconds of a stream. samples: float32[n]. labels: int64[n / HOP], each of a frame, or IGNORED."""

    samples: Floats
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]


class Stage:
    """Puts scenes together from clips of one part of the data."""

    def __init__(self, clips: Sequence[Clip], how: Augmentation, random: np.random.Generator) -> None:
        self._how, self._random = how, random
        self._noises = [clip for clip in clips if clip.label == SILENCE]
        self._by_label = [[clip for clip in clips if clip.label == label] for label in range(len(WORDS) + 2)]

    def scene(self, size: int) -> Scene:
        """Return a scene of `size` samples, a multiple of HOP."""
        how, random = self._how, self._random
        samples = self.noise(size)
        labels = np.full(size // HOP, SILENCE, np.int64)
        spoken = [self._word() for _ in range(random.binomial(how.words, how.spoken))]
        # What time the words leave is parted at random into the pauses before, between and behind them.
        tail = int(0.1 * RATE)
        free = size - sum(len(word) + tail for word, *_ in spoken)
        if free < 0:
            spoken, free = [], 0
        pauses = np.diff(np.sort(random.integers(0, free + 1, len(spoken))), prepend=0)
        at = 0
        for pause, (word, begin, end, label) in zip(pauses, spoken, strict=True):
            at += int(pause)
            samples[at : at + len(word)] += faded(word) * gain(random.uniform(*how.word_db))
            first, said = (at + begin) // HOP, (at + end) // HOP + 1
            until = min((at + end + int(how.told * RATE)) // HOP + 1, (at + len(word) + tail) // HOP)
            labels[first:until] = IGNORED
            labels[said:until] = label
            labels[until : until + 5] = IGNORED
            at += len(word) + tail
        return Scene(np.clip(samples, -1, 1).astype(np.float32), labels)

    def noise(self, size: int) -> Floats:
        """Return noise, or next to nothing, for a scene: a clip played forwards and backwards, which has no seams."""
        how, random = self._how, self._random
        if random.random() < how.quiet:
            return (random.normal(size=size) * gain(random.uniform(-110, -70))).astype(np.float32)
        clip = self._noises[random.integers(len(self._noises))].samples
        both = np.concatenate([clip, clip[::-1]])
        start = random.integers(len(both))
        looped = np.take(both, np.arange(start, start + size), mode="wrap")
        return faded(looped) * np.float32(gain(random.uniform(*how.noise_db)))

    def _word(self) -> tuple[Floats, int, int, int]:
        """Return a word at another speed: its samples, where it begins and ends in them, and its label."""
        how, random = self._how, self._random
        label = UNKNOWN if random.random() < how.unknown else int(random.integers(2, len(self._by_label)))
        if label == UNKNOWN and random.random() < how.made_up:
            samples, begin, end = self._nonsense()
        else:
            clip = self._pick(label)
            samples, begin, end = clip.samples, clip.begin, clip.end
        speed = float(np.exp(random.uniform(-how.speed, how.speed)))
        length = int(len(samples) / speed)
        stretched = np.interp(np.arange(length) * speed, np.arange(len(samples)), samples).astype(np.float32)
        return stretched, int(begin / speed), int(end / speed), label

    def _nonsense(self) -> tuple[Floats, int, int]:
        """Return one of the ten words backwards, or the first half of one with the second of another."""
        one, other = (self._pick(int(label)) for label in self._random.choice(len(WORDS), 2, replace=False) + 2)
        if self._random.random() < 0.5:  # noqa: PLR2004 - evenly
            return one.samples[::-1], CLIP - one.end, CLIP - one.begin
        left, right = one.samples[: (one.begin + one.end) // 2], other.samples[(other.begin + other.end) // 2 :]
        return np.concatenate([left, right]), one.begin, len(left) + other.end - (other.begin + other.end) // 2

    def _pick(self, label: int) -> Clip:
        clips = self._by_label[label]
        return clips[self._random.integers(len(clips))]


class Lanes:
    """Streams side by side that go on from batch to batch, as a device hears one for years."""

    def __init__(self, clips: Sequence[Clip], count: int, size: int, how: Augmentation, seed: int) -> None:
        self._how, self._size = how, size
        self._random = np.random.default_rng(seed)
        self._stage = Stage(clips, how, self._random)
        self._listeners = [Listener() for _ in range(count)]
        # A frame ends HOP samples after the one before; the window is longer than that, so the first one comes late.
        for listener in self._listeners:
            listener(self._stage.scene(size).samples)

    def batch(self) -> tuple[Floats, np.ndarray[tuple[int, int], np.dtype[np.int64]]]:
        """Return the next scene of each lane: float32[lanes, size / HOP, BANDS], and int64[lanes, size / HOP]."""
        scenes = [self._stage.scene(self._size) for _ in self._listeners]
        frames = [listener(scene.samples) for listener, scene in zip(self._listeners, scenes, strict=True)]
        return np.stack(frames), np.stack([scene.labels for scene in scenes])

    def vary(self, frames: Floats) -> Floats:
        """Change standardized frames [lanes, time, BANDS], each lane in its own way, in place.

        1. The bands are shifted, as by a longer or shorter vocal tract.
        2. The spectrum is tilted, as by another microphone.
        3. Stripes of bands and of time are set to 0.
        """
        random, how = self._random, self._how
        for lane in frames:
            time, bands = lane.shape
            place = np.clip(np.arange(bands) + random.uniform(-how.shift, how.shift), 0, bands - 1)  # 1
            low = np.minimum(place.astype(int), bands - 2)
            share = (place - low).astype(np.float32)
            lane[:] = lane[:, low] * (1 - share) + lane[:, low + 1] * share
            lane[:] += np.linspace(-1, 1, bands, dtype=np.float32) * np.float32(
                random.uniform(-how.tilt, how.tilt)
            )  # 2
            for _ in range(how.stripes):  # 3
                band, at = random.integers(bands), random.integers(time)
                lane[:, band : band + random.integers(how.bands + 1)] = 0
                lane[at : at + random.integers(how.frames + 1)] = 0
        return frames


def faded(samples: Floats) -> Floats:
    """Return samples with 10 ms of fade at both ends, so that what is joined does not click."""
    ramp = np.linspace(0, 1, RATE // 100, dtype=np.float32)
    samples = samples.copy()
    samples[: len(ramp)] *= ramp
    samples[-len(ramp) :] *= ramp[::-1]
    return samples


def gain(decibel: float) -> float:
    """Return a factor."""
    return float(10 ** (decibel / 20))
