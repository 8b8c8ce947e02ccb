"""Squeeze-excite and heads over time in convolutional networks: what is pooled decides whether it streams."""

from __future__ import annotations

from pathlib import Path

import models
import pytest
import torch
from streaming import equals_the_original, rewritten
from torch import nn

from export.errors import ExportError

CHANNELS = 4


class SqueezeExcite(nn.Module):
    """A depthwise-separable convolution over time and features whose channels are weighted by what pooling finds."""

    def __init__(self, pooled: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, CHANNELS, (3, 3), padding=(2, 1))
        self.depth = nn.Conv2d(CHANNELS, CHANNELS, (3, 3), padding=(2, 1), groups=CHANNELS)
        self.point = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.down, self.up = nn.Conv2d(CHANNELS, 2, 1), nn.Conv2d(2, CHANNELS, 1)
        self.head = nn.Linear(CHANNELS * models.FEATURES, 2)
        self.pooled = pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.conv(x.unsqueeze(1))[:, :, :-2])
        y = torch.relu(self.point(self.depth(y)[:, :, :-2]))
        if self.pooled == "pool":
            weight = nn.functional.adaptive_avg_pool2d(y, 1)
        elif self.pooled == "mean":
            weight = y.mean((2, 3), keepdim=True)
        else:
            weight = y.mean(3, keepdim=True)
        y = y * torch.sigmoid(self.up(torch.relu(self.down(weight))))
        return self.head(y.permute(0, 2, 1, 3).flatten(2))


@pytest.mark.parametrize("pooled", ["pool", "mean"])
def test_pooling_over_time_is_refused(pooled: str) -> None:
    says = r"node '.*' \((GlobalAveragePool|ReduceMean)\).*into the future.*another function.*features of one step"
    with pytest.raises(ExportError, match=says):
        rewritten((SqueezeExcite(pooled), models.example()), max_steps=100)


def test_pooling_over_features_alone_runs(tmp_path: Path) -> None:
    equals_the_original((SqueezeExcite("features"), models.example()), tmp_path)


class Head(nn.Module):
    """A keyword spotter: causal convolutions, all time pooled, a dense layer."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.pool, self.dense = nn.Conv2d(1, CHANNELS, 3, padding=(2, 1)), pool, nn.Linear(CHANNELS, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.conv(x.unsqueeze(1))[:, :, :-2])
        return self.dense(self.pool(y).flatten(1))


@pytest.mark.parametrize(
    ("pool", "max_steps"), [(nn.AdaptiveAvgPool2d(1), 200), (nn.AdaptiveMaxPool2d(1), None)], ids=["mean", "maximum"]
)
def test_a_head_over_time_and_features_runs_along(pool: nn.Module, max_steps: int | None, tmp_path: Path) -> None:
    equals_the_original((Head(pool), models.example()), tmp_path, max_steps=max_steps)


class PerFrame(nn.Module):
    """A convolution over each frame's own image, time in the place of the batch, then memory."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.pool = nn.Conv2d(1, 3, 3, padding=1), nn.MaxPool2d(2)
        self.gru = nn.GRU(12, 6, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pool(torch.relu(self.conv(x.reshape(-1, 1, 4, 4))))
        return self.gru(y.reshape(x.shape[0], -1, 12))[0]


def test_convolutions_within_a_frame_are_pointwise(tmp_path: Path) -> None:
    equals_the_original((PerFrame(), torch.zeros(1, 20, 16)), tmp_path)
