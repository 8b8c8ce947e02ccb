"""Causal attention whose mask is a triangle of a fixed size that the model holds: added, multiplied, or filled by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import models
import pytest
import torch
from lowered import equals_its_step
from streaming import equals_the_original
from torch import Tensor, nn

SIZE = 64
Masked = Callable[["Triangle", Tensor], Tensor]


class Triangle(nn.Module):
    """Attention that cuts its mask out of a buffer."""

    def __init__(self, weigh: Masked) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.taken, self.weigh = nn.Linear(models.FEATURES, 12), weigh
        self.register_buffer("ones", torch.tril(torch.ones(SIZE, SIZE)))
        self.register_buffer("far", torch.triu(torch.full((SIZE, SIZE), -1e9), 1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.taken(x).chunk(3, -1)
        return self.weigh(self, q @ k.transpose(1, 2) / 2) @ v


def filled(self: Triangle, scores: Tensor) -> Tensor:
    steps = scores.shape[1]
    return torch.softmax(scores.masked_fill(self.ones[:steps, :steps] == 0, -torch.inf), -1)


def added(self: Triangle, scores: Tensor) -> Tensor:
    steps = scores.shape[1]
    return torch.softmax(scores + self.far[:steps, :steps], -1)


def both(self: Triangle, scores: Tensor) -> Tensor:
    steps = scores.shape[1]
    ones = self.ones[:steps, :steps]
    return torch.softmax(scores * ones - 1e10 * (1 - ones), -1)


def unnormalized(self: Triangle, scores: Tensor) -> Tensor:
    steps = scores.shape[1]
    return scores * self.ones[:steps, :steps]


def afterwards(self: Triangle, scores: Tensor) -> Tensor:
    steps = scores.shape[1]
    weights = torch.exp(torch.tanh(scores)) * self.ones[:steps, :steps]
    return weights / weights.sum(-1, keepdim=True)


@pytest.mark.parametrize("weigh", [filled, added, both, unnormalized, afterwards])
def test_a_triangle_of_a_fixed_size_is_a_causal_mask(weigh: Masked, tmp_path: Path) -> None:
    source = Triangle(weigh).eval(), models.example()
    _, stream = equals_the_original(source, tmp_path, 60, max_steps=60)
    assert stream.limited
    equals_its_step(stream)
