"""Sizes of float32, int8 and w8a16 in both formats, what they compute in, and their error.

`python -m benchmarks.quantized_sizes` exports networks of common sizes with PyTorch's initial weights, calibrated on
slow walks with noise. The error is rms over at least 10,000 free-running steps, as a share of the output's spread;
sizes are shares of float32's.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import export
from edgeseq import backends
from edgeseq.bundle import Bundle

FEATURES = 32
COLUMNS = ("network", "variant", "backend", "weights", "of float32", "file", "of float32", "integer MACs", "error")


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


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "GRU 256": lambda: Recurrent(nn.GRU, 256, 1),
    "2 x LSTM 256": lambda: Recurrent(nn.LSTM, 256, 2),
    "TCN 8 x 64": lambda: Convolutional(64, 8),
    "Transformer d=64, 2 layers, window 64": lambda: transformer(64, 2),
}


def walks(count: int = 4, length: int = 500) -> list[np.ndarray]:
    """Return frames float32[length, FEATURES]: random walks, with noise."""
    rng = np.random.default_rng(0)
    shape = (count, length, FEATURES)
    return list((0.1 * rng.normal(size=shape).cumsum(axis=1) + rng.normal(size=shape)).astype(np.float32))


def rows(name: str, bundle: Bundle) -> list[tuple[str, ...]]:
    """Return the table's rows for one network."""
    proven = {(entry.variant, entry.backend): entry for entry in bundle.manifest.parity}
    found: list[tuple[str, ...]] = []
    for file in bundle.manifest.files:
        whole = bundle.file("float32", file.format)
        size, most = ((bundle.path / each.path).stat().st_size for each in (file, whole))
        entry = proven[file.variant, backends.reader(file)]
        # The tolerance is the variant's share of the spread: 4 % for int8, 1 % for w8a16.
        share = {"int8": 0.04, "w8a16": 0.01}.get(file.variant)
        error = "" if share is None else f"{share * entry.rms_err / entry.tolerance:.2%}"
        found.append(
            (
                name, file.variant, backends.reader(file), f"{file.weight_bytes:,}",
                f"{file.weight_bytes / whole.weight_bytes:.1%}", f"{size:,}", f"{size / most:.1%}",
                f"{file.integer_macs / (file.integer_macs + file.float_macs):.0%}", error,
            )
        )  # fmt: skip
    return found


def main() -> int:
    """Print the table."""
    table = Table(*COLUMNS)
    for name, made in NETWORKS.items():
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            source = made().eval(), torch.zeros(1, 80, FEATURES)
            bundle = export.export(source, Path(folder) / "b", calibration=walks())
            for row in rows(name, bundle):
                table.add_row(*row)
    Console(width=160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
