"""Trains on whole lives with the state carried, as a device runs it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch

from zoo.bearing.data import DataError, Floats, Run
from zoo.bearing.frames import LEVELS, frames, standardize
from zoo.bearing.model import Bearing
from zoo.networks import runner
from zoo.turbofan import fit as optimizer
from zoo.turbofan.augment import Augmentation, Histories

RECORD_S: Final = 100
"""Seconds from one record to the next, of a device and of the data it learned from: every tenth of the rig's."""
CAP_S: Final = 1000
"""Remaining life is only told apart below it: a bearing that lives on for longer may be as sound as a new one."""


@dataclass(frozen=True)
class Recipe:
    """Everything that training depends on, besides the bearings and the seed. batch: histories an update."""

    updates: int = 150
    batch: int = 10
    hidden: int = 16
    rate: float = 1e-2
    decay: float = 1e-4
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(
            midlife=0.3, shortest=10, stretch=0.3, offset=0.4, noise=0.2, cap=CAP_S // RECORD_S
        )
    )


@dataclass(frozen=True)
class Trained:
    """A trained model. module: estimates in seconds. chain: the feature tables before it, the last one learned, too."""

    module: Bearing
    chain: Sequence[dict[str, Any]]
    seed: int

    def estimates(self, run: Run) -> Floats:
        """Give the remaining life after each record, float32[records], seconds, from zero state."""
        return runner(self.module)(frames(run, self.chain))[:, 0]


def labels(run: Run) -> Floats:
    """Give the true remaining life after each record, float32[records], seconds, at most CAP_S."""
    return np.minimum(run.life_s - run.t_s, CAP_S).astype(np.float32)


def train(
    runs: Sequence[Run], seed: int, recipe: Recipe | None = None, progress: Callable[[], None] = lambda: None
) -> Trained:
    """Train one model on bearings run to failure; `progress` is called after each update. Raises DataError."""
    recipe = recipe or Recipe()
    levels = [frames(run, LEVELS) for run in runs]
    every = np.concatenate(levels)
    if not np.isfinite(every).all():
        raise DataError("A record has a channel without any signal, so that its shape is not known; leave it out.")
    mean, std = every.mean(axis=0, dtype=np.float64), every.std(axis=0, dtype=np.float64)
    chain = [*LEVELS, standardize(mean.astype(np.float32), np.maximum(std, 1e-3).astype(np.float32))]
    histories = Histories.pad([frames(run, chain) for run in runs])
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    module = Bearing(every.shape[1], hidden=recipe.hidden)
    average = copy.deepcopy(module)
    schedule = optimizer.Recipe(rate=recipe.rate, decay=recipe.decay)
    updates = optimizer.Updates(module, average, schedule, recipe.updates)
    repeats = -(-recipe.batch // len(runs))
    for _ in range(recipe.updates):
        rows = torch.cat([torch.randperm(len(runs), generator=generator) for _ in range(repeats)])[: recipe.batch]
        updates.make(histories.batch(rows, recipe.augmentation, generator))
        progress()
    average.scale(float(CAP_S))
    return Trained(average.eval(), chain, seed)
