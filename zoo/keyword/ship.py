"""Turns a trained model into its bundle: the stream, its frames, what the output means, when to tell a word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

import export
from edgeseq.bundle import Bundle, ChannelTable, OutputTable, StreamTable
from edgeseq.types import StepModel
from zoo.keyword.data import CLASSES, LOG_MEL, RATE, Floats, Listener
from zoo.keyword.evaluate import FALSE_PER_HOUR, decider_table
from zoo.keyword.fit import CLIP_STD, Run, Trained, standardized

VARIANTS: Final = ("float32", "int8", "w8a16")
VERSION: Final = "1.0.0"

SEQUENCE: Final = 500
"""Frames of each calibration sequence, 10 s."""


def ship(trained: Trained, output: Path, evaluate: Callable[[StepModel], Mapping[str, float]] | None = None) -> Bundle:
    """Export a trained model to a bundle; `evaluate` gives a variant's accuracy, to be written down in it."""
    frames = standardized(Listener()(trained.calibration), trained.mean, trained.std)
    calibration = [frames[start : start + SEQUENCE] for start in range(0, len(frames), SEQUENCE)]
    return export.export(
        (trained.module, torch.from_numpy(calibration[0][None])),
        output,
        calibration=calibration,
        variants=VARIANTS,
        about=about(trained),
        samples=trained.calibration[: RATE // 4, None],
        evaluate=evaluate,
    )


def about(trained: Trained) -> export.About:
    """Describe what the weights cannot say of themselves."""
    return export.About(
        name="keyword-12",
        version=VERSION,
        description="Ten spoken commands in a stream of 16 kHz sound: 50 times a second, logits of which was said.",
        stream=StreamTable(rate_hz=RATE, channels=[ChannelTable(name="audio")]),
        features=features(trained),
        output=OutputTable(kind="classes", names=list(CLASSES)),
        decider={"type": "classes", "logits": True, **decider_table(trained.threshold)},
        calibration=f"On {len(trained.held_out)} held-out speakers: the least threshold with at most "
        f"{FALSE_PER_HOUR:g} false words an hour where their words are streamed one after another.",
    )


def features(trained: Trained) -> list[dict[str, Any]]:
    """Give the feature chain's tables, the same arithmetic as the recipe's."""
    return [
        {"type": "log_mel", **LOG_MEL},
        {"type": "standardize", "clip": CLIP_STD, "mean": trained.mean.tolist(), "std": trained.std.tolist()},
    ]


def stepping(model: StepModel) -> Run:
    """Run a step model over whole streams, from its reset."""

    def run(frames: Floats) -> Floats:
        model.reset()
        return np.asarray(model.run(np.ascontiguousarray(frames, np.float32)), np.float32)

    return run
