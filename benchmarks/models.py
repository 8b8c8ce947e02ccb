"""The bundles that are measured: exported once with seeded weights, then read back from where they were kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import export
from benchmarks.modules import Bare, Convolutional, transformer, walks
from edgeseq import bundle as bundles
from edgeseq.bundle import Bundle
from edgeseq.types import Frames

VARIANTS = ("float32", "int8", "w8a16")
GRUS = {f"GRU {inputs}/{hidden}": (inputs, hidden) for inputs, hidden in ((16, 32), (32, 64), (40, 128), (64, 256))}
LSTMS, TRANSFORMER, TCN = "2 x LSTM 256", "Transformer d=64, 2 layers, window 64", "TCN 8 layers x 32 channels"
NETWORKS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "GRU 16/32": (16, lambda: Bare(nn.GRU, 16, 32)),
    "GRU 32/64": (32, lambda: Bare(nn.GRU, 32, 64)),
    "GRU 40/128": (40, lambda: Bare(nn.GRU, 40, 128)),
    "GRU 64/256": (64, lambda: Bare(nn.GRU, 64, 256)),
    LSTMS: (64, lambda: Bare(nn.LSTM, 64, 256, 2)),
    TRANSFORMER: (32, lambda: transformer(64, 2)),
    TCN: (32, lambda: Convolutional(32, 8)),
}
"""Name -> inputs of a step, and how the network is made."""


def module(name: str) -> nn.Module:
    """Return a network with its weights, the same ones every time."""
    torch.manual_seed(0)
    return NETWORKS[name][1]().eval()


def gru(name: str) -> nn.GRU:
    """Return the only layer of a network that is nothing but a GRU."""
    made = module(name)
    if not isinstance(made, Bare) or not isinstance(made.memory, nn.GRU):
        raise TypeError(f"{name} is no bare GRU.")
    return made.memory


def rows(name: str, count: int) -> Frames:
    """Return frames for a network, float32[count, inputs]: others than it was calibrated on."""
    return walks(1, count, NETWORKS[name][0], seed=1)[0]


def bundle(name: str, folder: Path) -> Bundle:
    """Return a network's bundle, exported to `folder` unless it lies there already."""
    inputs, _ = NETWORKS[name]
    path = folder / "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    if path.exists():
        return bundles.read(path)
    source = module(name), torch.zeros(1, 80, inputs)
    return export.export(source, path, calibration=walks(features=inputs), variants=VARIANTS)
