"""Leave one bearing out: each is judged by models that learned from the others, beside rules that need no model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgeseq
from zoo.bearing.data import DataError, Floats, Run
from zoo.bearing.evaluate import DECIDER, FACTORS, Alerts, alerts, growth, rule
from zoo.bearing.fit import Recipe, Trained, labels, train
from zoo.bearing.frames import frames
from zoo.bearing.ship import VARIANTS, ship

TRAINED = "trained"
"""What the network as it was trained is called, beside the variants of its bundle."""


@dataclass(frozen=True)
class Verdict:
    """One model on one bearing that it had not seen. estimates: float32[records], s. rmse_s: off `labels`."""

    alerts: Alerts
    rmse_s: float
    estimates: Floats


@dataclass(frozen=True)
class Judged:
    """All about one bearing: verdicts by seed and by variant of the first seed's bundle; a rule's alerts by factor.

    constant_rmse_s: what an estimate would be off that never moved from the mean of this bearing's own labels.
    """

    run: Run
    seeds: Mapping[int, Verdict]
    variants: Mapping[str, Verdict]
    rules: Mapping[float, Alerts]
    constant_rmse_s: float


def leave_one_out(
    runs: Sequence[Run], seeds: Sequence[int], recipe: Recipe, progress: Callable[[], None] = lambda: None
) -> list[Judged]:
    """Judge every bearing; `progress` is called after each update of each training. Raises DataError for only one."""
    if len(runs) < 2:  # noqa: PLR2004 (one to learn from, one left out)
        raise DataError("There is one bearing; one is left out, and at least one must be learned from.")
    found = []
    for place, run in enumerate(runs):
        others = [*runs[:place], *runs[place + 1 :]]
        models = [train(others, seed, recipe, progress) for seed in seeds]
        verdicts = {trained.seed: verdict(run, trained.estimates(run)) for trained in models}
        level = growth(run)
        found.append(
            Judged(
                run,
                verdicts,
                _variants(run, models[0]),
                {factor: alerts(run.t_s, level, rule(factor)) for factor in FACTORS},
                float(labels(run).std()),
            )
        )
    return found


def verdict(run: Run, estimates: Floats) -> Verdict:
    """Judge the estimates of one bearing's life."""
    apart = np.minimum(estimates, labels(run).max()) - labels(run)
    rmse = float(np.sqrt(np.square(apart, dtype=np.float64).mean()))
    return Verdict(alerts(run.t_s, estimates, DECIDER), rmse, estimates)


def _variants(run: Run, trained: Trained) -> dict[str, Verdict]:
    """Judge the variants as a device runs them, frame by frame from a bundle, on its native engine."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = ship(trained, Path(folder) / "bundle")
        seen = frames(run, trained.chain)
        found = {}
        for variant in VARIANTS:
            model = edgeseq.load(bundle, backend="native", variant=variant)
            found[variant] = verdict(run, np.asarray(model.run(seen)[:, 0], np.float32))
    return found


def accuracy(judged: Sequence[Judged], variant: str) -> dict[str, float]:
    """Sum a variant up over all bearings, for its bundle."""
    rows = [each.variants[variant] for each in judged]
    leads = [row.alerts.lead_s for row in rows if row.alerts.lead_s is not None]
    return {
        "held_out.bearings": float(len(rows)),
        "held_out.warned": float(len(leads)),
        "held_out.false_alarms": float(sum(row.alerts.false for row in rows)),
        "held_out.median_lead_s": float(np.median(leads)) if leads else 0.0,
        "held_out.rmse_s": float(np.mean([row.rmse_s for row in rows])),
    }
