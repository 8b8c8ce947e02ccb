"""Frames laid side by side by a Reshape: a step takes as many frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import torch
from lowered import equals_its_step
from streaming import equals_the_original
from test_front import Late
from test_ops import T, model
from torch import Tensor, nn

import edgeseq
import export
from export.errors import ExportError

LINES = [
    "s = Reshape(x, pair); y = Tanh(s)",
    "s = Reshape(x, triple); m = MatMul(s, matrix); y = ReduceMax(m, axes=[2], keepdims=0)",
    "s = Reshape(x, triple); m = MatMul(s, matrix); y = ReduceMax(m, axes=[1], keepdims=0)",
    T + "s = Reshape(t, split); y = ReduceSum(s, axis3, keepdims=0)",
]


@pytest.mark.parametrize("lines", LINES)
def test_frames_side_by_side_are_a_step(lines: str, tmp_path: Path) -> None:
    sequence, stream = equals_the_original(model(tmp_path / "m.onnx", lines, 17), tmp_path, 60)
    assert stream.frames_per_step == sequence.groups > 1
    equals_its_step(stream)


class Stacked(nn.Module):
    """Two steps side by side, of what some layers give, into a recurrence."""

    def __init__(self, before: nn.Module, width: int, *, last: bool = False) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.before, self.last = before, last
        self.gru, self.head = nn.GRU(2 * width, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        y = self.gru(y.reshape(y.shape[0], y.shape[1] // 2, 2 * y.shape[2]))[0]
        return self.head(y[:, -1] if self.last else y)


class Remembering(nn.Module):
    """A recurrence at the frames' own rate."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(models.FEATURES, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0]


class Trim(nn.Module):
    """Leaves off what fills no pair."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : x.shape[1] // 2 * 2]


STACKED: dict[str, Any] = {
    "frames": lambda: Stacked(nn.Identity(), models.FEATURES),
    "the last": lambda: Stacked(Remembering(), 4, last=True),
    "what remembers": lambda: Stacked(Remembering(), 4),
    "what is left off": lambda: Stacked(nn.Sequential(Remembering(), Trim()), 4),
    "what is left off of what comes late": lambda: Stacked(nn.Sequential(Late(1), Trim()), 4),
    "what comes late": lambda: Stacked(Late(1), 4),
    "what comes late by several": lambda: Stacked(Late(2), 4),
    "stacked": lambda: Stacked(Stacked(nn.Identity(), models.FEATURES), 2),
}


@pytest.mark.parametrize("name", STACKED)
def test_what_is_stacked_may_come_late_or_be_stacked(name: str, tmp_path: Path) -> None:
    sequence, stream = equals_the_original((STACKED[name]().eval(), models.example()), tmp_path, 80)
    assert stream.frames_per_step == (2 if "left off" in name else sequence.groups)
    equals_its_step(stream)


def test_an_unfinished_group_waits_and_is_told(tmp_path: Path) -> None:
    options: dict[str, Any] = {"calibration": [frames[:101] for frames in models.walks(2)], "variants": ["float32"]}
    module = STACKED["what remembers"]().eval()
    bundle = export.export((module, models.example()), tmp_path / "b", **options)
    assert "takes frames in groups of 2" in (bundle.path / "report.md").read_text()
    step, x = edgeseq.load(bundle), models.walks(1, 9, seed=4)[0]
    given = np.concatenate([step.run(x[:3]), step.run(x[3:])])
    with torch.no_grad():
        expected = module(torch.from_numpy(x[None, :8]))[0].numpy()
    np.testing.assert_allclose(given, expected, atol=1e-5)
    assert len(step.flush()) == 0


def test_windows_of_whole_groups(tmp_path: Path) -> None:
    source, options = (STACKED["the last"]().eval(), models.example()), {"calibration": models.walks(1, 120)}
    with pytest.raises(ExportError, match="--window 5: the model takes frames in groups of 2"):
        export.export(source, tmp_path / "b", window=5, **options)
    with pytest.raises(ExportError, match="--restart is for models that give something for every frame"):
        export.export(source, tmp_path / "b", restart=6, **options)
