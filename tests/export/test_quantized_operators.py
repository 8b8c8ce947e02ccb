"""Each operator on integers, written out as floats, is what onnxruntime's own kernel computes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import ExportError
from export.frontends import onnx_quantized


def single(
    op_type: str, inputs: Mapping[str, Any], constants: Mapping[str, Any], order: str, out: Any, **given: Any
) -> Any:
    """Return a model of one of onnxruntime's operators. order: its inputs' names; out: the output's type."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    node = helper.make_node(op_type, order.split(), ["y"], "it", domain="com.microsoft", **given)
    entering = [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in inputs.items()]
    graph = helper.make_graph(
        [node], "one", entering,
        [helper.make_tensor_value_info("y", out, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


# Scales whose ratios are no short fractions: else many values lie right between two integers.
KEPT = {
    "as": np.float32(0.0512347), "az": np.uint8(120), "bs": np.float32(0.0312953), "bz": np.uint8(131),
    "ys": np.float32(0.0617831), "yz": np.uint8(115),
}  # fmt: skip
WEIGHTS = {"bs": np.linspace(0.0113, 0.0397, 6).astype(np.float32), "bz": np.full(6, 128, np.uint8)}
SINGLE: Mapping[str, tuple[str, dict[str, Any]]] = {
    "QLinearAdd": ("a as az b bs bz ys yz", {}),
    "QLinearMul": ("a as az b bs bz ys yz", {}),
    "QLinearSigmoid": ("a as az ss sz", {}),
    "QLinearLeakyRelu": ("a as az ys yz", {"alpha": 0.2}),
    "QLinearSoftmax": ("a as az ss sz", {"axis": -1, "opset": 17}),
    "QLinearGlobalAveragePool": ("a as az ys yz", {"channels_last": 0}),
    "QLinearAveragePool": ("a as az ys yz", {"kernel_shape": [2], "strides": [1], "channels_last": 0}),
    "QLinearConcat": ("ys yz a as az b bs bz", {"axis": 1}),
    "QGemm": ("m as az w ws wz bias ys yz", {"transB": 1}),
}


@pytest.mark.parametrize("op_type", SINGLE)
def test_every_operator_written_out_is_itself(op_type: str) -> None:
    """All integers in, against onnxruntime's own kernel: at most an integer off where it rounds at an edge."""
    rng = np.random.default_rng(5)
    order, given = SINGLE[op_type]
    offered = {name: rng.integers(0, 256, size=(3, 8, 40)).astype(np.uint8) for name in "ab"}
    offered["m"] = rng.integers(0, 256, size=(30, 8)).astype(np.uint8)
    kept = KEPT | {
        "ss": np.float32(1 / 256), "sz": np.uint8(0), "w": rng.integers(100, 156, size=(6, 8)).astype(np.uint8),
        "ws": WEIGHTS["bs"], "wz": WEIGHTS["bz"], "bias": rng.integers(-200, 200, size=6).astype(np.int32),
    }  # fmt: skip
    names = order.split()
    inputs = {name: offered[name] for name in names if name in offered}
    constants = {name: kept[name] for name in names if name in kept}
    model = single(op_type, inputs, constants, order, TensorProto.UINT8, **given)
    expected = run(model, inputs)
    assert onnx_quantized.written_out(model)
    assert not any(node.domain for node in model.graph.node)
    error = np.abs(run(model, inputs).astype(int) - expected.astype(int))
    assert error.max() <= 1
    assert (error == 0).mean() > 0.99
    assert np.ptp(expected) > 10, "it had something to compute"


def run(model: Any, inputs: Mapping[str, Any]) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options).run(None, dict(inputs))[0]


def test_sixteen_bits_of_old_opsets() -> None:
    """ONNX Runtime's own QuantizeLinear of int16, below opset 21: arithmetic on floats gives the same."""
    model = single("QuantizeLinear", {"x": np.zeros((5, 400), np.float32)}, {"s": np.float32(1e-3), "z": np.int16(-7)},
                   "x s z", TensorProto.FLOAT)  # fmt: skip
    node = model.graph.node[0]
    node.output[0] = "q"
    model.graph.node.append(
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "back", domain="com.microsoft")
    )
    x = np.random.default_rng(2).normal(scale=20, size=(5, 400)).astype(np.float32)
    expected = run(model, {"x": x})
    assert onnx_quantized.written_out(model)
    assert {node.op_type for node in model.graph.node} == {"Div", "Round", "Clip", "Mul"}
    assert np.abs(expected).max() < np.abs(x).max(), "some lie beyond 16 bits"
    np.testing.assert_allclose(run(model, {"x": x}), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "says"),
    [
        (
            "DynamicQuantizeLSTM",
            r"node 'it' \(DynamicQuantizeLSTM\): its scales are taken from all steps .*quantize_static",
        ),
        ("QAttention", r"node 'it' \(QAttention\): it is onnxruntime's own .*=QuantFormat\.QDQ"),
    ],
)
def test_operators_without_a_meaning_are_refused(op_type: str, says: str) -> None:
    model = single(op_type, {"x": np.zeros((1, 4), np.float32)}, {}, "x", TensorProto.FLOAT)
    with pytest.raises(ExportError, match=says):
        onnx_quantized.written_out(model)


def test_a_computed_scale_is_refused() -> None:
    inputs = {"a": np.zeros((1, 4), np.uint8), "as": np.float32(1), "b": np.zeros((1, 4), np.uint8)}
    order = "a as az b bs bz ys yz"
    model = single("QLinearAdd", inputs, {k: v for k, v in KEPT.items() if k != "as"}, order, TensorProto.UINT8)
    with pytest.raises(ExportError, match=r"node 'it' \(QLinearAdd\): its scale or zero point is computed"):
        onnx_quantized.written_out(model)


def test_integers_on_their_way() -> None:
    """Between QuantizeLinear and DequantizeLinear integers are padded, joined, pooled, read as integers, and given."""
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        node("Pad", ["q", "pads", "z"], ["padded"], "pad"),
        node("Pad", ["q", "pads"], ["bare"], "bare"),
        node("Concat", ["padded", "row", "bare"], ["joined"], "join", axis=2),
        node("MaxPool", ["joined"], ["pooled"], "pool", kernel_shape=[3]),
        node("DequantizeLinear", ["pooled", "s", "z"], ["back"], "back"),
        node("DequantizeLinear", ["q", "s2", "z2"], ["otherwise"], "otherwise"),
        node("MatMulInteger", ["q", "w", "z"], ["sum"], "sum"),
        node("Cast", ["sum"], ["real"], "cast", to=TensorProto.FLOAT),
        node("Gather", ["table", "index"], ["picked"], "pick"),
        node("DequantizeLinear", ["picked", "s"], ["entry"], "entry"),
        node("QuantizeLinear", ["x", "s2", "z2"], ["given"], "given"),
    ]
    rng = np.random.default_rng(8)
    kept = {
        "s": np.float32(0.0213), "z": np.uint8(100), "s2": np.float32(0.0402), "z2": np.uint8(7),
        "pads": np.array([0, 0, 1, 0, 0, 2], np.int64), "row": rng.integers(0, 256, (1, 3, 1)).astype(np.uint8),
        "w": rng.integers(-9, 9, (8, 5)).astype(np.int8), "table": rng.integers(0, 256, (6, 4)).astype(np.uint8),
        "index": np.array([4, 1], np.int64),
    }  # fmt: skip
    given = ("back", "otherwise", "real", "entry", "given")
    outputs = [helper.make_tensor_value_info(n, TensorProto.UINT8 if n == "given" else 1, None) for n in given]
    graph = helper.make_graph(
        nodes, "way", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8])], outputs,
        [numpy_helper.from_array(np.asarray(array), name) for name, array in kept.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    x = rng.normal(scale=2, size=(1, 3, 8)).astype(np.float32)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    expected = ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    assert onnx_quantized.written_out(model)
    found = ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    for name, one, other in zip(given, found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6, err_msg=name)
        assert one.dtype == other.dtype, name
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert (kinds["pool"], kinds["given"]) == ("MaxPool", "QuantizeLinear")


def test_bodies_read_integers_by_name() -> None:
    """What a loop's body reads from outside it stays the integers that it was written for."""
    node, value = helper.make_node, helper.make_tensor_value_info
    inner = helper.make_graph(
        [node("DequantizeLinear", ["q", "s", "z"], ["inside"]), node("Identity", ["go"], ["on"])],
        "body", [value("round", TensorProto.INT64, []), value("go", TensorProto.BOOL, [])],
        [value("on", TensorProto.BOOL, []), value("inside", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        node("Loop", ["two", "yes"], ["y"], "loop", body=inner),
        node("DequantizeLinear", ["q", "s", "z"], ["outside"], "out"),
    ]
    kept = {"s": np.float32(0.1), "z": np.uint8(7), "two": np.int64(2), "yes": np.bool_(True)}
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, [4])],
        [value("y", TensorProto.FLOAT, None), value("outside", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in kept.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    x = np.array([-1, 0.13, 2, 90], np.float32)
    expected = [run(model, {"x": x}), ort.InferenceSession(model.SerializeToString()).run(["outside"], {"x": x})[0]]
    onnx_quantized.written_out(model)
    found = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1])
    np.testing.assert_allclose(found[1], [-0.7, 0.1, 2, 24.8], rtol=1e-6)
