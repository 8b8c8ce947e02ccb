"""Made-up words: each class is a tone of its own, in the middle of a second of faint noise."""

from pathlib import Path

import numpy as np
import soundfile

from zoo.keyword.data import CLASSES, CLIP, FOLDERS, RATE, SILENCE, UNKNOWN, Clip, word


def clip(label: int, speaker: str) -> Clip:
    """Return a clip; speakers differ in when they speak and how high."""
    random = np.random.default_rng([label, *speaker.encode()])
    samples = random.normal(size=CLIP).astype(np.float32) * np.float32(0.001)
    if label != SILENCE:
        start, size = int(random.uniform(0.2, 0.4) * RATE), int(random.uniform(0.25, 0.35) * RATE)
        hertz = 400 + 500 * label + random.uniform(-60, 60)
        samples[start : start + size] += (0.3 * np.sin(2 * np.pi * hertz / RATE * np.arange(size))).astype(np.float32)
    begin, end = (0, CLIP) if label == SILENCE else word(samples)
    return Clip(label, speaker, f"{FOLDERS[label]}/{speaker}", samples, begin, end)


def clips(speakers: int = 4) -> list[Clip]:
    """Return one clip a class and speaker."""
    return [clip(label, f"{number:08x}") for label in range(len(CLASSES)) for number in range(speakers)]


def write(folder: Path, speakers: int = 2) -> None:
    """Write them as files of the data set's form."""
    for one in clips(speakers):
        path = folder / FOLDERS[one.label]
        path.mkdir(exist_ok=True)
        names = {SILENCE: f"{int(one.speaker, 16)}.wav", UNKNOWN: f"bed_{one.speaker}_nohash_0.wav"}
        name = names.get(one.label, f"{one.speaker}_nohash_0.wav")
        soundfile.write(str(path / name), one.samples, RATE, subtype="PCM_16")
