"""Networks of about 500 kB, one of each family: what is stored smaller must show on disk."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional

FEATURES, WORDS, LENGTH = 32, 200, 64


class Recurrent(nn.Module):
    def __init__(self, kind: str, hidden: int) -> None:
        super().__init__()
        self.layer, self.head = getattr(nn, kind)(FEATURES, hidden, batch_first=True), nn.Linear(hidden, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0])


class Temporal(nn.Module):
    """Causal convolutions, ever further apart."""

    def __init__(self, width: int = 112) -> None:
        super().__init__()
        sizes = [FEATURES, *[width] * 4]
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, 3, dilation=2**place)
            for place, (before, after) in enumerate(itertools.pairwise(sizes))
        )
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2)
        for place, layer in enumerate(self.layers):
            x = torch.relu(layer(functional.pad(x, (2 * 2**place, 0))))
        return self.head(x.transpose(1, 2))


class Spectral(nn.Module):
    """Convolutions over time and frequency."""

    def __init__(self, width: int = 120) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, width, 3, stride=(1, 4)), nn.Conv2d(width, width, 3, padding=(0, 1))
        self.head = nn.Linear(8 * width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(functional.pad(x[:, None], (1, 1, 2, 0))))
        x = torch.relu(self.second(functional.pad(x, (0, 0, 2, 0))))
        return self.head(x.permute(0, 2, 1, 3).flatten(2))


class Words(nn.Module):
    """A block of GPT, its words' table read twice: to begin, and to say which word comes next."""

    def __init__(self, width: int = 96, heads: int = 4) -> None:
        super().__init__()
        self.words, self.places, self.heads = nn.Embedding(WORDS, width), nn.Embedding(LENGTH, width), heads
        self.ask, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.head = nn.Linear(width, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        x = self.words(tokens) + self.places(torch.arange(length))
        parts = self.ask(self.norms[0](x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5 + torch.full((length, length), float("-inf")).triu(1)
        x = x + self.out((torch.softmax(scores, -1) @ v).transpose(1, 2).flatten(2))
        x = x + self.feed(self.norms[1](x))
        return self.head(self.norms[2](x))


def frames(length: int = 20) -> torch.Tensor:
    return torch.zeros(1, length, FEATURES)
