"""Padding by the edge value, averages that leave padding out, padding worked out by the op: equal from output 0."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from streaming import equals_the_original, rewritten, stepping
from test_strange_models import value
from torch import nn
from torch.nn import functional

from export.errors import ExportError

CHANNELS = 4


class Edges(nn.Module):
    """Convolutions padded with the edge value: causal, looking ahead, behind each other, strided, across branches."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv1d(models.FEATURES, CHANNELS, 3)
        self.b = nn.Conv1d(CHANNELS, CHANNELS, 5, dilation=2)
        self.same = nn.Conv1d(CHANNELS, CHANNELS, 5, padding=2, padding_mode="replicate")
        self.strided = nn.Conv1d(CHANNELS, CHANNELS, 4, 2)
        self.point = nn.Conv1d(models.FEATURES, models.FEATURES, 1)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def pad(y: torch.Tensor, before: int, after: int = 0) -> torch.Tensor:
            return functional.pad(y, (before, after), mode="replicate")

        x = x.transpose(1, 2)
        first = functional.relu(self.a(pad(x, 2)) + 0.2)
        if self.how == "causal":
            y = self.b(pad(first, 8))
        elif self.how == "ahead":
            y = self.b(pad(first, 5, 3))
        elif self.how == "same":
            y = self.same(self.same(first)) + first
        elif self.how == "mixed":
            y = self.same(functional.pad(first, (1, 1), value=0.5)[:, :, :-2])
        elif self.how == "strided":
            y = self.same(self.strided(pad(self.same(first), 3)))
        elif self.how == "pointwise between":
            y = self.a(functional.relu(self.point(pad(x, 2)) - 0.1))
        elif self.how == "pool":
            y = functional.max_pool1d(pad(first, 2, 1), 4, 1)
        else:
            y = pad(first, 3)
        return y.transpose(1, 2)


@pytest.mark.parametrize("how", ["causal", "ahead", "same", "mixed", "strided", "pointwise between", "pool"])
def test_edges_are_copied_from_the_first_and_the_last_frame(how: str, tmp_path: Path) -> None:
    equals_the_original((Edges(how), torch.zeros(1, 40, models.FEATURES)), tmp_path)


def test_an_output_that_ends_in_padding_is_refused() -> None:
    with pytest.raises(ExportError, match="the output is padded with its edge value"):
        rewritten((Edges("output"), torch.zeros(1, 40, models.FEATURES)))


class Planes(nn.Module):
    """Two-dimensional convolutions whose padding goes over time and features at once."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 1, 3, padding=1)
        self.mode = mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.second(x.unsqueeze(1)[:, :, :-1].expand(-1, 3, -1, -1)) + 0.3)
        return self.first(functional.pad(y, (1, 1, 2, 1), mode=self.mode))[:, 0]


@pytest.mark.parametrize("mode", ["constant", "replicate"])
def test_time_and_features_are_padded_at_once(mode: str, tmp_path: Path) -> None:
    equals_the_original((Planes(mode), torch.zeros(1, 40, models.FEATURES)), tmp_path)


class Joined(nn.Module):
    """Constants joined to frames or to what comes of them; a learned row is none of one number."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.late, self.conv = nn.Conv1d(models.FEATURES, CHANNELS, 3, padding=1), nn.Conv1d(CHANNELS, 2, 3)
        self.start = nn.Parameter(torch.randn(1, 1, CHANNELS))
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "difference":
            return x - torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        y = torch.relu(self.late(x.transpose(1, 2)) + 0.2).transpose(1, 2)
        rows = {
            "before": [torch.full_like(y[:, :2], 0.7), y],
            "both": [torch.full_like(y[:, :1], -0.3), y, torch.ones_like(y[:, :1])],
            "learned": [self.start, self.start, y],
        }[self.how]
        return self.conv(torch.cat(rows, 1).transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize("how", ["difference", "before", "both", "learned"])
def test_joined_constants_are_padding(how: str, tmp_path: Path) -> None:
    equals_the_original((Joined(how), torch.zeros(1, 40, models.FEATURES)), tmp_path)


class Cropped(nn.Module):
    """Unpadded convolutions side by side, the longer one cut at its start to the length of the shorter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.short, self.long = nn.Conv1d(models.FEATURES, 2, 5), nn.Conv1d(models.FEATURES, 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, z = torch.tanh(self.short(x.transpose(1, 2))), torch.tanh(self.long(x.transpose(1, 2)))
        return (y * z[:, :, -y.shape[2] :]).transpose(1, 2)


def test_a_branch_is_cut_to_the_length_of_another(tmp_path: Path) -> None:
    sequence, stream = rewritten((Cropped(), torch.zeros(1, 40, models.FEATURES)))
    model, x = stepping(stream, tmp_path), np.random.default_rng(0).normal(size=(30, models.FEATURES))
    frames = x.astype(np.float32)
    np.testing.assert_allclose(model.run(frames)[model.delay :], sequence.outputs(frames, sequence.double), atol=1e-6)


class Averages(nn.Module):
    """Averages that leave padding out, at the start, at both ends, late, and over features as well."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.same = nn.Conv1d(models.FEATURES, CHANNELS, 3, padding=1)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.same(x.transpose(1, 2)) + 0.2)
        if self.how == "features too":
            y = functional.avg_pool2d(y.unsqueeze(1), 3, (1, 2), 1, count_include_pad=False)
            return y.squeeze(1).transpose(1, 2)
        if self.how == "start":
            y = functional.avg_pool1d(y, 4, 1, 2, count_include_pad=False)[:, :, :-3]
        if self.how == "strided":
            y = functional.avg_pool1d(y, 5, 2, 2, count_include_pad=False)
        if self.how == "both":
            y = functional.avg_pool1d(y, 3, 1, 1, count_include_pad=False)
        return y.transpose(1, 2)


@pytest.mark.parametrize("how", ["start", "both", "strided", "features too"])
def test_an_average_leaves_padding_out(how: str, tmp_path: Path) -> None:
    equals_the_original((Averages(how), torch.zeros(1, 40, models.FEATURES)), tmp_path)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_padding_worked_out_by_the_op(op: str, auto_pad: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    attributes = {"auto_pad": auto_pad, "kernel_shape": [4, 3], "strides": [1, 2]}
    weights = ["W"] if op == "Conv" else []
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["x1"], "in"),
        helper.make_node(op, ["x1", *weights], ["y1"], "op", **attributes),
        helper.make_node("Relu", ["y1"], ["y"], "out"),
    ]
    tensors = [
        numpy_helper.from_array(np.array([1]), "one"),
        numpy_helper.from_array(rng.normal(size=(3, 1, 4, 3)).astype(np.float32), "W"),
    ]
    graph = helper.make_graph(
        nodes, "g", [value("x", ["b", "time", 6])], [value("y", list("abcd"), TensorProto.FLOAT)], tensors
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    equals_the_original(tmp_path / "m.onnx", tmp_path, 50)


class Paired(nn.Module):
    """What is cut off, before a layer or behind it, hangs on whether the sequence is odd."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.how = nn.GRU(models.FEATURES, CHANNELS, batch_first=True), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pairs = x.shape[1] // 2 * 2
        return self.layer(x)[0][:, :pairs] if self.how == "behind" else self.layer(x[:, :pairs])[0]


@pytest.mark.parametrize("how", ["before", "behind"])
def test_what_drops_half_a_pair_is_refused(how: str) -> None:
    with pytest.raises(ExportError, match=r"\(Slice\): where it ends does not move with the length of the sequence"):
        rewritten((Paired(how), torch.zeros(1, 20, models.FEATURES)))
