"""How small int8 is: at most 30 % of float32's weights, and of its file where that has 500 KB.

What does not shrink is what a row of weights has besides (its scale, that of its bias, the bias, in TFLite a zero point
of 64 bits) and the operations, of which attention has most: a single layer of it, in TFLite, takes 29.97 %.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import family_models
import models
import pytest
import torch
from quantized_families import FRAMES
from torch import nn

import export

SHARE = 0.3
LEAST, MOST = 500_000, 700_000
"""Bytes of the float32 files here: just above what is promised for."""


class Transformer(nn.Module):
    """One block of attention between two dense layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.front, self.head = nn.Linear(models.FEATURES, width), nn.Linear(width, 2)
        self.block = family_models.Attention(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.front(x)))


def recurrent(kind: str, width: int) -> nn.Module:
    return models.Recurrent(kind, 1, width, norm=False, residual=False, last=False)


ATTENTION = {"attention_window": 16}


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: recurrent("gru", 145), {}),
        (lambda: recurrent("lstm", 126), {}),
        (lambda: family_models.Tcn(width=119), {}),
        (lambda: Transformer(126), ATTENTION),
    ],
    ids=["gru", "lstm", "tcn", "transformer"],
)
def test_int8_takes_three_tenths_at_most(
    make: Callable[[], nn.Module], options: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    given: Any = make().eval(), models.example()
    bundle = export.export(given, tmp_path / "b", variants=["float32", "int8"], **FRAMES, **options)
    for kind in ("onnx", "tflite", "npz"):
        whole, small = (bundle.file(variant, kind) for variant in ("float32", "int8"))
        sizes = [(bundle.path / file.path).stat().st_size for file in (whole, small)]
        assert LEAST <= sizes[0] <= MOST
        assert sizes[1] <= SHARE * sizes[0], (kind, sizes)
        assert small.weight_bytes <= SHARE * whole.weight_bytes, kind
