"""Encoder-decoders as people write them in PyTorch: forward(source, target so far) gives what comes next."""

from __future__ import annotations

import math

import torch
from torch import nn

SOURCE_WORDS, TARGET_WORDS = 13, 11


class Recurrent(nn.Module):
    """An encoder and a decoder of GRUs or LSTMs; attention: "none", "dot" or "additive" (Bahdanau)."""

    def __init__(self, cell: str = "GRU", attention: str = "none", hidden: int = 12, *, features: int = 0) -> None:
        super().__init__()
        kind = getattr(nn, cell)
        self.words = nn.Linear(features, 8) if features else nn.Embedding(SOURCE_WORDS, 8)
        self.encoder = kind(8, hidden, batch_first=True)
        self.embed = nn.Embedding(TARGET_WORDS, 8)
        self.decoder = kind(8, hidden, batch_first=True)
        self.attention = attention
        self.ask, self.key, self.score = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        self.head = nn.Linear(2 * hidden if attention != "none" else hidden, TARGET_WORDS)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        memory, state = self.encoder(self.words(source))
        y, _ = self.decoder(self.embed(target), state)
        if self.attention == "none":
            return self.head(y)
        if self.attention == "dot":
            scores = self.ask(y) @ memory.transpose(1, 2)
        else:
            scores = self.score(torch.tanh(self.ask(y)[:, :, None] + self.key(memory)[:, None])).squeeze(-1)
        context = torch.softmax(scores, dim=-1) @ memory
        return self.head(torch.cat([y, context], dim=-1))


class Norm(nn.Module):
    """T5's: by the root mean square alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Attention(nn.Module):
    """T5's: no bias, no scale; relative positions by buckets, where it has them."""

    def __init__(self, width: int, heads: int, buckets: int, *, causal: bool) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.heads, self.causal, self.buckets = heads, causal, buckets
        self.relative = nn.Embedding(buckets, heads) if buckets else None

    def forward(self, x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        source = x if memory is None else memory
        q, k, v = (
            part(value).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part, value in ((self.q, x), (self.k, source), (self.v, source))
        )
        scores = q @ k.transpose(2, 3)
        age = torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])[None]
        if self.relative is not None:
            near = age.clamp(min=0) if self.causal else age.abs()
            half = self.buckets // 2
            far = half + (torch.log(near.clamp(min=1) / half) / math.log(64 / half) * half).long()
            scores = scores + self.relative(torch.where(near < half, near, far.clamp(max=self.buckets - 1))).permute(
                2, 0, 1
            )
        if self.causal:
            scores = scores.masked_fill(age < 0, -1e9)
        y = torch.softmax(scores, dim=-1) @ v
        return self.o(y.transpose(1, 2).flatten(2))


class T5(nn.Module):
    """A small T5: pre-norm by the root mean square, relative positions in the first blocks, one embedding."""

    def __init__(self, width: int = 16, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(SOURCE_WORDS, width)
        self.encoder, self.decoder = (
            nn.ModuleList(
                nn.ModuleDict(
                    {
                        "self": Attention(width, heads, 8 if number == 0 else 0, causal=causal),
                        "cross": Attention(width, heads, 0, causal=False),
                        "feed": nn.Sequential(
                            nn.Linear(width, 2 * width, bias=False), nn.ReLU(), nn.Linear(2 * width, width, bias=False)
                        ),
                        **{f"norm{place}": Norm(width) for place in range(3)},
                    }
                )
                for number in range(layers)
            )
            for causal in (False, True)
        )
        self.last = Norm(width)
        self.head = nn.Linear(width, TARGET_WORDS, bias=False)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        memory = self.embed(source)
        for block in self.encoder:
            memory = memory + block["self"](block["norm0"](memory))
            memory = memory + block["feed"](block["norm2"](memory))
        memory, y = self.last(memory), self.embed(target)
        for block in self.decoder:
            y = y + block["self"](block["norm0"](y))
            y = y + block["cross"](block["norm1"](y), memory)
            y = y + block["feed"](block["norm2"](y))
        return self.head(self.last(y))


def tokens(source: int = 9, target: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an example of tokens."""
    return torch.zeros(1, source, dtype=torch.int64), torch.zeros(1, target, dtype=torch.int64)


class Attending(nn.Module):
    """Bahdanau's and Luong's: a loop over the target, whose state asks the memory at every step.

    cell: "GRU" or "LSTM", of the encoder and the decoder. fed: it asks after the step, and the next one is fed what
    came of it. spread: it spells out what broadcasting would do. counting: it adds up how much it has looked where.
    """

    def __init__(
        self,
        cell: str = "GRU",
        attention: str = "additive",
        hidden: int = 12,
        *,
        features: int = 0,
        both: bool = False,
        fed: bool = False,
        spread: bool = False,
        counting: bool = False,
    ) -> None:
        super().__init__()
        self.words = nn.Linear(features, 8) if features else nn.Embedding(SOURCE_WORDS, 8)
        size = hidden // 2 if both else hidden
        self.encoder = getattr(nn, cell)(8, size, batch_first=True, bidirectional=both)
        self.embed = nn.Embedding(TARGET_WORDS, 8)
        self.cell = getattr(nn, f"{cell}Cell")(8 + hidden, hidden)
        self.ask, self.key, self.score = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        self.mix = nn.Linear(2 * hidden, hidden)
        self.head = nn.Linear(hidden, TARGET_WORDS)
        self.attention, self.fed, self.spread, self.counting = attention, fed, spread, counting

    def look(
        self, h: torch.Tensor, memory: torch.Tensor, seen: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is asked for, and where it was."""
        if self.attention == "dot":
            scores = (memory @ self.ask(h)[:, :, None]).squeeze(-1)
        else:
            asked = self.ask(h)[:, None]
            asked = asked.expand(-1, memory.shape[1], -1) if self.spread else asked
            scores = self.score(torch.tanh(asked + self.key(memory))).squeeze(-1)
        weights = torch.softmax(scores if seen is None else scores - seen, dim=-1)
        return (weights[:, None] @ memory).squeeze(1), weights

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        memory, states = self.encoder(self.words(source))
        last = states[0] if isinstance(states, tuple) else states
        h = last.transpose(0, 1).flatten(1)
        c, context = torch.zeros_like(h), torch.zeros_like(h)
        seen = torch.zeros_like(memory[:, :, 0]) if self.counting else None
        rows = []
        for t in range(target.shape[1]):
            if not self.fed:
                context, weights = self.look(h, memory, seen)
                seen = None if seen is None else seen + weights
            x = torch.cat([self.embed(target)[:, t], context], dim=-1)
            if isinstance(self.cell, nn.LSTMCell):
                h, c = self.cell(x, (h, c))
            else:
                h = self.cell(x, h)
            if self.fed:
                context = torch.tanh(self.mix(torch.cat([h, self.look(h, memory, None)[0]], dim=-1)))
            rows.append(context if self.fed else h)
        return self.head(torch.stack(rows, dim=1))
