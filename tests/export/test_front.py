"""Learned rows in front of a sequence: class tokens, prefixes; with all that may run behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import torch
from lowered import equals_its_step
from streaming import equals_the_original, opened, rewritten, stepping
from test_ops import model
from torch import Tensor, nn

import edgeseq
import export
from export.choices import Choice
from export.errors import ExportError

WIDTH = 4


class Front(nn.Module):
    """Rows in front of what a dense layer makes of the frames, and something behind them."""

    def __init__(self, behind: Any, rows: int = 3) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.rows, self.behind = nn.Parameter(torch.randn(1, rows, WIDTH)), behind
        self.front, self.taken = nn.Linear(models.FEATURES, WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.gru, self.lstm = nn.GRU(WIDTH, WIDTH, batch_first=True), nn.LSTM(WIDTH, WIDTH, 2, batch_first=True)
        self.conv, self.table = nn.Conv1d(WIDTH, WIDTH, 3), nn.Parameter(torch.randn(1, 80, WIDTH) * 0.3)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.rows.expand(x.shape[0], -1, -1), self.front(x)], 1)
        return self.head(self.behind(self, y))


class Late(nn.Module):
    """A convolution that looks ahead."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(models.FEATURES, WIDTH, 3, padding=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


def attend(self: Front, x: Tensor) -> Tensor:
    q, k, v = self.taken(x).chunk(3, -1)
    t = torch.arange(x.shape[1])
    scores = (q @ k.transpose(1, 2)).masked_fill(t[None] > t[:, None], -torch.inf)
    return torch.softmax(scores / WIDTH**0.5, -1) @ v


def layers(self: Front, x: Tensor) -> Tensor:
    x = self.norm(x + attend(self, x))
    return (x + attend(self, x))[:, 3:]


def placed(self: Front, x: Tensor) -> Tensor:
    return attend(self, x + self.table[:, : x.shape[1]])[:, 3:]


def convolved(self: Front, x: Tensor) -> Tensor:
    return torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)


BEHIND: dict[str, tuple[Any, dict[str, Any]]] = {
    "gru": (lambda self, x: self.gru(x)[0][:, 3:], {}),
    "all of a gru": (lambda self, x: self.gru(x)[0], {}),
    "two lstms": (lambda self, x: self.lstm(x)[0][:, 3:], {}),
    "the last of an lstm": (lambda self, x: self.lstm(x)[0][:, -1], {}),
    "how a gru ends": (lambda self, x: self.gru(x)[1][0], {}),
    "shifted": (lambda self, x: self.gru(x[:, :-3])[0], {}),
    "convolution": (lambda self, x: convolved(self, x)[:, 1:], {}),
    "convolution, gru": (lambda self, x: self.gru(convolved(self, x))[0], {}),
    "attention": (lambda self, x: attend(self, x)[:, 3:], {"max_steps": 60}),
    "all of attention": (attend, {"max_steps": 60}),
    "the last of attention": (lambda self, x: attend(self, x)[:, -1], {"max_steps": 60}),
    "two layers": (layers, {"max_steps": 60}),
    "two layers, a window": (layers, {"attention_window": 5}),
    "positions": (placed, {"max_steps": 60}),
    "positions, a window": (placed, {"max_steps": 60, "attention_window": 6}),
    "attention, gru": (lambda self, x: self.gru(attend(self, x))[0][:, 3:], {"max_steps": 60}),
}


@pytest.mark.parametrize("name", BEHIND)
def test_what_stands_in_front_is_there_from_the_first_step_on(name: str, tmp_path: Path) -> None:
    behind, options = BEHIND[name]
    _, stream = equals_the_original((Front(behind).eval(), models.example()), tmp_path, 60, **options)
    equals_its_step(stream)


@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.long), 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", ["gru", "all of a gru", "convolution, gru", "attention", "pointwise"])
def test_rows_stand_in_front_of_what_comes_late_or_by_several(
    name: str, stride: int, rows: int, tmp_path: Path
) -> None:
    behind, options = BEHIND.get(name, (lambda _, x: torch.tanh(x), {}))
    module = Front(behind, rows)
    module.front = Late(stride)
    frames = {"max_steps": 60 * stride} if options else {}
    _, stream = equals_the_original((module.eval(), models.example()), tmp_path, 60 * stride, **frames)
    assert stream.frames_per_step == stride
    equals_its_step(stream)


def test_two_entries_a_step(tmp_path: Path) -> None:
    """The recurrence runs at the rate of the frames, the output at half of it."""

    def halved(self: Front, x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool1d(self.gru(x)[0][:, 3:].transpose(1, 2), 2).transpose(1, 2)

    _, stream = equals_the_original((Front(halved).eval(), models.example()), tmp_path, 60)
    assert stream.frames_per_step == 2


@pytest.mark.parametrize("name", ["gru", "the last of an lstm"])
def test_each_restarted_copy_begins_behind_the_rows(name: str, tmp_path: Path) -> None:
    module = Front(BEHIND[name][0]).eval()
    sequence = opened((module, models.example()))
    step = stepping(Choice("restart", 5).rewrite(sequence), tmp_path)
    x = models.walks(1, 12)[0]
    expected = [sequence.outputs(x[end - 5 : end], sequence.double)[-1] for end in range(5, 13)]
    np.testing.assert_allclose(step.run(x)[4:], expected, atol=1e-5)


ROWS = {
    "c = Concat(x, rows, axis=1); y = Tanh(c)": (r"n0' \(Concat\)", "along the time axis"),
    "c = Concat(rows, x, axis=1); y = ReduceMean(c, axes=[1])": (r"n1' \(ReduceMean\)", "cut that off before"),
    "c = Concat(rows, x, axis=1); s = CumSum(c, by); y = Tanh(s)": (r"n1' \(CumSum\)", "padded before the first frame"),
    "c = Concat(rows, x, axis=1); f = Gather(c, nought, axis=1); y = Sub(x, f)": (r"n1' \(Gather\)", "first step"),
    "c = Concat(rows, x, axis=1); t = Transpose(c, perm=[0, 2, 1]); s = MatMul(x, t); w = Softmax(s, axis=2); "
    "y = MatMul(w, c)": (r"n\d' \(Softmax\)", "not of the same times"),
}


@pytest.mark.parametrize("lines", ROWS)
def test_what_does_not_run_behind_rows_is_refused(lines: str, tmp_path: Path) -> None:
    node, reason = ROWS[lines]
    with pytest.raises(ExportError, match=f"node '{node}: .*{reason}"):
        rewritten(model(tmp_path / "m.onnx", lines, 17), max_steps=60)


@pytest.mark.long
@pytest.mark.parametrize("name", ["two lstms", "convolution, gru", "two layers", "two layers, a window"])
def test_all_variants_pass_their_bounds(name: str, tmp_path: Path) -> None:
    behind, options = BEHIND[name]
    wanted: dict[str, Any] = {"variants": ["float32", "int8", "w8a16"], "calibration": models.walks()}
    bundle = export.export((Front(behind).eval(), models.example()), tmp_path / "b", **options, **wanted)
    assert len(bundle.manifest.parity) == 9
    x = models.walks(1, 40)[0]
    for variant in wanted["variants"]:
        assert np.isfinite(edgeseq.load(bundle, variant=variant).run(x)).all()
