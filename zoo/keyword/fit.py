"""Trains on endless streams, as a device hears them, and finds when a word is to be told."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from zoo.keyword.augment import IGNORED, Augmentation, Lanes, Stage
from zoo.keyword.data import CLASSES, RATE, SILENCE, Clip, DataError, Floats, Listener, split
from zoo.keyword.evaluate import Hear, find_threshold, in_a_row
from zoo.keyword.model import CONTEXT, Keyword
from zoo.networks import runner

Run = Callable[[Floats], Floats]
"""Standardized frames float32[T, BANDS] -> logits float32[T, classes], from the model's reset."""

CALIBRATION_SCENES: Final = 120
"""Of four seconds each."""

CLIP_STD: Final = 4.0
"""Standard deviations: a frame's values are held to within, which bounds what int8 has to span."""


@dataclass(frozen=True)
class Recipe:
    """Everything that training depends on, besides the clips and the seed.

    updates: how many. held_out: share of the speakers kept for the choice of the threshold. lanes: streams side by
    side. scene: seconds that each goes on in an update. rate: AdamW's at its highest, reached after the share `warm_up`
    of all updates, then falling as a cosine. decay: weight decay. average: how slowly the averaged weights, which are
    the ones used, follow. silence: weight of a frame in which no word is told. smoothing: of labels.
    """

    updates: int = 4000
    held_out: float = 0.12
    lanes: int = 16
    scene: float = 4.0
    width: int = 36
    dropout: float = 0.05
    rate: float = 5e-3
    warm_up: float = 0.05
    decay: float = 0.05
    average: float = 0.995
    silence: float = 0.15
    smoothing: float = 0.05
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Trained:
    """A trained model and all that its export needs.

    mean, std: float32[BANDS] of the frames it was trained on. accuracy_held_out: of `in_a_row` on held-out clips.
    threshold: see `find_threshold`. calibration: sound float32[n], a training stream, to find the ranges of its values.
    """

    module: Keyword
    mean: Floats
    std: Floats
    seed: int
    accuracy_held_out: float
    held_out: tuple[str, ...]
    threshold: float
    calibration: Floats


def train(
    clips: Sequence[Clip], seed: int, recipe: Recipe | None = None, progress: Callable[[], None] = lambda: None
) -> Trained:
    """Train one model on clips; `progress` is called after each update.

    Some speakers, other ones for each seed, are held out: they choose the threshold, and nothing else is learned from
    them. Raises DataError where one of the two parts lacks a class.
    """
    recipe = recipe or Recipe()
    fitted, held = split(clips, recipe.held_out, f"seed {seed}")
    for name, one in (("learn from", fitted), ("choose on", held)):
        lacking = set(range(len(CLASSES))) - {clip.label for clip in one}
        if lacking:
            raise DataError(f"There is no clip of '{CLASSES[min(lacking)]}' to {name}: the data set is far too small.")
    torch.manual_seed(seed)
    lanes = Lanes(fitted, recipe.lanes, int(recipe.scene * RATE), recipe.augmentation, seed)
    frames, labels = lanes.batch()
    mean, std = frames.mean(axis=(0, 1)), frames.std(axis=(0, 1))
    module = Keyword(recipe.width, recipe.dropout)
    average = copy.deepcopy(module)
    updates = Updates(module, average, recipe)
    past = torch.from_numpy(standardized(frames, mean, std))[:, -CONTEXT:]
    for _ in range(recipe.updates):
        module.train()
        frames, labels = lanes.batch()
        heard = torch.from_numpy(lanes.vary(standardized(frames, mean, std)))
        updates.make(torch.cat([past, heard], dim=1), torch.from_numpy(labels))
        past = heard[:, -CONTEXT:]
        progress()
    average.eval()
    hear = hearing(runner(average), mean, std)
    return Trained(
        average,
        mean,
        std,
        seed,
        in_a_row(hear, held),
        tuple(sorted({clip.speaker for clip in held})),
        find_threshold(hear, held),
        calibration_sound(fitted, seed),
    )


def standardized(frames: Floats, mean: Floats, std: Floats) -> Floats:
    """Return frames as the network takes them, as the feature `standardize` computes them."""
    return np.asarray(np.clip((frames - mean) / std, -CLIP_STD, CLIP_STD), np.float32)


def hearing(run: Run, mean: Floats, std: Floats) -> Hear:
    """Put the feature chain before a network, and the softmax behind it that the decider computes."""

    def hear(sound: Floats) -> Floats:
        logits = run(standardized(Listener()(sound), mean, std))
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)

    return hear


def calibration_sound(clips: Sequence[Clip], seed: int) -> Floats:
    """Return a stream of training clips, float32[n], to find the ranges of a network's values."""
    stage = Stage(clips, Augmentation(), np.random.default_rng(seed))
    return np.concatenate([stage.scene(4 * RATE).samples for _ in range(CALIBRATION_SCENES)])


class Updates:
    """The optimizer with its schedule, and the running average of the weights."""

    def __init__(self, module: Keyword, average: Keyword, recipe: Recipe) -> None:
        self._module, self._average, self._recipe = module, average, recipe
        matrices = [weights for weights in module.parameters() if weights.ndim > 1]
        vectors = [weights for weights in module.parameters() if weights.ndim == 1]
        groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": vectors, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=recipe.rate)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._share)
        weight = torch.ones(len(CLASSES))
        weight[SILENCE] = recipe.silence
        self._loss = nn.CrossEntropyLoss(weight, ignore_index=IGNORED, label_smoothing=recipe.smoothing)
        self._made = 0

    def make(self, frames: Tensor, labels: Tensor) -> None:
        """Make one update with frames [lanes, CONTEXT + time, BANDS] and labels [lanes, time]."""
        loss = self._loss(self._module(frames)[:, CONTEXT:].transpose(1, 2), labels)
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._module.parameters(), 1.0)
        self._optimizer.step()
        self._schedule.step()
        self._made += 1
        # The average starts quickly, so that it soon forgets the first weights. It follows the norms' statistics, too.
        follow = 1 - min(self._recipe.average, (1 + self._made) / (10 + self._made))
        fast = self._module.state_dict()
        with torch.no_grad():
            for name, slow in self._average.state_dict().items():
                if slow.is_floating_point():
                    slow.lerp_(fast[name], follow)

    def _share(self, made: int) -> float:
        """Learning rate after `made` updates as a share of its highest."""
        done = made / self._recipe.updates
        return min(1.0, (done + 1e-3) / self._recipe.warm_up) * 0.5 * (1 + math.cos(math.pi * done))
