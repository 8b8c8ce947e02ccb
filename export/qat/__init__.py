"""Quantization-aware fine-tuning of PyTorch modules: training goes on while the module computes as its integers will.

    model = qat.finetune(model, frames)                          # distils it from itself; no labels needed
    with qat.prepared(model, frames, variant="int8"):            # or a training loop of one's own
        ...

Either way the module stays of its own classes, with its own parameters' names; they lie where rounding loses least when
it is over, and the module is exported as any other. points.py says what is rounded, products.py where.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeseq.tables import suggest
from export.errors import ExportError, OptionError
from export.frontends.torch_export import tensors
from export.progress import Progress, counted, silent
from export.qat.products import Batch, Quantizing, evaluating

__all__ = ["finetune", "prepared"]

Frames = Items[NDArray[np.generic] | Tensor | Batch]
BITS = {"int8": 8, "w8a16": 16}
CHECKS = 5
"""How often fine-tuning looks whether it has become better, over all frames."""
CLIP = 1.0
"""The gradient's norm at most."""
LEAST = 0.01
"""The size of a parameter below which its rate falls no further: biases may begin at 0."""


@contextlib.contextmanager
def prepared(module: nn.Module, frames: Frames, *, variant: Literal["int8", "w8a16"] = "int8") -> Iterator[nn.Module]:
    """Let a module compute, and be trained, as its integer variant will.

    frames: what ranges are found on, as for an export: arrays float32[T, features], each taken as a batch of one, or
    tensors (tuples of them where there are several inputs) as the module takes them. Weights are first rounded as an
    export rounds them. Inside, the module's forward pass rounds weights and activations, and gradients pass through;
    other modules, such as a float copy, are left alone. At the end the weights are moved onto the grid on which they
    were trained, unless an exception ends it. Warns of weights that stay in float, since they enter no product that is
    known here. Raises OptionError for another variant, ExportError where the module does not run on the frames, holds
    nothing to round, or has bidirectional layers.
    """
    if variant not in BITS:
        raise OptionError(f"there is no variant '{variant}' to fine-tune for. {suggest(variant, BITS)}")
    quantizing = Quantizing(module, _batches(frames, module), BITS[variant])
    with quantizing.attached(), quantizing:
        quantizing.start()
        if not quantizing.met:
            raise ExportError(
                f"{type(module).__name__}: none of its parameters enters a product, so nothing is rounded."
            )
        if quantizing.left_float():
            told = ", ".join(quantizing.left_float())
            warnings.warn(f"in float, since they enter no product that is known here: {told}.", stacklevel=3)
        yield module
    quantizing.snap()


def finetune(
    module: nn.Module,
    frames: Frames,
    *,
    variant: Literal["int8", "w8a16"] = "int8",
    steps: int = 300,
    rate: float = 5e-3,
    window: int = 100,
    batch: int = 16,
    seed: int = 0,
    progress: Progress = silent,
) -> nn.Module:
    """Fine-tune a module so that its integer variant gives what it gives now in float; return that same module.

    frames: as for `prepared`. Of arrays a step takes `batch` random windows of `window` frames, from a zero state; of
    tensors one, whole. rate: Adam's, as a share of each parameter's rms, falling to 0 as a cosine over the steps. The
    loss is the mean squared distance to the outputs of the module as it was, each output (last axis) in units of its
    own variance, so no labels are needed. Of the weights on the way, the start's included, those that come nearest over
    all frames are kept. Runs in eval mode: no dropout, batch norms as they are. progress: is told the stage and how far
    it is. Raises OptionError for steps, window or batch below 1, and what `prepared` raises.
    Source: distillation, Hinton et al., "Distilling the knowledge in a neural network", arXiv 1503.02531 (2015); for
    quantization, Mishra & Marr, "Apprentice: using knowledge distillation techniques to improve low-precision network
    accuracy", ICLR 2018.
    """
    for name, value in (("steps", steps), ("window", window), ("batch", batch)):
        if value < 1:
            raise OptionError(f"{name} must be at least 1, not {value}.")
    teacher = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        raise ExportError(f"{type(module).__name__}: none of its parameters may be trained (requires_grad).")
    optimizer = _optimizer(trained, rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draw = _Draw(frames, module, window, batch, np.random.default_rng(seed))
    with evaluating(module), prepared(module, frames, variant=variant):
        measure = _Distance(module, teacher, draw.whole)
        best, kept = measure.over_all(), [weights.detach().clone() for weights in trained]
        tick = counted(progress, f"fine-tuning for {variant}", steps)
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            measure(draw()).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, CLIP)
            optimizer.step()
            schedule.step()
            tick(1)
            if (step % max(steps // CHECKS, 1) == 0 or step == steps) and (now := measure.over_all()) < best:
                best, kept = now, [weights.detach().clone() for weights in trained]
        with torch.no_grad():
            for weights, found in zip(trained, kept, strict=True):
                weights.copy_(found)
    return module


def _optimizer(trained: Items[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Return Adam with a rate for each parameter that fits its size: layers in cycles, or of tiny weights, move too."""
    sizes = [float(weights.detach().square().mean().sqrt()) for weights in trained]
    return torch.optim.Adam(
        [{"params": [weights], "lr": rate * max(size, LEAST)} for weights, size in zip(trained, sizes, strict=True)]
    )


def _batches(frames: Frames, module: nn.Module) -> list[Batch]:
    """Return what the module takes. Raises ExportError where nothing is given."""
    if len(frames) == 0:
        raise ExportError("fine-tuning needs frames: sequences float32[T, features], or what the module takes.")
    return [_batch(given, module) for given in frames]


def _batch(given: NDArray[np.generic] | Tensor | Batch, module: nn.Module) -> Batch:
    """Return what the module takes: an array is one sequence, a batch of one."""
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    if isinstance(given, np.ndarray):
        whole = given.dtype.kind in "iu"
        given = torch.from_numpy(np.array(given, np.int64 if whole else np.float32))[None]
    return tuple(tensor.to(device) for tensor in (given if isinstance(given, tuple) else (given,)))


@dataclass
class _Draw:
    """Draws a step's batch: of arrays, windows of one length at random places; of what a module takes, one of them."""

    frames: Frames
    module: nn.Module
    window: int
    batch: int
    random: np.random.Generator

    def __post_init__(self) -> None:
        self.whole = _batches(self.frames, self.module)
        self.arrays = all(isinstance(given, np.ndarray) for given in self.frames)

    def __call__(self) -> Batch:
        if not self.arrays:
            return self.whole[int(self.random.integers(len(self.whole)))]
        length = min(self.window, *(sequence.shape[1] for (sequence,) in self.whole))
        parts = []
        for place in self.random.integers(len(self.whole), size=self.batch):
            (sequence,) = self.whole[place]
            start = int(self.random.integers(sequence.shape[1] - length + 1))
            parts.append(sequence[:, start : start + length])
        return (torch.cat(parts),)


class _Distance:
    """The mean squared distance of a module's outputs from its teacher's, each in units of its variance."""

    def __init__(self, module: nn.Module, teacher: nn.Module, whole: Items[Batch]) -> None:
        self.module, self.teacher, self.whole = module, teacher, whole
        with torch.no_grad():
            outputs = [[y.reshape(-1, y.shape[-1]) for y in tensors(teacher(*batch))] for batch in whole]
        together = [torch.cat(parts) for parts in zip(*outputs, strict=True)]
        # An output that never varies has no unit of its own.
        self.variances = [y.var(dim=0, correction=0) + 1e-12 * (1 + y.square().mean(dim=0)) for y in together]

    def __call__(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            wanted = tensors(self.teacher(*batch))
        found = zip(tensors(self.module(*batch)), wanted, self.variances, strict=True)
        return torch.stack([((y - t).square() / variance).mean() for y, t, variance in found]).mean()

    def over_all(self) -> float:
        """Return it over all frames, each sequence whole."""
        with torch.no_grad():
            return float(np.mean([float(self(batch)) for batch in self.whole]))
