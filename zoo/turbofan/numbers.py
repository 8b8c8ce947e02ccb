"""What the test set said, as numbers.json and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from zoo.turbofan.fit import Trained
from zoo.turbofan.judge import Verdict
from zoo.turbofan.model import count

SHOWN: Final = ("whole.rmse_capped", "whole.rmse", "whole.nasa_capped", "half.rmse_capped", "recent.rmse_capped")
"""The measures of the printed table; numbers.json has them all."""

Verdicts = Mapping[int, Mapping[str, Verdict]]
"""Seed -> variant -> verdict."""


def spread(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Give mean and standard deviation (n - 1 below the line; 0 for one row) of each number over seeds."""
    table = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        "mean": {name: float(np.mean(values)) for name, values in table.items()},
        "std": {name: float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for name, values in table.items()},
    }


def write(path: Path, models: Sequence[Trained], shipped: int, verdicts: Verdicts) -> None:
    """Write numbers.json."""
    variants = list(next(iter(verdicts.values())))
    document: dict[str, Any] = {
        "subset": models[0].subset,
        "torch": torch.__version__,
        "parameters": count(models[0].module),
        "shipped_seed": shipped,
        "seeds": [
            {
                "seed": trained.seed,
                "epoch": trained.epoch,
                "held_out": trained.held_out,
                "rmse_held_out": trained.rmse_held_out,
                "test": {variant: verdict.flat() for variant, verdict in verdicts[trained.seed].items()},
            }
            for trained in models
        ],
        "variants": {
            variant: spread([verdicts[trained.seed][variant].flat() for trained in models]) for variant in variants
        },
    }
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def table(models: Sequence[Trained], shipped: int, verdicts: Verdicts) -> str:
    """Give the shown measures: a line a measure and variant, a column a seed."""
    variants = list(next(iter(verdicts.values())))
    head = "".join(f"{'seed ' + str(trained.seed):>9}" for trained in models)
    held = "".join(f"{trained.rmse_held_out:9.2f}" for trained in models)
    lines = [f"{'':29}{head}{'mean':>9}{'std':>7}", f"{'held out, rmse_capped':29}{held}"]
    for measure in SHOWN:
        for variant in variants:
            rows = [verdicts[trained.seed][variant].flat() for trained in models]
            over = spread(rows)
            cells = "".join(f"{row[measure]:9.2f}" for row in rows)
            mean, std = over["mean"][measure], over["std"][measure]
            lines.append(f"{measure:20}{variant:9}{cells}{mean:9.2f}{std:7.2f}")
    lines.append(f"{count(models[0].module)} parameters; seed {shipped} ships.")
    return "\n".join(lines)
