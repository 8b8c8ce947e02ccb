"""Turns a trained model into its bundle. Nothing in it is of the bearings it learned from but what it learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch

import export
from edgeseq.bundle import Bundle, OutputTable
from edgeseq.types import StepModel
from zoo.bearing import synthetic
from zoo.bearing.data import SPEEDS_RPM, Floats
from zoo.bearing.evaluate import DECIDER
from zoo.bearing.fit import CAP_S, RECORD_S, Trained
from zoo.bearing.frames import CLIP, STREAM, frames

VARIANTS: Final = ("float32", "int8", "w8a16")
VERSION: Final = "1.0.0"
WALKS: Final = 4
LENGTH: Final = 250
GOLDEN_RECORDS: Final = 3


def ship(trained: Trained, output: Path, evaluate: Callable[[StepModel], Mapping[str, float]] | None = None) -> Bundle:
    """Export a trained model to a bundle; `evaluate` gives a variant's accuracy, to be written down in it."""
    seen = calibration(trained)
    golden = synthetic.run(0).samples[-GOLDEN_RECORDS:]
    return export.export(
        (trained.module, torch.from_numpy(seen[0][None])),
        output,
        calibration=seen,
        variants=VARIANTS,
        about=about(trained),
        samples=golden.reshape(-1, golden.shape[2]),
        evaluate=evaluate,
    )


def about(trained: Trained) -> export.About:
    """Describe what the weights cannot say of themselves."""
    return export.About(
        name="bearing",
        version=VERSION,
        description=(
            f"Remaining life of a rolling bearing, up to {CAP_S} s, from a tenth of a second of vibration every "
            f"{RECORD_S} s. It learned on one test rig (FEMTO's PRONOSTIA): on another machine it must learn anew."
        ),
        stream=STREAM,
        features=list(trained.chain),
        output=OutputTable(kind="regression", names=["remaining_life"], unit="s", lower_is_worse=True),
        decider=DECIDER,
        calibration=f"Half of the {CAP_S} s up to which remaining life is told apart; not fitted to any bearing.",
    )


def calibration(trained: Trained) -> list[Floats]:
    """Make the frames that the quantizer sees, and devices replay: none of a real bearing.

    Made-up bearings of each condition, and slow random walks that cover what frames may be, to the clip.
    """
    lives = [frames(synthetic.run(seed, condition=key), trained.chain) for seed, key in enumerate(SPEEDS_RPM, start=1)]
    random = np.random.default_rng(0)
    return lives + [_walk(random, lives[0].shape[1]) for _ in range(WALKS)]


def _walk(random: np.random.Generator, features: int) -> Floats:
    """Make a walk, float32[LENGTH, features]: what all values share, and as much of each one's own; deviation 2."""
    steps = random.normal(size=(LENGTH, features)) + random.normal(size=(LENGTH, 1))
    walk = np.zeros((LENGTH, features))
    for place in range(1, LENGTH):
        walk[place] = 0.95 * walk[place - 1] + 0.45 * steps[place]
    return np.clip(walk, -CLIP, CLIP).astype(np.float32)
