"""Writes the track that `edgeseq demo keyword` plays: words of the test's speakers, and when each is said."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeseq import libraries
from zoo.keyword.augment import Stage, faded
from zoo.keyword.data import CLASSES, CLIP, RATE, UNKNOWN, Clip, DataError, part, read_clips
from zoo.keyword.evaluate import EVENLY

SECONDS = 40
SEED = 1
STRANGERS = 4
"""Words that are none of the ten."""


def write(clips: Sequence[Clip], folder: Path) -> list[str]:
    """Write track.flac and truth.csv into a folder; return the names of the clips that are heard.

    clips: of the test's speakers; each of the ten words is drawn twice, other words STRANGERS times, whatever the model
    makes of them. truth.csv: begin and end in seconds, word.
    """
    random = np.random.default_rng(SEED)
    labels = random.permutation([*range(UNKNOWN + 1, len(CLASSES))] * 2 + [UNKNOWN] * STRANGERS)
    by_label = [[clip for clip in clips if clip.label == label] for label in range(len(CLASSES))]
    words = [by_label[label][random.integers(len(by_label[label]))] for label in labels]
    slack = SECONDS * RATE - len(words) * CLIP - RATE
    pauses = random.dirichlet(np.full(len(words), 4.0)) * slack
    starts = (RATE / 2 + np.cumsum(pauses) + np.arange(len(words)) * CLIP).astype(int).tolist()
    sound = Stage(clips, EVENLY, random).noise(SECONDS * RATE)
    rows = []
    for start, clip in zip(starts, words, strict=True):
        sound[start : start + CLIP] += faded(clip.samples)
        rows.append([f"{(start + clip.begin) / RATE:.2f}", f"{(start + clip.end) / RATE:.2f}", CLASSES[clip.label]])
    folder.mkdir(parents=True, exist_ok=True)
    libraries.soundfile().write(str(folder / "track.flac"), np.clip(sound, -1, 1), RATE, subtype="PCM_16")
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["begin", "end", "word"])
        table.writerows(rows)
    return [clip.name for clip in words]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m zoo.keyword.sample", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with _silence_, _unknown_, down, go … of clips"
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "sample", help="where to write")
    args = parser.parse_args()
    try:
        print(*write(part(read_clips(args.data), "test"), args.output), sep="\n")  # noqa: T201 - the command's output
    except DataError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the user's error
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
