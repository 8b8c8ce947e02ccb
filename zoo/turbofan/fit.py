"""Trains on whole lives with the state carried, as a device runs it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from zoo import networks
from zoo.turbofan.augment import Augmentation, Batch, Histories
from zoo.turbofan.data import DataError, Engine, Floats, Standardizer, fit_standardizer
from zoo.turbofan.evaluate import Run, truncated_mse
from zoo.turbofan.model import Turbofan

LEADS: Final = {"warning": 50, "critical": 20}
"""Cycles before failure by which an alert of each level should have been raised."""

SURE: Final = 0.95
"""Share of held-out engines for which it was."""


@dataclass(frozen=True)
class Recipe:
    """Everything that training depends on, besides the engines and the seed.

    held_out: share of the training engines kept for the choice of epoch. judge_every: epochs between two judgements.
    batch: engines. rate: Adam's at its highest, reached after the share `warm_up` of all updates, then falling as a
    cosine. decay: weight decay. average: how slowly the averaged weights, which are the ones used, follow.
    """

    epochs: int = 160
    held_out: float = 0.15
    judge_every: int = 5
    batch: int = 20
    rate: float = 1e-2
    warm_up: float = 0.05
    decay: float = 1e-4
    average: float = 0.99
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Trained:
    """A trained model and all that its export needs.

    module: estimates in cycles. rmse_held_out: cycles, by `truncated_mse` on the held-out engines at `epoch`.
    held_out: their numbers. calibration: frames float32[cycles, features] of engines it was trained on, to find the
    ranges of its values. thresholds: cycles; a decider's levels, see `find_thresholds`.
    """

    module: Turbofan
    standardizer: Standardizer
    subset: str
    seed: int
    epoch: int
    rmse_held_out: float
    held_out: tuple[int, ...]
    calibration: tuple[Floats, ...]
    thresholds: dict[str, float]


def runner(module: nn.Module, dtype: torch.dtype = torch.float32) -> Run:
    """Give what `evaluate` judges: frames float32[T, features] -> cycles float32[T], from zero state.

    dtype: what the network computes in; the weights are copied where that is not what they are.
    """
    run = networks.runner(module, dtype)
    return lambda frames: run(frames)[:, 0]


def train(
    engines: Sequence[Engine],
    subset: str,
    seed: int,
    recipe: Recipe | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Trained:
    """Train one model on engines run to failure; `progress` is called after each epoch.

    Some engines, other ones for each seed, are held out: they choose the epoch, and nothing else is learned from them.
    """
    recipe = recipe or Recipe()
    fitted, held = split(engines, recipe.held_out, seed)
    standardizer = fit_standardizer(fitted)
    histories = Histories.pad([standardizer(engine.values) for engine in fitted])
    held_frames = [standardizer(engine.values) for engine in held]

    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    module = Turbofan(len(standardizer.channels))
    average = copy.deepcopy(module)
    updates = Updates(module, average, recipe, recipe.epochs * math.ceil(len(fitted) / recipe.batch))
    best: tuple[float, int, Turbofan] | None = None
    for epoch in range(1, recipe.epochs + 1):
        module.train()
        for rows in torch.split(torch.randperm(len(fitted), generator=generator), recipe.batch):
            updates.make(histories.batch(rows, recipe.augmentation, generator))
        if epoch % recipe.judge_every == 0 or epoch == recipe.epochs:
            candidate = copy.deepcopy(average)
            candidate.to_cycles()
            error = truncated_mse([runner(candidate)(frames) for frames in held_frames])
            if error < (best[0] if best else math.inf):  # never so where it is not a number
                best = error, epoch, candidate
        progress()
    if best is None:
        raise DataError(
            "No epoch gave finite estimates on the held-out engines, or all of them lived under 30 cycles: the "
            "training file is damaged or far too small."
        )
    error, epoch, chosen = best
    chosen.eval()
    return Trained(
        chosen,
        standardizer,
        subset,
        seed,
        epoch,
        math.sqrt(error),
        tuple(engine.number for engine in held),
        tuple(standardizer(engine.values) for engine in fitted[:10]),
        find_thresholds([runner(chosen)(frames) for frames in held_frames]),
    )


def split(engines: Sequence[Engine], share: float, seed: int) -> tuple[list[Engine], list[Engine]]:
    """Give the engines to learn from and those held out, at least one of each."""
    if len(engines) < 2:  # noqa: PLR2004 (one to learn from, one held out)
        raise DataError("Training needs at least two engines: one to learn from and one to choose the epoch on.")
    order = np.random.default_rng(seed).permutation(len(engines))
    count = min(max(1, round(share * len(engines))), len(engines) - 1)
    return [engines[place] for place in sorted(order[count:])], [engines[place] for place in sorted(order[:count])]


def find_thresholds(estimates: Sequence[Floats]) -> dict[str, float]:
    """Find the estimates, in cycles, at which to alert: early enough for SURE of these engines.

    estimates: float32[cycles] of each held-out engine, to failure. For each engine and lead, the least estimate seen
    up to `lead` cycles before failure would just have raised the alert in time; the threshold is their quantile.
    """
    return {
        level: float(np.quantile([estimate[: max(1, len(estimate) - lead)].min() for estimate in estimates], SURE))
        for level, lead in LEADS.items()
    }


class Updates:
    """The optimizer with its schedule, and the running average of the weights."""

    def __init__(self, module: nn.Module, average: nn.Module, recipe: Recipe, count: int) -> None:
        self._module, self._average, self._recipe, self._count = module, average, recipe, count
        matrices = [weights for weights in module.parameters() if weights.ndim > 1]
        biases = [weights for weights in module.parameters() if weights.ndim == 1]
        groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": biases, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=recipe.rate)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._share)
        self._made = 0

    def make(self, batch: Batch) -> None:
        """Make one update with a batch."""
        loss = mse(self._module(batch.frames)[..., 0], batch)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._module.parameters(), 1.0)
        self._optimizer.step()
        self._schedule.step()
        self._made += 1
        # The average starts quickly, so that it soon forgets the first weights.
        follow = 1 - min(self._recipe.average, (1 + self._made) / (10 + self._made))
        with torch.no_grad():
            for slow, fast in zip(self._average.parameters(), self._module.parameters(), strict=True):
                slow.lerp_(fast, follow)

    def _share(self, made: int) -> float:
        """Learning rate after `made` updates as a share of its highest."""
        done = made / self._count
        return min(1.0, (done + 1e-3) / self._recipe.warm_up) * 0.5 * (1 + math.cos(math.pi * done))


def mse(estimate: Tensor, batch: Batch) -> Tensor:
    """Mean squared error over all cycles of all histories, estimate [batch, time] and label in units of CAP cycles."""
    return ((estimate - batch.label) ** 2)[batch.valid].mean()
