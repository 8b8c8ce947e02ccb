"""Convolutions, poolings, padding and delays over time: equal from output 0, flushed outputs included."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import edgeseq
import export

CHANNELS = 6


class Stack(nn.Module):
    """Random convolutions: causal by Pad, by attribute and cut, looking ahead, unpadded; residual; norm; strides."""

    def __init__(self, seed: int, *, strides: bool = False) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.front = nn.Conv1d(models.FEATURES, CHANNELS, 1)
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        self.plans: list[tuple[str, int, float, bool]] = []
        for _ in range(int(rng.integers(1, 5))):
            kernel, dilation = int(rng.integers(1, 6)), int(rng.integers(1, 4))
            span = (kernel - 1) * dilation
            how = str(rng.choice(["pad", "cut", "same", "ahead", "none"]))
            stride = int(rng.integers(1, 3)) if strides else 1
            groups = int(rng.choice([1, 2, CHANNELS]))
            padding = {"cut": span, "same": span // 2}.get(how, 0)
            self.convs.append(nn.Conv1d(CHANNELS, CHANNELS, kernel, stride, padding, dilation, groups))
            norm = nn.BatchNorm1d(CHANNELS)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
            self.norms.append(norm if rng.integers(2) else nn.Identity())
            # A padding value that is not zero, and a residual where the lengths allow one.
            residual = stride == 1 and how in ("pad", "cut", "ahead") and bool(rng.integers(2))
            self.plans.append((how, span, float(rng.choice([0.0, 0.7])), residual))
        self.pool = int(rng.integers(0, 3)) if strides else 0
        self.head = nn.Conv1d(CHANNELS, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.front(x.transpose(1, 2))
        for conv, norm, (how, span, value, residual) in zip(self.convs, self.norms, self.plans, strict=True):
            y = x
            if how == "pad":
                y = functional.pad(y, (span, 0), value=value)
            elif how == "ahead":
                y = functional.pad(y, (span - span // 3, span // 3), value=value)
            y = conv(y)
            if how == "cut" and span:
                y = y[:, :, :-span]
            y = torch.relu(norm(y) + 0.3)
            x = x + y if residual else y
        if self.pool == 1:
            x = functional.max_pool1d(x, 3, 2, 1)
        if self.pool == 2:
            x = functional.avg_pool1d(x, 4, 2)
        return self.head(x).transpose(1, 2)


def equals_the_original(module: nn.Module, folder: Path, steps: int = 150) -> edgeseq.bundle.Graph:
    bundle = export.export(
        (module.eval(), torch.zeros(1, 64, models.FEATURES)), folder, calibration=models.walks(), variants=["float32"]
    )
    x = np.random.default_rng(1).normal(size=(steps, models.FEATURES)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x[None]))[0].numpy()
    model = edgeseq.load(bundle)
    rows = [model.run(part) for part in np.split(x, [1, 2, 9, 40, 41, 90])]
    given = np.concatenate(rows)
    assert np.isnan(given[: model.delay]).all()
    assert np.isfinite(given[model.delay :]).all()
    owed = model.flush()
    np.testing.assert_array_equal(owed, model.flush())  # a flush leaves the stream as it was
    given = np.concatenate([given, owed])[model.delay :]
    assert len(given) >= len(expected)  # what the original cuts off at the end, a stream has given before it ends
    np.testing.assert_allclose(given[: len(expected)], expected, atol=2e-5)
    model.reset()
    np.testing.assert_array_equal(model.run(x)[model.delay :], given[: len(given) - len(owed)])
    return bundle.manifest.graphs[0]


@pytest.mark.parametrize("seed", range(10))
def test_random_stacks_of_convolutions(seed: int, tmp_path: Path) -> None:
    equals_the_original(Stack(seed), tmp_path / "b")


@pytest.mark.parametrize("seed", range(6))
def test_random_stacks_with_strides_and_pooling(seed: int, tmp_path: Path) -> None:
    equals_the_original(Stack(seed, strides=True), tmp_path / "b")


class _Same(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv1d(models.FEATURES, CHANNELS, 5, padding=2)
        self.b = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=2, dilation=2)
        self.c = nn.Conv1d(CHANNELS, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.a(x.transpose(1, 2)) + 0.3)
        return self.c(torch.relu(self.b(y) + 0.2) + y).transpose(1, 2)


def test_lookahead_becomes_delay_and_branches_wait_for_each_other(tmp_path: Path) -> None:
    graph = equals_the_original(_Same(), tmp_path / "b")
    assert (graph.delay, graph.warm_up, graph.receptive_field) == (5, 10, 11)


class _Crnn(nn.Module):
    """2-D convolutions over time and features, then a GRU that must wait for their lookahead."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 4, (3, 3), padding=(2, 1))
        self.b = nn.Conv2d(4, 4, (3, 3), stride=(1, 2), padding=(1, 1), groups=4)
        self.gru = nn.GRU(12, 8, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.a(x.unsqueeze(1))[:, :, :-2])
        y = torch.relu(self.b(y)).permute(0, 2, 1, 3).flatten(2)
        return self.head(self.gru(y)[0])


def test_a_crnn_with_lookahead(tmp_path: Path) -> None:
    assert equals_the_original(_Crnn(), tmp_path / "b").delay == 1


class _Refused(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.conv = nn.Conv1d(models.FEATURES, CHANNELS, 3, padding=1, padding_mode="zeros")
        self.up = nn.ConvTranspose1d(models.FEATURES, CHANNELS, 2, 2)
        self.norm = nn.InstanceNorm1d(CHANNELS, affine=True)
        self.what = what

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2)
        if self.what == "reflect":
            return self.conv(functional.pad(x, (2, 0), mode="reflect")).transpose(1, 2)
        if self.what == "up":
            return self.up(x).transpose(1, 2)
        if self.what == "global":
            return self.conv(x).mean(dim=2, keepdim=True).expand(-1, -1, x.shape[2]).transpose(1, 2)
        return self.norm(self.conv(x)).transpose(1, 2)


@pytest.mark.parametrize(
    ("what", "node", "reason"),
    [
        ("reflect", "Pad", "reflect"),
        ("up", "ConvTranspose", "several steps out of one"),
        ("global", "ReduceMean", "into the future"),
        ("norm", "InstanceNormalization", "normalizes over time"),
    ],
)
def test_what_does_not_stream_is_refused(what: str, node: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=rf"node '.*' \({node}\).*{reason}"):
        export.export(
            (_Refused(what).eval(), torch.zeros(1, 64, models.FEATURES)), tmp_path / "b", variants=["float32"]
        )
    assert list(tmp_path.iterdir()) == []
