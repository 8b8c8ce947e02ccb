"""Turns a trained model into its bundle: what the stream carries, how it is standardized, when to alert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

import export
from edgeseq.bundle import Bundle, ChannelTable, OutputTable, StreamTable
from edgeseq.types import StepModel
from zoo.turbofan.data import SETTINGS, Floats, Standardizer
from zoo.turbofan.evaluate import Run
from zoo.turbofan.fit import LEADS, SURE, Trained

VARIANTS: Final = ("float32", "int8", "w8a16")
VERSION: Final = "1.0.0"
SAMPLE: Final = Path(__file__).with_name("sample") / "engines.csv"
"""Engines of FD001, on which devices replay the feature chain."""
RELEASE: Final = 1.25
"""An alert is taken back where the estimate rises above its threshold by this factor."""

MIN_STEPS: Final = 3
"""Cycles in a row beyond a threshold before an alert is raised: one noisy flight does not raise one."""


def ship(trained: Trained, output: Path, evaluate: Callable[[StepModel], Mapping[str, float]] | None = None) -> Bundle:
    """Export a trained model to a bundle; `evaluate` gives a variant's accuracy, to be written down in it."""
    example = torch.from_numpy(trained.calibration[0][None])
    return export.export(
        (trained.module, example),
        output,
        calibration=trained.calibration,
        variants=VARIANTS,
        about=about(trained),
        evaluate=evaluate,
        samples=SAMPLE if trained.subset == "FD001" else None,
    )


def about(trained: Trained) -> export.About:
    """Describe what the weights cannot say of themselves."""
    return export.About(
        name=f"turbofan-{trained.subset.lower()}",
        version=VERSION,
        description="Remaining useful life of a turbofan engine from its sensors, one flight cycle at a time.",
        stream=stream(trained.standardizer),
        features=[standardize(trained.standardizer)],
        output=OutputTable(kind="regression", names=["rul"], unit="cycles", lower_is_worse=True),
        decider=decider(trained.thresholds),
        calibration=calibration(trained),
    )


def stream(standardizer: Standardizer) -> StreamTable:
    """Give the channels that a device must deliver, the settings only where they tell the operating condition.

    A flight cycle has no fixed length: the nominal rate of 1 Hz stands for one cycle.
    """
    settings = SETTINGS if len(standardizer.centres) > 1 else ()
    sensors = zip(standardizer.names, standardizer.units, strict=True)
    return StreamTable(rate_hz=1.0, channels=[ChannelTable(name=n, unit=u) for n, u in (*settings, *sensors)])


def standardize(standardizer: Standardizer) -> dict[str, Any]:
    """Give the feature's table, the same arithmetic as the recipe's Standardizer."""
    table: dict[str, Any] = {"type": "standardize", "clip": standardizer.clip}
    if len(standardizer.centres) == 1:
        return table | {"mean": standardizer.mean[0].tolist(), "std": standardizer.std[0].tolist()}
    return table | {
        "channels": list(standardizer.names),
        "mean": standardizer.mean.tolist(),
        "std": standardizer.std.tolist(),
        "regime_channels": [name for name, _ in SETTINGS],
        "regime_centres": standardizer.centres.tolist(),
    }


def decider(thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Give the decider's table for thresholds in cycles."""
    table: dict[str, Any] = {"type": "hysteresis", "direction": "below", "min_steps": MIN_STEPS}
    for level, at in thresholds.items():
        table |= {level: round(at, 1), f"{level}_clear": round(RELEASE * at, 1)}
    return table


def calibration(trained: Trained) -> str:
    """Say how the thresholds were found."""
    leads = " and ".join(f"{lead} cycles ({level})" for level, lead in LEADS.items())
    return (
        f"On {len(trained.held_out)} held-out training engines: the estimates at which {SURE:.0%} of them would have "
        f"raised the alert at least {leads} before failure."
    )


def stepping(model: StepModel) -> Run:
    """Give what `evaluate` judges: frames float32[T, features] -> cycles float32[T], from the model's reset."""

    def run(frames: Floats) -> Floats:
        model.reset()
        return np.asarray(model.run(np.ascontiguousarray(frames, np.float32))[:, 0], np.float32)

    return run
