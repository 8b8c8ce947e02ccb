"""What the test's speakers said of the models, as numbers.json and as a table for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from zoo.keyword.fit import Trained
from zoo.keyword.judge import Verdict
from zoo.keyword.model import count
from zoo.keyword.ship import VARIANTS

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
    variants = list(next(iter(verdicts.values())))
    document: dict[str, Any] = {
        "torch": torch.__version__,
        "parameters": count(models[0].module),
        "shipped_seed": shipped,
        "seeds": [
            {
                "seed": trained.seed,
                "accuracy_held_out": trained.accuracy_held_out,
                "threshold": trained.threshold,
                "test": {variant: verdict.flat() for variant, verdict in verdicts[trained.seed].items()},
            }
            for trained in models
        ],
        "mean": {variant: over_seeds(verdicts, variant, np.mean) for variant in variants},
        "std": {variant: over_seeds(verdicts, variant, spread) for variant in variants},
        "against_float32": {variant: against_float32(verdicts, variant) for variant in VARIANTS[1:]},
    }
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def over_seeds(verdicts: Verdicts, variant: str, give: Callable[[list[float]], Any]) -> dict[str, float]:
    """Return what `give` makes of every number's values, one a seed."""
    rows = [of_seed[variant].flat() for of_seed in verdicts.values()]
    return {name: float(give([row[name] for row in rows])) for name in rows[0]}


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation between seeds; 0 of one alone."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def against_float32(verdicts: Verdicts, variant: str) -> dict[str, dict[str, float]]:
    """Return what a variant changes of every number: the mean over seeds of the differences, and its standard error."""
    rows = [(of_seed[variant].flat(), of_seed["float32"].flat()) for of_seed in verdicts.values()]
    changes = {name: [row[name] - base[name] for row, base in rows] for name in rows[0][0]}
    return {
        name: {"mean": float(np.mean(values)), "standard_error": spread(values) / math.sqrt(len(values))}
        for name, values in changes.items()
    }


def cell(mean: float, spread: float, words: str) -> str:
    """Write a mean and its spread in the unit, and to the digits, of a measure in words."""
    scale = 100 if words.endswith("%") else 1
    digits = 2 if words.endswith("s") else 1
    return f"{scale * mean:.{digits}f} ± {scale * spread:.{digits}f}"


def points(change: Mapping[str, float]) -> str:
    """Write what is changed of a share, with its standard error, in percentage points."""
    return f"{100 * change['mean']:.2f} ± {100 * change['standard_error']:.2f}"


def table(models: Sequence[Trained], shipped: int, verdicts: Verdicts) -> str:
    """Give the shown measures, a line a measure and a column a variant: the means over seeds and their spread.

    Below stand the accuracies of every seed, and what the variants change: those of one network differ by less than
    networks of two seeds.
    """
    variants = list(next(iter(verdicts.values())))
    means = {variant: over_seeds(verdicts, variant, np.mean) for variant in variants}
    spreads = {variant: over_seeds(verdicts, variant, spread) for variant in variants}
    lines = [
        f"| mean ± standard deviation of {len(models)} seed(s) |" + "".join(f" {name} |" for name in variants),
        "|---|" + "---|" * len(variants),
    ]
    for measure, words in SHOWN.items():
        cells = [cell(means[name][measure], spreads[name][measure], words) for name in variants]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    hours = means[variants[0]]["stream.hours"]
    lines.append(f"{count(models[0].module)} parameters; streams of {hours:.2f} h; seed {shipped} ships.")
    by_seed = {name: [of_seed[name].in_a_row for of_seed in verdicts.values()] for name in variants}
    by_seed["on the held-out speakers"] = [trained.accuracy_held_out for trained in models]
    for name, shares in by_seed.items():
        told = ", ".join(f"{100 * share:.1f}" for share in shares)
        lines.append(f"In a row, by seed, %, {name}: {told}.")
    for name in VARIANTS[1:]:
        changes = against_float32(verdicts, name)
        apart, in_a_row = points(changes["clips.apart"]), points(changes["clips.in_a_row"])
        lines.append(f"Against float32 {name} changes {apart} points by themselves, {in_a_row} in a row.")
    lines.append(f"Thresholds: {', '.join(f'{trained.threshold:g}' for trained in models)}.")
    return "\n".join(lines)
