"""The float64 engine of ONNX sources, held against NumPy and against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from scans import node, scan, value

from export.frontends.doubles import evaluator


def model(nodes: Any, arrays: dict[str, Any], outputs: tuple[tuple[str, int], ...]) -> Any:
    graph = helper.make_graph(
        nodes, "g", [value("x", [1, "time", 3])], [value(name, [None] * rank) for name, rank in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def both(made: Any, x: Any) -> list[tuple[Any, Any]]:
    """The outputs in float64 beside onnxruntime's in float32."""
    double = evaluator(made).run(None, {"x": x})
    runtime = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    single = runtime.run(None, {"x": x.astype(np.float32)})
    assert all(np.asarray(y).dtype == np.float64 for y in double)
    return list(zip(double, single, strict=True))


X = np.random.default_rng(0).normal(size=(1, 9, 3))


@pytest.mark.parametrize("axis", [1, -2])
@pytest.mark.parametrize("reads", [0, 1])
@pytest.mark.parametrize("writes", [0, 1])
def test_a_scan_on_any_axis_in_both_directions(axis: int, reads: int, writes: int) -> None:
    body = [node("Mul", "h decay", "k"), node("Add", "k xt", "h1"), node("Mul", "h1 two", "hy")]
    shapes = [value("h", [1, 3]), value("xt", [1, 3])], [value("h1", [1, 3]), value("hy", [1, 3])]
    options = {"scan_input_directions": [reads], "scan_output_directions": [writes]}
    axes = {"scan_input_axes": [axis], "scan_output_axes": [2]}
    arrays = {"decay": np.float32(0.75), "two": np.float32(2), "h0": np.ones((1, 3), np.float32)}
    made = model([scan("h0 x", body, *shapes, "last y", **options, **axes)], arrays, (("last", 2), ("y", 3)))
    (last, last32), (y, y32) = both(made, X)
    h, rows = np.ones((1, 3)), []
    for t in range(8, -1, -1) if reads else range(9):
        h = 0.75 * h + X[:, t]
        rows.append(2 * h)
    np.testing.assert_allclose(last, h, rtol=1e-14)
    np.testing.assert_allclose(y, np.stack(rows[::-1] if writes else rows, 2), rtol=1e-14)
    np.testing.assert_allclose(last32, last, rtol=1e-5)
    np.testing.assert_allclose(y32, y, rtol=1e-5, atol=1e-6)


def test_a_loop_with_a_sequence_and_outputs_of_every_rank() -> None:
    """h = h / 2 + x[t], of what is gathered as a sequence and as scan outputs; a value outside has a carried name."""
    int64, boolean = TensorProto.INT64, TensorProto.BOOL
    sequence = helper.make_tensor_sequence_value_info
    body = helper.make_graph(
        [
            node("Gather", "x t", "xt", axis=1),
            node("Mul", "h half", "k"),
            node("Add", "k xt", "h1"),
            node("SequenceInsert", "all h1", "all1"),
            node("ReduceSum", "h1", "total", keepdims=0),
            node("Unsqueeze", "h1 first", "wide"),
            node("Identity", "go", "going"),
        ],
        "body",
        [value("t", [], int64), value("go", [], boolean), value("h", [1, 3]), sequence("all", TensorProto.FLOAT, None)],
        [
            value("going", [], boolean), value("h1", [1, 3]), sequence("all1", TensorProto.FLOAT, None),
            value("total", []), value("wide", [1, 1, 3]),
        ],
    )  # fmt: skip
    nodes = [
        node("SequenceEmpty", "", "none"),
        node("Shape", "x", "dims"),
        node("Gather", "dims second", "trip"),
        helper.make_node("Loop", ["trip", "", "h0", "none"], ["last", "list", "totals", "wides"], "loop", body=body),
        node("ConcatFromSequence", "list", "joined", axis=-1, new_axis=1),
    ]
    nodes[0].input[:] = []
    arrays = {"half": np.float32(0.5), "h0": np.ones((1, 3), np.float32), "second": 1, "first": np.array([0])}
    outputs = (("last", 2), ("totals", 1), ("wides", 4), ("joined", 3))
    results = both(model(nodes, arrays, outputs), X)
    h, rows = np.ones((1, 3)), []
    for t in range(9):
        h = 0.5 * h + X[:, t]
        rows.append(h)
    expected = [h, np.array([row.sum() for row in rows]), np.stack(rows)[:, None], np.stack(rows, -1)]
    for (double, single), known in zip(results, expected, strict=True):
        np.testing.assert_allclose(double, known, rtol=1e-14)
        np.testing.assert_allclose(single, known, rtol=1e-5, atol=1e-6)


def test_a_loop_without_a_trip_count_counts_its_rounds() -> None:
    body = helper.make_graph(
        [
            node("Cast", "t", "tf", to=TensorProto.FLOAT),
            node("Add", "h tf", "h1"),
            node("Less", "t four", "going"),
        ],
        "body",
        [value("t", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("h", [])],
        [value("going", [], TensorProto.BOOL), value("h1", [])],
    )
    nodes = [
        node("ReduceSum", "x", "h0", keepdims=0),
        helper.make_node("Loop", ["", "yes", "h0"], ["y"], "loop", body=body),
    ]
    ((double, single),) = both(model(nodes, {"four": np.array(4), "yes": np.array(True)}, (("y", 0),)), X)
    np.testing.assert_allclose(double, X.sum() + 10, rtol=1e-14)
    np.testing.assert_allclose(single, double, rtol=1e-5)


@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_padding_that_cuts_off(mode: str) -> None:
    arrays = {"pads": np.array([0, 2, -1, 0, -3, 1])}
    ((double, single),) = both(model([node("Pad", "x pads", "y", mode=mode)], arrays, (("y", 3),)), X)
    cut = np.pad(X[:, :-3, 1:], [(0, 0), (2, 0), (0, 1)], mode=mode)  # type: ignore[call-overload]
    np.testing.assert_array_equal(double, cut)
    np.testing.assert_allclose(single, cut, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"strides": [2], "pads": [1, 2], "output_padding": [1]},
        {"strides": [3], "group": 3, "dilations": [2]},
        {"strides": [2], "auto_pad": "SAME_UPPER"},
        {"strides": [2], "auto_pad": "SAME_LOWER"},
        {"strides": [2], "output_shape": [7]},
    ],
    ids=str,
)
def test_a_transposed_convolution(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    turned = node("Transpose", "x", "t", perm=[0, 2, 1])
    arrays = {"w": rng.normal(size=(3, 2, 4)).astype(np.float32), "b": np.float32(rng.normal(size=6))}
    arrays["b"] = arrays["b"][: 2 * options.get("group", 1)]
    made = model([turned, node("ConvTranspose", "t w b", "y", **options)], arrays, (("y", 3),))
    ((double, single),) = both(made, X)
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5)
