"""What the test's speakers said of the models, as numbers.json and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from zoo.keyword.fit import Trained
from zoo.keyword.judge import Verdict
from zoo.keyword.model import count

SHOWN: Final = {
    "clips.apart": "clips recognized, each by itself, %",
    "clips.in_a_row": "clips recognized, in a row without a pause, %",
    "stream.found": "words found in the stream, %",
    "stream.false_per_hour": "told and not said, an hour",
    "stream.nothing_per_hour": "of these while nobody spoke, an hour",
    "stream.late": "told so long after the word's end, s",
}
"""The measures of the printed table; numbers.json has them all."""

Verdicts = Mapping[int, Mapping[str, Verdict]]
"""Seed -> variant -> verdict."""


def write(path: Path, models: Sequence[Trained], shipped: int, verdicts: Verdicts) -> None:
    """Write numbers.json."""
    document: dict[str, Any] = {
        "torch": torch.__version__,
        "parameters": count(models[0].module),
        "shipped_seed": shipped,
        "seeds": [
            {
                "seed": trained.seed,
                "update": trained.update,
                "accuracy_held_out": trained.accuracy_held_out,
                "threshold": trained.threshold,
                "test": {variant: verdict.flat() for variant, verdict in verdicts[trained.seed].items()},
            }
            for trained in models
        ],
        "mean": {variant: mean(verdicts, variant) for variant in next(iter(verdicts.values()))},
    }
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def mean(verdicts: Verdicts, variant: str) -> dict[str, float]:
    """Return every number's mean over seeds."""
    rows = [of_seed[variant].flat() for of_seed in verdicts.values()]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def table(models: Sequence[Trained], shipped: int, verdicts: Verdicts) -> str:
    """Give the shown measures, a line a measure and a column a variant: the means over seeds."""
    variants = list(next(iter(verdicts.values())))
    means = {variant: mean(verdicts, variant) for variant in variants}
    lines = [f"| {'mean of ' + str(len(models)) + ' seed(s)':48} |" + "".join(f" {name:>8} |" for name in variants)]
    lines.append(f"|{'-' * 50}|" + "---------:|" * len(variants))
    for measure, words in SHOWN.items():
        scale = 100 if words.endswith("%") else 1
        digits = 2 if words.endswith("s") else 1
        cells = "".join(f" {scale * means[variant][measure]:8.{digits}f} |" for variant in variants)
        lines.append(f"| {words:48} |{cells}")
    hours = means[variants[0]]["stream.hours"]
    held = ", ".join(f"{100 * trained.accuracy_held_out:.1f}" for trained in models)
    lines.append(f"{count(models[0].module)} parameters; streams of {hours:.1f} h; seed {shipped} ships.")
    lines.append(f"On the held-out speakers, in a row, %: {held}.")
    return "\n".join(lines)
