"""Models that do not run at every length: short tables of positions, convolutions that need many frames."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import pytest
import torch
from streaming import equals_the_original, opened, rewritten
from test_attention import Gpt, Plan
from torch import nn
from torch.nn import functional

import edgeseq
import export
from export.errors import ExportError
from export.lengths import accepted
from export.passes.time_axis import LENGTHS


def positions(rows: int, plan: Plan) -> nn.Module:
    module = Gpt(plan)
    module.table = nn.Parameter(module.table[:, :rows].detach().clone())
    return module


@pytest.mark.parametrize(("rows", "how"), [(16, "learned"), (64, "gathered")])
def test_a_short_table_streams_up_to_its_end(rows: int, how: str, tmp_path: Path) -> None:
    source = opened((positions(rows, Plan("causal", how)), torch.zeros(1, 8, models.FEATURES)))
    with pytest.raises(ExportError, match=rf"--max-steps {rows} at most"):
        rewritten(source, attention_window=4)
    with pytest.raises(ExportError, match="--attention-window"):
        rewritten(source)
    equals_the_original(source, tmp_path, rows, max_steps=rows)
    with pytest.raises(ExportError, match=f"{rows + 1}"):
        rewritten(source, max_steps=rows + 1)


def test_a_short_table_becomes_a_bundle(tmp_path: Path) -> None:
    source = positions(64, Plan("fill", "learned")), torch.zeros(1, 8, models.FEATURES)
    bundle = export.export(source, tmp_path / "b", max_steps=64, variants=["float32"])
    assert len(edgeseq.load(bundle).run(np.zeros((64, models.FEATURES), np.float32))) == 64


class Wide(nn.Module):
    """Unpadded convolutions that need 200 frames for their first output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv1d(models.FEATURES, 4, 3, dilation=60)
        self.b = nn.Conv1d(4, 2, 3, dilation=39)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(functional.relu(self.a(x.transpose(1, 2)))).transpose(1, 2)


def test_a_convolution_over_more_frames_than_the_probes_have(tmp_path: Path) -> None:
    _, stream = equals_the_original((Wide(), torch.zeros(1, 300, models.FEATURES)), tmp_path, 300)
    assert stream.probed[0] > 198


def between(least: int, most: int) -> object:
    def run(length: int) -> None:
        if not least <= length <= most:
            raise ExportError(f"{length} is no length for it.")

    return run


@pytest.mark.parametrize(("least", "most"), [(1, 16), (1, 200), (199, 10**9), (30, 70), (1, 300), (100, 170)])
def test_lengths_lie_within_what_a_model_takes(least: int, most: int) -> None:
    short, long = accepted(between(least, most), LENGTHS)  # type: ignore[arg-type]
    assert least <= short < long <= most
    assert {short % 2, long % 2} == {0, 1}
    assert (most > LENGTHS[1] and least <= LENGTHS[0]) == ((short, long) == LENGTHS)


def test_where_odd_lengths_do_not_run_even_ones_do() -> None:
    def run(length: int) -> None:
        if length % 2 or length > 60:
            raise ExportError(f"{length} is no length for it.")

    assert accepted(run, (2, 4)) == (2, 4)
    with pytest.raises(ExportError, match="131 is no length"):
        accepted(run, LENGTHS)


def test_a_model_that_never_runs_says_why() -> None:
    with pytest.raises(ExportError, match="41 is no length"):
        accepted(between(10**9, 0), (41, 67, 128))  # type: ignore[arg-type]
