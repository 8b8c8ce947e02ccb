"""What does not stream is refused by node, with the reason, and what it would cost as whole windows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import torch
from test_attention import Gpt, Plan
from test_ops import model
from torch import nn

import edgeseq
import export
from export.errors import ExportError


class Refused(nn.Module):
    """Something that needs frames that have not come yet, in each of many ways."""

    def __init__(self, what: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.both = nn.GRU(models.FEATURES, 4, batch_first=True, bidirectional=True)
        self.conv = nn.Conv1d(models.FEATURES, 4, 3, padding=1, padding_mode="reflect")
        self.norm = nn.InstanceNorm1d(models.FEATURES, affine=True)
        self.group = nn.GroupNorm(1, models.FEATURES)
        self.what = what

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        across = x.transpose(1, 2)
        if self.what == "both":
            return self.both(x)[0]
        if self.what == "end":
            return self.both(x)[1].transpose(0, 1).flatten(1)
        if self.what == "reflect":
            return self.conv(across).transpose(1, 2)
        if self.what == "instance":
            return self.norm(across).transpose(1, 2)
        if self.what == "group":
            return self.group(across).transpose(1, 2)
        return torch.einsum("btf,bsf->bts", x, x)


@pytest.mark.parametrize(
    ("what", "node", "reason"),
    [
        ("both", "GRU", "bidirectional"),
        ("reflect", "Pad", "reflect"),
        ("instance", "InstanceNormalization", "normalizes over time"),
        ("group", r"\w+", ""),
    ],
)
def test_the_refusal_tells_what_windows_cost(what: str, node: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as raised:
        export.export(
            (Refused(what).eval(), torch.zeros(1, 30, models.FEATURES)), tmp_path / "b", calibration=models.walks()
        )
    told = str(raised.value)
    assert re.search(rf"^node '.*' \({node}\): .*{reason}", told)
    assert re.search(r"--window N\. One window of 100 frames takes [\d.e+]+ ms here, and every frame would run", told)
    assert "\n" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("choice", [{"state": "carry"}, {"restart": 20}])
def test_how_both_directions_end_is_refused_as_their_sequence_is(choice: dict[str, Any], tmp_path: Path) -> None:
    source = Refused("end").eval(), torch.zeros(1, 30, models.FEATURES)
    with pytest.raises(ExportError, match=r"^node '.*' \(GRU\): it is bidirectional"):
        export.export(source, tmp_path / "b", calibration=models.walks(), **choice)


def test_the_way_out_that_it_names_is_one(tmp_path: Path) -> None:
    module, x = Refused("both").eval(), models.walks(1)[0][:60]
    options: dict[str, Any] = {"calibration": models.walks(), "variants": ["float32"]}
    bundle = export.export((module, torch.zeros(1, 30, models.FEATURES)), tmp_path / "b", window=20, **options)
    with torch.no_grad():
        expected = module(torch.from_numpy(x[None, 40:]))[0, -1].numpy()
    np.testing.assert_allclose(edgeseq.load(bundle).run(x)[-1], expected, atol=1e-5)


def test_attention_over_the_future_names_the_cost_of_what_its_table_holds(tmp_path: Path) -> None:
    module = Gpt(Plan("none", "learned"))
    module.table = nn.Parameter(module.table[:, :48].detach().clone())
    with pytest.raises(ExportError, match=r"\(Softmax\): .*over the future.*One window of 48 frames takes"):
        export.export((module, torch.zeros(1, 8, models.FEATURES)), tmp_path / "b", calibration=models.walks())


@pytest.mark.parametrize(
    ("lines", "op"),
    [
        ("b = Greater(x, zero); n = NonZero(b); f = Cast(n, to=1); y = Unsqueeze(f, axis1)", "NonZero"),
        ("r = RandomNormalLike(x); y = Add(x, r)", "RandomNormalLike"),
    ],
)
def test_where_windows_are_no_way_out_none_is_named(lines: str, op: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=op) as raised:
        export.export(model(tmp_path / "m.onnx", lines, 17), tmp_path / "b", state="carry")
    assert "--window" not in str(raised.value)


def test_two_time_axes_are_refused_by_node(tmp_path: Path) -> None:
    lines = "t = Transpose(x, perm=[0, 2, 1]); m = MatMul(x, t); y = Exp(m)"
    with pytest.raises(ExportError, match=r"node 'n2' \(Exp\): .*41, 41.*more than one time axis"):
        export.export(model(tmp_path / "m.onnx", lines, 17), tmp_path / "b")
