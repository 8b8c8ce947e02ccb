"""Transposed convolutions: over the bins of each frame they stretch, over time they only reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from models import FEATURES, example
from streaming import equals_the_original
from torch import nn
from torch.nn import functional


class Stretched(nn.Module):
    """One over time and bins, of random form, behind a convolution."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        self.front = nn.Conv2d(1, 4, (2, 3), padding=(1, 0))
        stride, dilation = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        kernel, over = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        reach = (over - 1) * dilation
        self.up = nn.ConvTranspose2d(
            4, 6, (over, kernel), stride=(1, stride), groups=int(rng.choice([1, 2])),
            padding=(int(rng.integers(0, reach // 2 + 1)), int(rng.integers(0, (kernel + 1) // 2))),
            output_padding=(0, int(rng.integers(0, stride))), dilation=(dilation, 1), bias=bool(rng.integers(2)),
        )  # fmt: skip
        self.early = reach - 2 * self.up.padding[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(torch.relu(self.front(x.unsqueeze(1))[:, :, :-1]))
        return y[:, :, : x.shape[1]].permute(0, 2, 1, 3).flatten(2)


@pytest.mark.parametrize("seed", range(12))
def test_a_random_one_streams(seed: int, tmp_path: Path) -> None:
    module = Stretched(seed)
    _, stream = equals_the_original((module, example()), tmp_path, 60)
    assert all(node.op_type != "ConvTranspose" for node in stream.graph)


class Enhancer(nn.Module):
    """Encoder, a recurrence within each frame and one over time, decoder with the encoder's outputs beside it.

    After Le et al., "DPCRN: Dual-Path Convolution Recurrent Network for Single Channel Speech Enhancement" (2021).
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down, self.up = nn.Conv2d(1, 6, (2, 3), stride=(1, 2)), nn.ConvTranspose2d(12, 1, (2, 3), stride=(1, 2))
        self.within = nn.GRU(6, 3, batch_first=True, bidirectional=True)
        self.over, self.norm = nn.LSTM(6, 6, batch_first=True), nn.LayerNorm(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down = functional.elu(self.down(functional.pad(x.unsqueeze(1), (0, 0, 1, 0))))
        batch, channels, steps, bins = down.shape
        y = down.permute(0, 2, 3, 1)
        y = y + self.norm(self.within(y.reshape(-1, bins, channels))[0].reshape(y.shape))
        along = self.over(y.permute(0, 2, 1, 3).reshape(batch * bins, steps, channels))[0]
        y = y + along.reshape(batch, bins, steps, channels).permute(0, 2, 1, 3)
        up = self.up(torch.cat([y.permute(0, 3, 1, 2), down], 1))[:, :, :-1]
        return torch.sigmoid(up.squeeze(1)) * x


def test_a_dual_path_network_streams(tmp_path: Path) -> None:
    equals_the_original((Enhancer(), torch.zeros(1, 20, FEATURES)), tmp_path)
