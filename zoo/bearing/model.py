"""The network: a dense layer, a GRU, a dense head."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

LONGEST_MEMORY: Final = 30.0
"""Records: the time constant of the slowest units at the start of training."""


class Bearing(nn.Module):
    """Remaining life at every record.

    Each unit's update gate starts open for a time constant drawn log-uniformly from 1 to LONGEST_MEMORY records
    (Tallec & Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, spread over units).
    """

    def __init__(self, features: int, dense: int = 16, hidden: int = 16) -> None:
        super().__init__()
        self.dense = nn.Linear(features, dense)
        self.gru = nn.GRU(dense, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)
        with torch.no_grad():
            memory = torch.exp(torch.empty(hidden).uniform_(0.0, math.log(LONGEST_MEMORY)))
            self.gru.get_parameter("bias_ih_l0")[hidden : 2 * hidden] += torch.log(memory)
            self.out.bias.fill_(0.8)

    def forward(self, frames: Tensor) -> Tensor:
        """Estimate for standardized frames, float32[batch, time, features]: float32[batch, time, 1].

        In units of the cap while it is being trained, in seconds after `scale`.
        """
        history, _ = self.gru(torch.tanh(self.dense(frames)))
        estimate: Tensor = self.out(history)
        return estimate

    def scale(self, unit: float) -> None:
        """Fold the label's unit into the last layer, once, after training."""
        with torch.no_grad():
            self.out.weight.mul_(unit)
            self.out.bias.mul_(unit)
