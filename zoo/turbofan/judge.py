"""The one place where models meet the test set: all of them at once, when nothing is left to choose."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.turbofan.data import Standardizer, read_engines, read_rul
from zoo.turbofan.evaluate import Report, Run, report


@dataclass(frozen=True)
class Candidate:
    """What is judged. run: it as it will run, from its reset. original: the trained network in float64."""

    standardizer: Standardizer
    run: Run
    original: Run


@dataclass(frozen=True)
class Verdict:
    """Scores, and how far the estimates lie from the original's over every cycle of every test engine, in cycles."""

    scores: Report
    parity_max: float
    parity_rms: float

    def flat(self) -> dict[str, float]:
        """Name every number: `whole.rmse_capped` and so on."""
        numbers = {
            f"{view}.{measure}": value
            for view, score in dataclasses.asdict(self.scores).items()
            for measure, value in score.items()
        }
        return numbers | {"parity.max": self.parity_max, "parity.rms": self.parity_rms}


def judge_on_test(folder: Path, subset: str, candidates: Mapping[str, Candidate]) -> dict[str, Verdict]:
    """Read the test set and score every candidate on it. Call it once, with all of them."""
    engines = read_engines(folder, "test", subset)
    truth = read_rul(folder, subset, len(engines))
    verdicts = {}
    for name, candidate in candidates.items():
        histories = [candidate.standardizer(engine.values) for engine in engines]
        scores = report(candidate.run, histories, truth)
        apart = np.concatenate([candidate.run(frames) - candidate.original(frames) for frames in histories])
        rms = float(np.sqrt(np.mean(np.square(apart, dtype=np.float64))))
        verdicts[name] = Verdict(scores, float(np.abs(apart).max()), rms)
    return verdicts
