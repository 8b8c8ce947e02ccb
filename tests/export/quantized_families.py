"""A model of every family, exported once a session in int8 and w8a16: what the tests of quantization are run on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import models
import numpy as np
import torch
from lowered import stream_of
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))

import family_models

from export.graph import StreamGraph
from export.program import Program
from export.variants import Maker, Variant

VARIANTS = ("int8", "w8a16")
Frames = NDArray[np.float32]


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
    "lstm": (lambda: models.Recurrent("lstm", 2, 6, norm=True, residual=True, last=False), FRAMES),
    "linear attention": (Linear, FRAMES | {"max_steps": 300}),
    "delay": (Ahead, FRAMES),
    "two frames a step": (Strided, FRAMES),
    "window": (lambda: Last("LSTM"), FRAMES | {"window": 6}),
    "restart": (lambda: Last("GRU"), FRAMES | {"restart": 5}),
    "mean head": (MeanHead, FRAMES | {"state": "carry", "max_steps": 400}),
}
SHARED = ("tcn", "depthwise", "conv2d", "se", "attention", "gpt", "embedding", "fused")
FAMILIES = (*OWN, *SHARED)


def source(name: str) -> tuple[Any, dict[str, Any]]:
    """Give a family's module with its example, and the options of its export."""
    torch.manual_seed(1)
    if name in OWN:
        make, options = OWN[name]
        return (make().eval(), models.example()), options
    module, example, options = family_models.made(name)
    return (module, example), options


def frames(stream: StreamGraph, steps: int, seed: int = 3) -> Frames:
    """Return frames of the kind a family takes: float32[steps * frames a step, features]."""
    rng, length = np.random.default_rng(seed), steps * stream.frames_per_step
    parts = [
        rng.integers(0, entry.tokens or 2, (length, entry.features)) if entry.dtype == "int64"
        else models.walks(1, length, seed)[0][:, : entry.features]
        for entry in stream.frames
    ]  # fmt: skip
    return np.concatenate(parts, axis=1).astype(np.float32)


def calibration(stream: StreamGraph) -> list[Frames]:
    """Return what families are calibrated on."""
    return [frames(stream, 150, seed) for seed in range(3)]


@dataclass(frozen=True)
class Family:
    """A family's step, and its quantized variants."""

    stream: StreamGraph
    variants: dict[str, Variant]

    def program(self, variant: str) -> Program:
        """Return a variant's integers."""
        program = self.variants[variant].program
        assert program is not None
        return program


@cache
def family(name: str) -> Family:
    """Quantize a family, calibrated on a few short sequences."""
    given, options = source(name)
    choice = {key: value for key, value in options.items() if key not in {"calibration", "state"}}
    stream = stream_of(given, **choice)
    maker = Maker(stream, calibration(stream))
    return Family(stream, {variant: maker.make(variant) for variant in VARIANTS})
