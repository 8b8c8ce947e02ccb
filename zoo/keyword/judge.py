"""The one place where models meet the test's speakers: all of them at once, when nothing is left to choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from zoo.keyword.data import RATE, Clip
from zoo.keyword.evaluate import Hear, Heard, apart, in_a_row, judge, stream, tell

STREAMS = (100, 101, 102)
"""The seeds of the streams that are judged: each has every clip, in another order and over other noise."""


@dataclass(frozen=True)
class Candidate:
    """What is judged: how it hears, from its reset, and the threshold at which a word is told."""

    hear: Hear
    threshold: float


@dataclass(frozen=True)
class Verdict:
    """apart, in_a_row: shares of clips recognized. heard: the mean over streams; hours: how long they last together."""

    apart: float
    in_a_row: float
    heard: Heard
    hours: float

    def flat(self) -> dict[str, float]:
        """Name every number: `clips.apart`, `stream.found` and so on."""
        heard = {f"stream.{name}": value for name, value in asdict(self.heard).items()}
        clips = {"clips.apart": self.apart, "clips.in_a_row": self.in_a_row}
        return {**clips, **heard, "stream.false_per_hour": self.heard.false_per_hour, "stream.hours": self.hours}


def judge_on_test(clips: Sequence[Clip], candidates: Mapping[str, Candidate]) -> dict[str, Verdict]:
    """Score every candidate on the clips of the speakers kept for the test. Call it once, with all of them."""
    streams = [stream(clips, seed) for seed in STREAMS]
    verdicts = {}
    for name, candidate in candidates.items():
        heard = [
            judge(tell(candidate.hear(sound), candidate.threshold), spoken, len(sound) / RATE)
            for sound, spoken in streams
        ]
        columns = {key: float(np.mean([asdict(one)[key] for one in heard])) for key in asdict(heard[0])}
        hours = sum(len(sound) for sound, _ in streams) / RATE / 3600
        verdicts[name] = Verdict(apart(candidate.hear, clips), in_a_row(candidate.hear, clips), Heard(**columns), hours)
    return verdicts
