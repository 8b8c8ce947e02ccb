"""Networks that calibration alone quantizes badly, and the task they were trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class Uneven(nn.Module):
    """A relu layer whose channels differ widely in size, as they do where no norm holds them, and a recurrent one."""

    def __init__(self, kind: str, hidden: int = 8) -> None:
        super().__init__()
        self.front = nn.Linear(2, 12)
        self.layer: Any = {"gru": nn.GRU, "lstm": nn.LSTM}[kind](12, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(torch.relu(self.front(x)))[0])

    def spread(self, decades: float) -> None:
        """Scale the channels, by up to so many powers of ten, so that the network gives what it gave."""
        scale = 10 ** torch.empty(12).uniform_(-decades, decades, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            self.front.weight *= scale[:, None]
            self.front.bias *= scale
            self.layer.weight_ih_l0 /= scale


def leaky(count: int, steps: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Frames of two readings, and a leaky sum of what they say together."""
    x = np.random.default_rng(seed).normal(size=(count, steps, 2))
    wanted = np.zeros((count, steps, 1))
    for t in range(steps):
        wanted[:, t, 0] = 0.9 * wanted[:, t - 1, 0] * (t > 0) + 0.3 * np.tanh(x[:, t, 0] * (1 + x[:, t, 1]))
    return x.astype(np.float32), wanted.astype(np.float32)


def trained(kind: str, decades: float = 1.5, rounds: int = 150) -> Uneven:
    """Train one on the leaky sum, then spread its channels."""
    torch.manual_seed(0)
    module = Uneven(kind)
    x, y = map(torch.from_numpy, leaky(64, 60, 0))
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-2)
    for _ in range(rounds):
        optimizer.zero_grad()
        nn.functional.mse_loss(module(x), y).backward()
        optimizer.step()
    module.spread(decades)
    return module.eval()
