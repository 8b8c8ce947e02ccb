"""Inputs laid out otherwise than [batch, time, features]: channels first, images over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import torch
from torch import nn

import edgeseq
import export

WIDE = 2 * models.FEATURES


class Core(nn.Module):
    """Looks ahead by a frame and remembers: [batch, time, WIDE] → [batch, time, 2], or the last step's alone."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv1d(WIDE, 6, 1 if last else 3, padding=0 if last else 1)
        self.gru, self.head, self.last = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 2), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2))
        return self.head(y[:, -1] if self.last else y)


class Laid(nn.Module):
    """Brings what it takes into the core's order. order: the input's axes behind its batch, time first."""

    def __init__(self, order: tuple[int, ...], *, last: bool = False) -> None:
        super().__init__()
        self.core, self.order = Core(last=last), order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.core(x.permute(0, *self.order).flatten(2))


LAYOUTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], int | None]] = {
    "channels first": ((1, WIDE, 64), (2, 1), 2),
    "one channel": ((1, 1, 64, WIDE), (2, 1, 3), None),
    "two channels": ((1, 2, 64, models.FEATURES), (2, 1, 3), None),
    "channels last": ((1, 64, WIDE, 1), (1, 2, 3), None),
    "time last": ((1, 2, models.FEATURES, 64), (3, 1, 2), 3),
}
"""Name → the example's shape, the order of its axes with time first, the option --time-axis."""


def source(how: str, module: nn.Module, shape: tuple[int, ...], axis: int, folder: Path) -> Any:
    if how == "module":
        return module, torch.zeros(shape)
    dynamic = {"x": {0: "batch", axis: "time"}}
    with torch.no_grad():
        torch.onnx.export(
            module, (torch.zeros(shape),), str(folder / "m.onnx"), input_names=["x"], dynamic_axes=dynamic, dynamo=False
        )
    return folder / "m.onnx"


@pytest.mark.parametrize("how", ["module", "file"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_the_same_stream(name: str, how: str, tmp_path: Path) -> None:
    shape, order, told = LAYOUTS[name]
    module = Laid(order).eval()
    given = source(how, module, shape, order[0], tmp_path)
    model = edgeseq.load(export.export(given, tmp_path / "b", variants=["float32"], time_axis=told))
    x = np.random.default_rng(0).normal(size=(50, WIDE)).astype(np.float32)
    with torch.no_grad():
        expected = module.core(torch.from_numpy(x[None]))[0].numpy()
    rows = [model.run(part) for part in np.split(x, [1, 2, 30])]
    np.testing.assert_allclose(np.concatenate([*rows, model.flush()])[1:], expected, atol=2e-6)


@pytest.mark.parametrize("name", ["channels first", "one channel", "time last"])
def test_states_of_every_layout_are_restarted(name: str, tmp_path: Path) -> None:
    shape, order, told = LAYOUTS[name]
    module = Laid(order, last=True).eval()
    options: dict[str, Any] = {"variants": ["float32"], "restart": 9, "time_axis": told}
    model = edgeseq.load(export.export((module, torch.zeros(shape)), tmp_path / "b", **options))
    x = np.random.default_rng(0).normal(size=(30, WIDE)).astype(np.float32)
    with torch.no_grad():
        expected = [module.core(torch.from_numpy(x[None, end - 9 : end]))[0].numpy() for end in range(9, 31)]
    np.testing.assert_allclose(model.run(x)[8:], expected, atol=2e-6)


def test_a_time_axis_that_was_guessed_wrong_is_told(tmp_path: Path) -> None:
    module = Laid(LAYOUTS["channels first"][1]).eval()
    with pytest.raises(export.ExportError, match=r"taken to be axis 1, but it runs .* along axis 2: .*--time-axis"):
        export.export((module, torch.zeros(1, WIDE, 64)), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
    module, shape = Laid(LAYOUTS["one channel"][1]).eval(), LAYOUTS["one channel"][0]
    export.export((module, torch.zeros(shape)), tmp_path / "b", variants=["float32"])
    assert "time was taken to be axis 2 of [1, 1, 64" in (tmp_path / "b" / "report.md").read_text("utf-8")
