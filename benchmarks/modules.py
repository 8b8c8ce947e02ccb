"""The networks that are measured: PyTorch modules of common sizes, with its initial weights, and frames for them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from edgeseq.types import Frames

FEATURES = 32


class Bare(nn.Module):
    """Layers of GRU or LSTM and nothing else: every output of the last one."""

    def __init__(self, kind: type[nn.GRU | nn.LSTM], inputs: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.memory = kind(inputs, hidden, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, time, inputs] to [batch, time, hidden]."""
        result: Tensor = self.memory(x)[0]
        return result


class Recurrent(nn.Module):
    """Layers of GRU or LSTM and a dense head."""

    def __init__(self, kind: type[nn.GRU | nn.LSTM], hidden: int, layers: int) -> None:
        super().__init__()
        self.memory, self.head = kind(FEATURES, hidden, layers, batch_first=True), nn.Linear(hidden, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, time, features] to [batch, time, 3]."""
        result: Tensor = self.head(self.memory(x)[0])
        return result


class Convolutional(nn.Module):
    """A residual causal TCN: kernels of 3, dilations doubling."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.front, self.head = nn.Conv1d(FEATURES, channels, 1), nn.Linear(channels, 3)
        self.dilations = [2 ** (place % 5) for place in range(layers)]
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 3, dilation=step) for step in self.dilations)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, time, features] to [batch, time, 3]."""
        y = self.front(x.transpose(1, 2))
        for layer, step in zip(self.layers, self.dilations, strict=True):
            y = y + torch.relu(layer(nn.functional.pad(y, (2 * step, 0))))
        result: Tensor = self.head(y.transpose(1, 2))
        return result


class Attention(nn.Module):
    """Causal self-attention over the last `window` steps and a feed-forward part, each behind a layer norm."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.forward_part = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, time, width] to the same."""
        batch, time, width = x.shape
        parts = self.project(self.norms[0](x)).chunk(3, -1)
        query, key, value = (y.reshape(batch, time, self.heads, -1).transpose(1, 2) for y in parts)
        at = torch.arange(time)
        hidden = (at[None, :] > at[:, None]) | (at[None, :] <= at[:, None] - self.window)
        scores = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)
        seen = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ value
        x = x + self.out(seen.transpose(1, 2).reshape(batch, time, width))
        result: Tensor = x + self.forward_part(self.norms[1](x))
        return result


def transformer(width: int, layers: int) -> nn.Module:
    """Blocks of attention between dense layers."""
    blocks = [Attention(width, 4, 64) for _ in range(layers)]
    return nn.Sequential(nn.Linear(FEATURES, width), *blocks, nn.Linear(width, 3))


def walks(count: int = 4, length: int = 500, features: int = FEATURES, seed: int = 0) -> list[Frames]:
    """Return frames float32[length, features]: random walks, with noise."""
    rng = np.random.default_rng(seed)
    shape = (count, length, features)
    return list((0.1 * rng.normal(size=shape).cumsum(axis=1) + rng.normal(size=shape)).astype(np.float32))
