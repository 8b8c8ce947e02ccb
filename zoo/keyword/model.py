"""The network: dilated causal convolutions over log-mel frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from zoo.keyword.data import BANDS, CLASSES

FIRST_TAPS: Final = 3
TAPS: Final = 5
DILATIONS: Final = (1, 2, 4, 8)
CONTEXT: Final = FIRST_TAPS - 1 + (TAPS - 1) * sum(DILATIONS)
"""Frames before the present one that an output depends on: 62, which is 1.24 s."""

MOST: Final = 4.0
"""Values between layers are held to 0 to MOST: what int8 has to span stays small."""


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

    A word lasts under a second, so a window of the past of 1.24 s holds it whole. Since nothing older reaches an
    output, a stream without end is to this network what a short recording is.
    """

    def __init__(self, width: int = 36, dropout: float = 0.1) -> None:
        super().__init__()
        self.first = Causal(BANDS, width, FIRST_TAPS)
        self.blocks = nn.ModuleList([Causal(width, width, TAPS, dilation) for dilation in DILATIONS])
        self.dropout = nn.Dropout1d(dropout)
        self.out = nn.Conv1d(width, len(CLASSES), 1)

    @classmethod
    def like(cls, weights: Mapping[str, Tensor]) -> Keyword:
        """Build the network that has these weights, as `state_dict` names them; ready to run."""
        module = cls(len(weights["first.norm.weight"]))
        module.load_state_dict(weights)
        return module.eval()

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits, float32[batch, time, classes], of standardized frames, float32[batch, time, BANDS]."""
        x = nn.functional.hardtanh(self.first(frames.transpose(1, 2)), 0.0, MOST)
        for block in self.blocks:
            x = nn.functional.hardtanh(x + self.dropout(block(x)), 0.0, MOST)
        y: Tensor = self.out(x).transpose(1, 2)
        return y


def count(module: nn.Module) -> int:
    """Count the trained numbers."""
    return sum(weights.numel() for weights in module.parameters())
