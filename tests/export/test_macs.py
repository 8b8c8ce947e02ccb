"""Multiply-accumulates against numbers counted by hand, in the comment beside each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import export
from export import macs

ZOO = Path(__file__).parents[2] / "zoo"


def weights(**shapes: tuple[int, ...]) -> list[onnx.TensorProto]:
    rng = np.random.default_rng(0)
    return [numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name) for name, shape in shapes.items()]


def model(nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, ...]], constants: list[Any]) -> onnx.ModelProto:
    entering = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    leaving = [onnx.ValueInfoProto(name=nodes[-1].output[0])]
    graph = helper.make_graph(nodes, "g", entering, leaving, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def counted(nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, ...]], constants: list[Any] | None = None) -> int:
    found = macs.count(model(nodes, inputs, constants or []))
    assert found.integer == 0
    return found.floating


@pytest.mark.parametrize(
    ("time", "batch", "expected"),
    [(1, 1, 168), (7, 1, 1176), (1, 5, 840), (7, 5, 5880)],  # 3 gates of 4: 3·4·(10 + 4) = 168, times time, times batch
)
def test_a_recurrent_op_is_counted_for_every_step_and_stream(time: int, batch: int, expected: int) -> None:
    node = helper.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=4)
    assert counted([node], {"x": (time, batch, 10)}, weights(w=(1, 12, 10), r=(1, 12, 4))) == expected


def test_two_directions_are_two_layers() -> None:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4, direction="bidirectional")
    # 2 directions · 4 gates of 4 · (10 + 4), 3 steps
    assert counted([node], {"x": (3, 1, 10)}, weights(w=(2, 16, 10), r=(2, 16, 4))) == 3 * 2 * 16 * 14


@pytest.mark.parametrize(
    ("shape", "group", "stride", "time", "expected"),
    [
        ((6, 8), 1, 1, 10, 8 * 8 * 6 * 3),  # 8 places: 8 filters of 6 channels, 3 wide
        ((6, 8), 1, 2, 10, 4 * 8 * 6 * 3),  # every second place
        ((6, 6), 6, 1, 10, 8 * 6 * 1 * 3),  # depthwise: one channel a filter
        ((6, 8), 2, 1, 3, 1 * 8 * 3 * 3),  # one place, two groups
        ((32, 64), 1, 1, 10, 8 * 64 * 32 * 3),  # wide enough for a blocked layout
    ],
)
def test_a_convolution_over_time(shape: tuple[int, int], group: int, stride: int, time: int, expected: int) -> None:
    channels, filters = shape
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=group, strides=[stride])
    given = counted([node], {"x": (1, channels, time)}, weights(w=(filters, channels // group, 3)))
    assert given == expected


def test_a_convolution_over_time_and_features() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[1, 2], pads=[0, 1, 0, 1], group=2)
    relu = helper.make_node("Relu", ["y"], ["z"])  # fused into the convolution
    # 3 × 20 places in, kernel 3 × 3: 1 × 10 out; 8 filters of 2 of the 4 channels
    assert counted([node, relu], {"x": (1, 4, 3, 20)}, weights(w=(8, 2, 3, 3))) == 10 * 8 * 2 * 9


def test_a_dense_layer_over_a_batch() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Add", ["y", "b"], ["z"])]
    assert counted(nodes, {"x": (5, 3, 10)}, weights(w=(10, 7), b=(7,))) == 5 * 3 * 10 * 7


def test_attention_over_a_ring() -> None:
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["s"]),
        helper.make_node("Softmax", ["s"], ["w"]),
        helper.make_node("MatMul", ["w", "v"], ["y"]),
    ]
    # 2 heads of 8, one query, 16 keys: 2·16·8 for the scores, as many for the sum
    assert counted(nodes, {"q": (1, 2, 1, 8), "k": (1, 2, 16, 8), "v": (1, 2, 16, 8)}) == 512


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("bqd,bkd->bqk", [(2, 3, 4), (2, 5, 4)], 2 * 3 * 5 * 4),
        ("...i,...ij->...j", [(6, 4), (6, 4, 5)], 6 * 4 * 5),
        ("...qd,...kd->...qk", [(7, 2, 3, 4), (1, 2, 5, 4)], 7 * 2 * 3 * 5 * 4),
        ("ij->ji", [(3, 4)], 0),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]], expected: int) -> None:
    names = ["a", "b"][: len(shapes)]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    assert counted([node], dict(zip(names, shapes, strict=True))) == expected


def body(inputs: list[tuple[str, int, Any]], outputs: list[tuple[str, int, Any]]) -> onnx.GraphProto:
    nodes = [
        helper.make_node("MatMul", ["h", "w"], ["u"]),
        helper.make_node("Tanh", ["u"], ["h.out"]),
        *([helper.make_node("Identity", ["going"], ["goes"])] if len(outputs) > 2 else []),
        helper.make_node("Identity", ["h.out"], ["y"]),
    ]
    return helper.make_graph(
        nodes,
        "body",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
    )


def test_a_scan_counts_for_every_turn() -> None:
    inside = body(
        [("h", TensorProto.FLOAT, [1, 4]), ("x.t", TensorProto.FLOAT, [1, 4])],
        [("h.out", TensorProto.FLOAT, [1, 4]), ("y", TensorProto.FLOAT, [1, 4])],
    )
    node = helper.make_node("Scan", ["h0", "x"], ["h", "ys"], body=inside, num_scan_inputs=1)
    assert counted([node], {"h0": (1, 4), "x": (9, 1, 4)}, weights(w=(4, 4))) == 9 * 16


def test_a_loop_counts_for_every_turn() -> None:
    inside = body(
        [("i", TensorProto.INT64, []), ("going", TensorProto.BOOL, []), ("h", TensorProto.FLOAT, [1, 4])],
        [
            ("goes", TensorProto.BOOL, []),
            ("h.out", TensorProto.FLOAT, [1, 4]),
            ("y", TensorProto.FLOAT, [1, 4]),
        ],
    )
    turns = numpy_helper.from_array(np.array(6, np.int64), "turns")
    node = helper.make_node("Loop", ["turns", "", "h0"], ["h", "ys"], body=inside)
    assert counted([node], {"h0": (1, 4)}, [*weights(w=(4, 4)), turns]) == 6 * 16


class Head(torch.nn.Module):
    """Two recurrent layers and a head on the last step: a model of windows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.memory = torch.nn.LSTM(5, 4, 2, batch_first=True)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.memory(x)[0][:, -1])


STEP = 4 * 4 * (5 + 4) + 4 * 4 * (4 + 4)
"""Two layers of 4 with 4 gates each: from 5 numbers, from 4."""
FROM_ZERO = 2 * 4 * 4 * 4
"""What of a step is from the state."""


@pytest.mark.parametrize(
    ("choice", "expected"),
    [({"state": "carry"}, STEP + 12), ({"window": 10}, 10 * STEP + 12), ({"restart": 10}, 10 * (STEP + 12))],
    ids=["carry", "window", "restart"],
)
def test_each_choice_costs_what_it_runs(choice: dict[str, Any], expected: int, tmp_path: Path) -> None:
    bundle = export.export(
        (Head().eval(), models.example()), tmp_path / "b", variants=["float32"], calibration=models.walks(1), **choice
    )
    # A window begins with a state of zeros, whose product is computed beforehand in the files beside ONNX's.
    known = FROM_ZERO if "window" in choice else 0
    for file in bundle.manifest.files:
        assert file.integer_macs + file.float_macs == expected - (0 if file.format == "onnx" else known)


def test_a_step_of_several_frames_counts_them_all(tmp_path: Path) -> None:
    torch.manual_seed(0)

    class Strided(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Conv1d(5, 8, 4, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(torch.nn.functional.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2)

    bundle = export.export((Strided().eval(), models.example()), tmp_path / "b", variants=["float32"])
    assert bundle.manifest.graphs[0].frames_per_step == 2
    assert bundle.manifest.files[0].float_macs == 8 * 5 * 4  # one place


@pytest.mark.parametrize("variant", ["float32", "int8", "w8a16"])
def test_the_shipped_turbofan_step_costs_what_its_bundle_says(variant: str) -> None:
    found = macs.count(onnx.load(ZOO / "turbofan" / "bundle" / f"step.{variant}.onnx"))
    # dense 14 → 32, GRU 32 → 64, dense 64 → 32, dense 32 → 1
    expected = 14 * 32 + 3 * 64 * (32 + 64) + 64 * 32 + 32
    assert (found.integer, found.floating) == ((expected, 0) if variant == "int8" else (0, expected))
