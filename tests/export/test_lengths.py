"""Models that take the lengths of padded sequences: in a stream every frame counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from streaming import equals_the_original, opened, rewritten
from test_strange_models import value
from torch import nn
from torch.nn import functional
from torch.nn.utils import rnn

from export.errors import ExportError
from export.graph import session

HIDDEN = 6


def file(path: Path, nodes: list[onnx.NodeProto], *, element: int = TensorProto.INT32, rank: int = 3) -> str:
    """Write a GRU, x to y [time, directions, batch, hidden] and h, whose lengths are n, with more behind or before."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "W": rng.normal(size=(1, 3 * HIDDEN, models.FEATURES)) * 0.4,
        "R": rng.normal(size=(1, 3 * HIDDEN, HIDDEN)) * 0.3,
        "table": rng.normal(size=(500, HIDDEN)),
    }
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    for name, number in (("zero", 0), ("one", 1), ("axis1", [1]), ("axes0", [0]), ("axes02", [0, 2])):
        tensors.append(numpy_helper.from_array(np.array(number, np.int64), name))
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", ["time", "b", models.FEATURES]), value("n", ["b"], element)],
        [value("y", list("tbf"[:rank]))],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def gru(lens: str = "n32", y: str = "y0") -> onnx.NodeProto:
    return helper.make_node("GRU", ["x", "W", "R", "", lens], [y, "h"], "cell", hidden_size=HIDDEN)


CAST = helper.make_node("Cast", ["n"], ["n32"], "cast", to=TensorProto.INT32)
LONG = helper.make_node("Cast", ["n"], ["n64"], "long", to=TensorProto.INT64)
SQUEEZE = helper.make_node("Squeeze", ["y0", "axis1"], ["y1"], "squeeze")
MASK = [
    LONG,
    helper.make_node("ReduceMax", ["n64"], ["most"], "most", keepdims=0),
    helper.make_node("Range", ["zero", "most", "one"], ["steps"], "range"),
    helper.make_node("Unsqueeze", ["steps", "axis1"], ["column"], "column"),
    helper.make_node("Less", ["column", "n64"], ["inside"], "inside"),
    helper.make_node("Unsqueeze", ["inside", "axes2"], ["mask"], "mask"),
]


def _masked(how: str) -> list[onnx.NodeProto]:
    two = helper.make_node("Add", ["axis1", "axis1"], ["axes2"], "two")
    real = helper.make_node("Cast", ["mask"], ["real"], "real", to=TensorProto.FLOAT)
    if how == "mul":
        last = [real, helper.make_node("Mul", ["y1", "real"], ["y"], "last")]
    else:
        none = helper.make_node("Sub", ["y1", "y1"], ["none"], "none")
        last = [none, helper.make_node("Where", ["mask", "y1", "none"], ["y"], "last")]
    return [two, CAST, *MASK, gru(), SQUEEZE, *last]


@pytest.mark.parametrize("element", [TensorProto.INT32, TensorProto.INT64])
@pytest.mark.parametrize(
    "nodes",
    [
        [CAST, gru(), helper.make_node("Squeeze", ["y0", "axis1"], ["y"], "squeeze")],
        [CAST, gru(), helper.make_node("Squeeze", ["h", "axes0"], ["y"], "squeeze")],
        _masked("mul"),
        _masked("where"),
    ],
    ids=["sequence_lens", "last state", "mask by mul", "mask by where"],
)
def test_lengths_are_the_number_of_frames(nodes: list[onnx.NodeProto], element: int, tmp_path: Path) -> None:
    rank = 2 if nodes[-1].input[0] == "h" else 3
    sequence, _ = equals_the_original(file(tmp_path / "m.onnx", nodes, element=element, rank=rank), tmp_path)
    assert [entry.name for entry in sequence.inputs] == ["x"]
    assert any("'n' was taken to be the sequence's length" in note for note in sequence.notes)
    # What it is held against is the untouched file with the length beside it.
    x = np.random.default_rng(0).normal(size=(9, 1, models.FEATURES)).astype(np.float32)
    kind = np.int32 if element == TensorProto.INT32 else np.int64
    given = session(onnx.load(tmp_path / "m.onnx")).run(None, {"x": x, "n": np.array([9], kind)})
    np.testing.assert_allclose(sequence.double([x])[0], given[0], atol=1e-5)


def test_a_reversed_sequence_is_refused(tmp_path: Path) -> None:
    nodes = [
        LONG,
        helper.make_node("ReverseSequence", ["x", "n64"], ["back"], "turn", time_axis=0, batch_axis=1),
        helper.make_node("Add", ["x", "back"], ["y"], "add"),
    ]
    with pytest.raises(ExportError, match=r"node 'turn' \(ReverseSequence\): it turns time around"):
        rewritten(file(tmp_path / "m.onnx", nodes))


def test_a_number_that_is_no_length_is_refused(tmp_path: Path) -> None:
    speaker = [
        helper.make_node("Gather", ["table", "n"], ["who"], "who"),
        helper.make_node("GRU", ["x", "W", "R"], ["y0", "h"], "cell", hidden_size=HIDDEN),
        SQUEEZE,
        helper.make_node("Add", ["y1", "who"], ["y"], "add"),
    ]
    with pytest.raises(ExportError, match="'n' is one number a sequence, but not its length"):
        opened(file(tmp_path / "m.onnx", speaker))


class Packed(nn.Module):
    """A recurrent layer over packed sequences, padded again or its last step taken."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = (nn.LSTM if how == "lstm" else nn.GRU)(models.FEATURES, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 2)
        self.how = how

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, h = self.layer(packed)
        if self.how == "state":
            return self.head(h[-1])
        y = rnn.pad_packed_sequence(y, batch_first=True)[0]
        if self.how == "gather":
            at = (lengths - 1).view(-1, 1, 1).expand(-1, 1, y.shape[2])
            return self.head(y.gather(1, at).squeeze(1))
        if self.how == "index":
            return self.head(y[torch.arange(len(y)), lengths - 1])
        return self.head(y)


@pytest.mark.parametrize("how", ["gru", "lstm", "state", "gather", "index"])
def test_packed_sequences_of_pytorch(how: str, tmp_path: Path) -> None:
    example = torch.zeros(1, 20, models.FEATURES), torch.tensor([20])
    sequence, _ = equals_the_original((Packed(how), example), tmp_path)
    assert sequence.every_step == (how in ("gru", "lstm"))
    assert any("the sequence's length" in note for note in sequence.notes)


class Masked(nn.Module):
    """Attention that looks at all frames that there are before the query, and masks by the lengths."""

    def __init__(self, around: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(models.FEATURES, 4)
        self.around = around

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.layer(x))
        inside = torch.arange(x.shape[1])[None] < lengths[:, None]
        return self.around(y, inside, lengths)


def _attend(y: torch.Tensor, inside: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    step = torch.arange(y.shape[1])
    age = step[:, None] - step[None]
    seen = (age >= 0) & (age < 7) & inside[:, None]
    return (y @ y.transpose(1, 2)).masked_fill(~seen, -1e9).softmax(-1) @ y


@pytest.mark.parametrize(
    ("around", "last"),
    [
        (_attend, False),
        (lambda y, inside, _: y * inside[..., None].to(y.dtype), False),
        (lambda y, inside, _: functional.relu(y.masked_fill(~inside[..., None], 0.0)), False),
    ],
    ids=["attention", "mul", "fill"],
)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_masks_from_lengths(around: Any, last: bool, dtype: torch.dtype, tmp_path: Path) -> None:  # noqa: FBT001
    example = torch.zeros(1, 20, models.FEATURES), torch.tensor([20], dtype=dtype)
    sequence, _ = equals_the_original((Masked(around), example), tmp_path)
    assert sequence.every_step is not last


class PaddedEncoder(nn.Module):
    """PyTorch's own encoder with a causal mask that it must look into, and one over keys from the lengths."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.front, self.layers = (
            nn.Linear(models.FEATURES, 8),
            nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
        )

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        mask = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
        padding = torch.arange(x.shape[1])[None] >= lengths[:, None]
        return self.layers(self.front(x), mask=mask, src_key_padding_mask=padding)


def test_an_encoder_masks_keys_by_lengths(tmp_path: Path) -> None:
    example = torch.zeros(1, 20, models.FEATURES), torch.tensor([20])
    equals_the_original((PaddedEncoder(), example), tmp_path, attention_window=8)


class Pooled(nn.Module):
    """A mean over the frames that there are, written out with the lengths, or with the input's own."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer, self.head = nn.GRU(models.FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, 2)
        self.how = how

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)[0]
        inside = (torch.arange(x.shape[1])[None] < lengths[:, None]).to(y.dtype)
        total = (y * inside[..., None]).sum(1)
        if self.how == "lengths":
            total = total / lengths[:, None].to(y.dtype)
        elif self.how == "mask":
            total = total / inside.sum(1, keepdim=True).clamp(min=1)
        elif self.how == "reciprocal":
            total = total * (1 / (lengths.to(y.dtype) + 2))[:, None]
        return self.head(total)


@pytest.mark.parametrize("how", ["lengths", "mask", "reciprocal", "sum"])
def test_a_mean_written_out_runs_along(how: str, tmp_path: Path) -> None:
    example = torch.zeros(1, 20, models.FEATURES), torch.tensor([20])
    equals_the_original((Pooled(how), example), tmp_path, max_steps=500)
