"""What was found on bearings left out, as numbers.json and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.bearing.evaluate import Alerts
from zoo.bearing.fit import Trained
from zoo.bearing.judge import Judged, Verdict


def write(path: Path, judged: Sequence[Judged], shipped: Trained) -> None:
    """Write numbers.json."""
    document: dict[str, Any] = {
        "torch": torch.__version__,
        "parameters": sum(weights.numel() for weights in shipped.module.parameters()),
        "shipped_seed": shipped.seed,
        "bearings": {each.run.name: _bearing(each) for each in judged},
    }
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _bearing(each: Judged) -> dict[str, Any]:
    first = next(iter(each.seeds.values()))
    return {
        "life_s": each.run.life_s,
        "constant_rmse_s": each.constant_rmse_s,
        "rules": {f"{factor:g}": asdict(found) for factor, found in each.rules.items()},
        "seeds": {str(seed): _flat(found) for seed, found in each.seeds.items()},
        "variants": {variant: _flat(found) for variant, found in each.variants.items()},
        "t_s": each.run.t_s.tolist(),
        "estimates_s": np.round(first.estimates, 0).astype(int).tolist(),
    }


def _flat(found: Verdict) -> dict[str, Any]:
    return {**asdict(found.alerts), "rmse_s": found.rmse_s}


def table(judged: Sequence[Judged]) -> str:
    """Give a line a bearing: lead and false alarms of each rule, each seed and each variant."""
    columns = [
        *(f"x{factor:g}" for factor in judged[0].rules),
        *(f"seed {seed}" for seed in judged[0].seeds),
        *judged[0].variants,
    ]
    lines = ["Lead in s (- where no alert stands at the end) / false alarms"]
    lines.append(f"{'':12}{'life':>8}" + "".join(f"{column:>12}" for column in columns))
    for each in judged:
        found = [*each.rules.values(), *(v.alerts for v in (*each.seeds.values(), *each.variants.values()))]
        lines.append(f"{each.run.name:12}{each.run.life_s:8}" + "".join(f"{_cell(one):>12}" for one in found))
    lines.append("Off the true remaining life, capped, rms in s")
    for each in judged:
        cells = "".join(f"{one.rmse_s:12.0f}" for one in (*each.seeds.values(), *each.variants.values()))
        lines.append(f"{each.run.name:12}{f'constant: {each.constant_rmse_s:.0f}':>{8 + 12 * len(each.rules)}}{cells}")
    return "\n".join(lines)


def _cell(found: Alerts) -> str:
    return f"{'-' if found.lead_s is None else found.lead_s} / {found.false}"
