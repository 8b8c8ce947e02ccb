"""The network: convolutions over time and bands of log-mel frames, then dilated ones over time, all of them causal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from zoo.keyword.data import BANDS, CLASSES

PATCHES: Final = ((12, 5), (20, 3), (32, 3))
"""Of each convolution over time and bands: channels, and bands that it sees; it halves the bands, rounding up."""

PATCH_TAPS: Final = 3
TAPS: Final = 5
DILATIONS: Final = (1, 2, 4, 8)
CONTEXT: Final = (PATCH_TAPS - 1) * len(PATCHES) + (TAPS - 1) * sum(DILATIONS)
"""Frames before the present one that an output depends on: 66, which is 1.32 s."""

MOST: Final = 4.0
"""Values between layers are held to 0 to MOST: what int8 has to span stays small."""


class Patches(nn.Module):
    """A causal convolution over time and bands, float32[batch, channels, time, bands], normalized over the batch.

    What it finds in some bands it finds in others, too: voices differ in where their sounds lie.
    """

    def __init__(self, inputs: int, outputs: int, bands: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, (PATCH_TAPS, bands), stride=(1, 2), padding=(0, bands // 2), bias=False
        )
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        padded = nn.functional.pad(x, (0, 0, PATCH_TAPS - 1, 0))
        y: Tensor = self.norm(self.convolution(padded))
        return y


class Causal(nn.Module):
    """A convolution over time, float32[batch, channels, time], that sees the past only, normalized over the batch."""

    def __init__(self, inputs: int, outputs: int, taps: int, dilation: int = 1) -> None:
        super().__init__()
        self.past = (taps - 1) * dilation
        self.convolution = nn.Conv1d(inputs, outputs, taps, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        padded = nn.functional.pad(x, (self.past, 0))
        y: Tensor = self.norm(self.convolution(padded))
        return y


class Keyword(nn.Module):
    """How likely each class is to have just been said, at every frame, as logits.

    A word lasts under a second, so a window of the past of 1.32 s holds it whole. Since nothing older reaches an
    output, a stream without end is to this network what a short recording is.
    """

    def __init__(self, width: int = 36, dropout: float = 0.05) -> None:
        super().__init__()
        self.patches = nn.ModuleList()
        channels, bands = 1, BANDS
        for outputs, seen in PATCHES:
            self.patches.append(Patches(channels, outputs, seen))
            channels, bands = outputs, (bands + 1) // 2
        self.mix = Causal(channels * bands, width, 1)
        self.blocks = nn.ModuleList([Causal(width, width, TAPS, dilation) for dilation in DILATIONS])
        self.dropout = nn.Dropout1d(dropout)
        self.out = nn.Conv1d(width, len(CLASSES), 1)

    @classmethod
    def like(cls, weights: Mapping[str, Tensor]) -> Keyword:
        """Build the network that has these weights, as `state_dict` names them; ready to run."""
        module = cls(len(weights["mix.norm.weight"]))
        module.load_state_dict(weights)
        return module.eval()

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits, float32[batch, time, classes], of standardized frames, float32[batch, time, BANDS]."""
        x = frames[:, None]
        for patches in self.patches:
            x = held(patches(x))
        x = held(self.mix(x.transpose(2, 3).flatten(1, 2)))
        for block in self.blocks:
            x = held(x + self.dropout(block(x)))
        y: Tensor = self.out(x).transpose(1, 2)
        return y


def held(x: Tensor) -> Tensor:
    """Return what a layer gives to the next: values from 0 to MOST."""
    return nn.functional.hardtanh(x, 0.0, MOST)


def count(module: nn.Module) -> int:
    """Count the trained numbers."""
    return sum(weights.numel() for weights in module.parameters())
