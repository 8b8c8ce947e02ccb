"""Random small recurrent networks, seeded: what the tests of export are run on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

FEATURES = 5


def seeds(count: int, now: Collection[int]) -> list[Any]:
    """Give the seeds of random cases for parametrize: those in `now`, and more of the same for the long part."""
    return [seed if seed in now else pytest.param(seed, marks=pytest.mark.long) for seed in range(count)]


class Recurrent(nn.Module):
    """Dense front, recurrent layers with optional layer norm and residual, dense head; every step or the last one."""

    def __init__(self, kind: str, layers: int, hidden: int, *, norm: bool, residual: bool, last: bool) -> None:
        super().__init__()
        self.front = nn.Linear(FEATURES, hidden)
        cell = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}[kind]
        self.layers = nn.ModuleList(cell(hidden, hidden, batch_first=True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) if norm else nn.Identity() for _ in range(layers))
        self.head = nn.Sequential(nn.Linear(hidden, 4), nn.ReLU(), nn.Linear(4, 2))
        self.residual, self.last = residual, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.front(x))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = norm(layer(x)[0])
            x = x + y if self.residual else y
        return self.head(x[:, -1] if self.last else x)


def random_module(seed: int, *, norm: bool | None = None, last: bool = False, kind: str | None = None) -> Recurrent:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    module = Recurrent(
        kind or str(rng.choice(["gru", "lstm", "rnn"])),
        int(rng.integers(1, 5)),
        int(rng.integers(3, 17)),
        norm=bool(rng.integers(2)) if norm is None else norm,
        residual=bool(rng.integers(2)),
        last=last,
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    return module.eval()


def gru(seed: int = 0, hidden: int = 12) -> Recurrent:
    torch.manual_seed(seed)
    return Recurrent("gru", 1, hidden, norm=False, residual=False, last=False).eval()


def example() -> torch.Tensor:
    return torch.zeros(1, 20, FEATURES)


def walks(count: int = 4, steps: int = 300, seed: int = 0) -> list[NDArray[np.float32]]:
    """Frames that wander slowly, as standardized sensors do."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, steps, FEATURES))
    slow = np.zeros_like(noise)
    for t in range(1, steps):
        slow[:, t] = 0.98 * slow[:, t - 1] + 0.2 * noise[:, t]
    return [np.asarray(walk, np.float32) for walk in slow]
