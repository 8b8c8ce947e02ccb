"""A model of every family, exported once a session in int8 and w8a16: what the tests of quantization are run on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import models
import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))

import family_models

import export
from edgeseq import bundle as bundles
from export import tflite
from export.program import Program
from export.variants import Variant

VARIANTS = ("int8", "w8a16")
WORDS = family_models.WORDS


class Last(nn.Module):
    """A recurrent layer whose last step alone is read, as models of windows have it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.memory, self.head = getattr(nn, kind)(models.FEATURES, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.memory(x)[0][:, -1])


class Linear(nn.Module):
    """Linear attention with a decay (Katharopoulos et al., "Transformers are RNNs"), normalized by its keys' sum."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.taken, self.head = nn.Linear(models.FEATURES, 3 * width), nn.Linear(width, 2)
        self.memory = nn.GRU(width, width, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.taken(x).chunk(3, -1)
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        outer = k.unsqueeze(-1) * v.unsqueeze(-2)
        total = (q * torch.cumsum(k, 1)).sum(-1, keepdim=True)
        y = (q.unsqueeze(-2) @ torch.cumsum(outer, 1)).squeeze(-2) / total
        return self.head(self.memory(y)[0])


class Ahead(nn.Module):
    """Convolutions that look ahead, so that the outputs come late, beside one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(models.FEATURES, 6, 5, padding=2), nn.Conv1d(6, 6, 3, padding=1)
        self.front, self.head = nn.Conv1d(models.FEATURES, 6, 1), nn.Conv1d(12, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2)
        y = torch.relu(self.b(torch.relu(self.a(x))))
        return self.head(torch.cat([y, torch.tanh(self.front(x))], 1)).transpose(1, 2)


class Strided(nn.Module):
    """Two frames a step, pooled, into a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.memory, self.head = (
            nn.Conv1d(models.FEATURES, 6, 3), nn.LSTM(6, 6, batch_first=True), nn.Linear(6, 2),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.conv(functional.pad(x.transpose(1, 2), (2, 0))))
        return self.head(self.memory(functional.max_pool1d(y, 2).transpose(1, 2))[0])


class MeanHead(nn.Module):
    """The mean over all steps so far, through a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.head = nn.Linear(models.FEATURES, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.front(x)).mean(1))


FRAMES: dict[str, Any] = {"calibration": models.walks()}
OWN: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "rnn": (lambda: models.random_module(4, norm=False, kind="rnn"), FRAMES),
    "gru": (models.gru, FRAMES),
    "lstm": (lambda: models.random_module(2, norm=True, kind="lstm"), FRAMES),
    "linear attention": (Linear, FRAMES),
    "delay": (Ahead, FRAMES),
    "two frames a step": (Strided, FRAMES),
    "window": (lambda: Last("LSTM"), FRAMES | {"window": 6}),
    "restart": (lambda: Last("GRU"), FRAMES | {"restart": 5}),
    "mean head": (MeanHead, FRAMES | {"state": "carry", "max_steps": 400}),
}
SHARED = ("tcn", "depthwise", "conv2d", "se", "attention", "gpt", "embedding", "fused")
FAMILIES = (*OWN, *SHARED)


@dataclass(frozen=True)
class Made:
    """A family's bundle, and its quantized variants as they were made."""

    bundle: bundles.Bundle
    variants: dict[str, Variant]

    def program(self, variant: str) -> Program:
        """Return a variant's integers."""
        program = self.variants[variant].program
        assert program is not None
        return program

    def frames(self, steps: int, seed: int = 3) -> Any:
        """Return frames of the kind the family takes: float32[steps * frames a step, features]."""
        graph, rng = self.bundle.graph(), np.random.default_rng(seed)
        length = steps * graph.frames_per_step
        parts = [
            rng.integers(0, tensor.tokens or 2, (length, width)) if tensor.dtype == "int64"
            else models.walks(1, length, seed)[0][:, :width]
            for tensor, width in zip(graph.inputs, graph.widths, strict=True)
        ]  # fmt: skip
        return np.concatenate(parts, axis=1).astype(np.float32)


def exported(source: Any, folder: Path, **options: Any) -> Made:
    """Export a model without TFLite, which has its own tests; keep the variants."""
    kept: list[Variant] = []

    def keep(_: Any, made: Any, *__: Any) -> list[Any]:
        kept.extend(made)
        return []

    with mock.patch.object(tflite, "write", keep):
        bundle = export.export(source, folder, **({"variants": VARIANTS} | options))
    return Made(bundle, {variant.name: variant for variant in kept})


def family(name: str, folder: Path) -> Made:
    """Export a family."""
    torch.manual_seed(1)
    if name in OWN:
        make, options = OWN[name]
        source = make().eval(), models.example()
    else:
        module, example, options = family_models.made(name)
        source = module, example
    return exported(source, folder, **options)
