"""Small models of the families beyond recurrent layers: what litert_cases.py exports."""

from __future__ import annotations

from typing import Any

import models
import torch
from torch import nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional

WORDS = 13


class Tcn(nn.Module):
    """Causal dilated convolutions with residuals and batch norms."""

    def __init__(self, groups: int = 1, width: int = 8) -> None:
        super().__init__()
        self.front, self.head = nn.Conv1d(models.FEATURES, width, 1), nn.Conv1d(width, 2, 1)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=d, groups=groups) for d in (1, 2, 4))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in self.layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.front(x.transpose(1, 2))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = y + torch.relu(norm(layer(functional.pad(y, (2 * layer.dilation[0], 0)))))
        return self.head(y).transpose(1, 2)


class Conv2d(nn.Module):
    """Convolutions over time and features, plain, padded, with strides and one a channel; then a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 4, 3, padding=(0, 1))
        self.b = nn.Conv2d(4, 8, 3, stride=(1, 2), padding=(0, 1), groups=4)
        self.c = nn.Conv2d(8, 4, (2, 2))
        self.memory, self.head = nn.GRU(8, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x[:, None]
        for layer, before in ((self.a, 2), (self.b, 2), (self.c, 1)):
            y = torch.relu(layer(functional.pad(y, (0, 0, before, 0))))
        return self.head(self.memory(y.transpose(1, 2).flatten(2))[0])


class Excited(nn.Module):
    """Squeeze and excitation: a gate a channel, from the channels' means over the features."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=(0, 1)), nn.Conv2d(6, 6, 3, padding=(0, 1))
        self.squeeze, self.excite = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)
        self.head = nn.Linear(6 * models.FEATURES, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.a(functional.pad(x[:, None], (0, 0, 2, 0))))
        y = self.b(functional.pad(y, (0, 0, 2, 0)))
        y = y * torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean(-1, keepdim=True)))))
        return self.head(y.transpose(1, 2).flatten(2))


class Attention(nn.Module):
    """A causal self-attention block: norm, heads, softmax, residual, and a feed-forward part with GELU."""

    def __init__(self, features: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads, self.size = heads, features // heads
        self.taken, self.mix = nn.Linear(features, 3 * features), nn.Linear(features, features)
        self.norms = nn.ModuleList(nn.LayerNorm(features) for _ in range(2))
        self.up, self.down = nn.Linear(features, 2 * features), nn.Linear(2 * features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.taken(self.norms[0](x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, self.size)).transpose(1, 2) for part in parts)
        scores = q @ k.transpose(-1, -2) / self.size**0.5
        later = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
        weights = torch.softmax(scores.masked_fill(later, -torch.inf), -1)
        x = x + self.mix((weights @ v).transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norms[1](x))))


class Rotary(nn.Module):
    """Attention whose queries and keys are turned by their positions, which are computed (Su et al., "RoFormer")."""

    def __init__(self, features: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads, self.size = heads, features // heads
        self.front, self.taken = nn.Linear(models.FEATURES, features), nn.Linear(features, 3 * features)
        self.mix, self.head = nn.Linear(features, features), nn.Linear(features, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.front(x))
        parts = self.taken(x).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, self.size)).transpose(1, 2) for part in parts)
        half = self.size // 2
        angle = torch.arange(x.shape[1], dtype=torch.float32)[:, None] * 10.0 ** -torch.arange(half)

        def turned(z: torch.Tensor) -> torch.Tensor:
            return z * angle.cos().repeat(1, 2) + torch.cat([-z[..., half:], z[..., :half]], -1) * angle.sin().repeat(
                1, 2
            )

        later = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
        scores = turned(q) @ turned(k).transpose(-1, -2) / self.size**0.5
        weights = torch.softmax(scores.masked_fill(later, -torch.inf), -1)
        return self.head(x + self.mix((weights @ v).transpose(1, 2).flatten(2)))


class Attentive(nn.Module):
    """Measured values through attention."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.block, self.head = nn.Linear(models.FEATURES, 12), Attention(), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.front(x)))


class Gpt(nn.Module):
    """Tokens through two blocks, to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 12)
        self.blocks = nn.Sequential(Attention(), Attention())
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.table(tokens))))


class Words(nn.Module):
    """Tokens through a table into a recurrent layer with a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.memory = nn.Embedding(WORDS, 6), nn.LSTM(6, 8, batch_first=True)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.memory(self.table(tokens))[0]))


class Fused(nn.Module):
    """An operating mode, as a token, beside measured values; two outputs; a convolution that looks ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.mode, self.memory = nn.Embedding(4, 3), nn.GRU(3 + models.FEATURES, 6, batch_first=True)
        self.ahead = nn.Conv1d(6, 6, 3, padding=1)
        self.head, self.early = nn.Linear(12, 2), nn.Linear(6, 1)

    def forward(self, mode: torch.Tensor, values: torch.Tensor) -> Any:
        h = self.memory(torch.cat([self.mode(mode), values], -1))[0]
        c = functional.elu(self.ahead(h.transpose(1, 2))).transpose(1, 2)
        return self.head(torch.cat([h, c], -1)), self.early(torch.sin(h))


class StateSpace(nn.Module):
    """A diagonal state-space layer as PyTorch's own scan, its inputs passed on as well (Gu et al., "S4D")."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.rand(width))
        self.enter, self.leave, self.past = (
            nn.Linear(models.FEATURES, width),
            nn.Linear(width, 2),
            nn.Linear(models.FEATURES, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        decay, u = torch.sigmoid(self.decay), self.enter(x)

        def turn(h: torch.Tensor, entering: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = decay * h + entering
            return h, h.clone()

        _, states = scan(turn, u.new_zeros(u.shape[0], u.shape[2]), u, dim=1)
        return self.leave(states) + self.past(x)


class Several(nn.Module):
    """Two inputs of measured values that share their times."""

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.beside, self.head = nn.GRU(3, 8, batch_first=True), nn.Linear(2, 8), nn.Linear(16, 2)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.memory(a)[0], torch.tanh(self.beside(b))], -1))


class Stored(nn.Module):
    """A table, convolutions of both kinds and a recurrent layer, wide enough for their weights to be stored smaller."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.table, self.memory = nn.Embedding(WORDS, width), nn.GRU(width, width, batch_first=True)
        self.deep, self.wide = nn.Conv1d(width, width, 9, groups=width), nn.Conv1d(width, width, 3, groups=2)
        self.head = nn.Linear(width, WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        y = self.memory(self.table(tokens))[0].transpose(1, 2)
        for layer in (self.deep, self.wide):
            y = y + torch.tanh(layer(functional.pad(y, (layer.kernel_size[0] - 1, 0))))
        return self.head(y.transpose(1, 2))


def made(family: str) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Give a family's module, its example and the options of its export."""
    tokens, values = torch.zeros(1, 20, dtype=torch.int64), models.example()
    frames = {"calibration": models.walks()}
    found: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "tcn": (Tcn, values, frames),
        "depthwise": (lambda: Tcn(groups=8), values, frames),
        "grouped": (lambda: Tcn(groups=2), values, frames),
        "conv2d": (Conv2d, values, frames),
        "se": (Excited, values, frames),
        "attention": (Attentive, values, frames | {"attention_window": 12}),
        "rotary": (Rotary, values, frames | {"attention_window": 12}),
        "gpt": (Gpt, tokens, {"attention_window": 12}),
        "embedding": (Words, tokens, {}),
        "state space": (StateSpace, values, frames),
        "several": (Several, (torch.zeros(1, 20, 3), torch.zeros(1, 20, 2)), frames),
        "fused": (Fused, (tokens, values), {}),
        "stored": (Stored, tokens, {}),
    }
    make, example, options = found[family]
    module = make().eval()
    with torch.no_grad():
        for parameter in module.parameters():  # as PyTorch draws them, little is left of a frame behind many layers
            parameter.mul_(1.5)
    return module, example, options
