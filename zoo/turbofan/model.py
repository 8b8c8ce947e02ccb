"""The network: a dense layer, a GRU whose units forget at many speeds, a dense head."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from zoo.turbofan.data import CAP

LONGEST_MEMORY: Final = 100.0
"""Cycles: the time constant of the slowest units at the start of training."""


class Turbofan(nn.Module):
    """Remaining useful life at every cycle.

    Wear is slow and sensors are noisy, so good estimates average over tens of cycles. A GRU initialized as usual
    forgets within two; here each unit's update gate starts open for a time constant drawn log-uniformly from 1 to
    LONGEST_MEMORY cycles (the "chrono" initialization of Tallec & Ollivier, "Can recurrent neural networks warp time?",
    ICLR 2018, spread over units).
    """

    def __init__(self, features: int, dense: int = 32, hidden: int = 64, head: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.dense = nn.Linear(features, dense)
        self.gru = nn.GRU(dense, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, head)
        self.out = nn.Linear(head, 1)
        with torch.no_grad():
            memory = torch.exp(torch.empty(hidden).uniform_(0.0, math.log(LONGEST_MEMORY)))
            self.gru.get_parameter("bias_ih_l0")[hidden : 2 * hidden] += torch.log(memory)
            self.out.bias.fill_(0.65)

    @classmethod
    def like(cls, weights: Mapping[str, Tensor]) -> Turbofan:
        """Build the network that has these weights, as `state_dict` names them; ready to run."""
        dense, features = weights["dense.weight"].shape
        head, hidden = weights["head.weight"].shape
        module = cls(features, dense, hidden, head)
        module.load_state_dict(weights)
        return module.eval()

    def forward(self, frames: Tensor) -> Tensor:
        """Estimate for standardized frames, float32[batch, time, features]: float32[batch, time, 1].

        In units of CAP cycles while it is being trained, in cycles after `to_cycles`.
        """
        history, _ = self.gru(torch.tanh(self.dense(frames)))
        estimate: Tensor = self.out(torch.relu(self.head(self.dropout(history))))
        return estimate

    def to_cycles(self) -> None:
        """Fold the label's unit into the last layer, once, after training."""
        with torch.no_grad():
            self.out.weight.mul_(CAP)
            self.out.bias.mul_(CAP)


def count(module: nn.Module) -> int:
    """Count the trained numbers."""
    return sum(weights.numel() for weights in module.parameters())
