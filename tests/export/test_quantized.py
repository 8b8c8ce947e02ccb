"""Models that onnxruntime's quantizer made are sources like any other: the step computes what the quantized file does.

The witness is onnxruntime, running the quantizer's own file over whole sequences.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import ort_quantized as quantized
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from ort_quantized import OPERATORS, QDQ, S8, S16, U8
from renamed import renamed
from torch import Tensor, nn

import edgeseq
from export import ExportError, export
from export.frontends import onnx_quantized

FORMS = {
    "qdq-u8s8": (QDQ, (U8, S8), True),
    "qdq-s8s8": (QDQ, (S8, S8), False),
    "qdq-s16s8": (QDQ, (S16, S8), False),
    "operators-u8u8": (OPERATORS, (U8, U8), False),
    "operators-u8s8": (OPERATORS, (U8, S8), True),
}
BITS = {"u8": 8, "s8": 8, "s1": 16}


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Any:
        return self.outer(torch.tanh(self.inner(x)))


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.cells, self.last = nn.Linear(4, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.cells(torch.relu(self.first(x)))[0])


class Tcn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.near, self.far, self.last = nn.Conv1d(4, 8, 3), nn.Conv1d(8, 8, 3, dilation=2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        y = torch.relu(self.near(nn.functional.pad(x.transpose(1, 2), (2, 0))))
        y = torch.relu(self.far(nn.functional.pad(y, (4, 0))))
        return self.last(y.transpose(1, 2))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.split, self.norm, self.last = nn.Linear(4, 12), nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        query, key, value = self.split(x).split(4, -1)
        at = torch.arange(x.shape[1])
        seen = (at[None, :] <= at[:, None]) & (at[None, :] > at[:, None] - 6)
        scores = (query @ key.transpose(1, 2) / 2).masked_fill(~seen, float("-inf"))
        return self.last(self.norm(x + scores.softmax(-1) @ value))


FAMILIES: Mapping[str, type[nn.Module]] = {"dense": Dense, "gru": Gru, "tcn": Tcn, "attention": Attention}


def frames(length: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(length, 4)).astype(np.float32)


CALIBRATION = [frames(60, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name, made in FAMILIES.items():
        torch.manual_seed(0)
        torch.onnx.export(
            made().eval(), (torch.zeros(1, 20, 4),), str(folder / f"{name}.onnx"), input_names=["x"],
            output_names=["y"], dynamic_axes={"x": {1: "time"}, "y": {1: "time"}}, dynamo=False, opset_version=17,
        )  # fmt: skip
    return folder


def made(sources: Path, folder: Path, family: str, form: str) -> Path:
    """Quantize a family in a form, and give it names that say nothing."""
    how, kinds, channels = FORMS[form]
    target = folder / f"{family}-{form}.onnx"
    # A softmax takes the mask's infinity, which no scale reaches.
    masked = [
        node.name for node in onnx.load(sources / f"{family}.onnx").graph.node if node.op_type in {"Where", "Softmax"}
    ]
    feeds = [{"x": x[None]} for x in CALIBRATION]
    quantized.static(sources / f"{family}.onnx", target, feeds, how, kinds, channels=channels, without=masked)
    onnx.save(renamed(onnx.load(target), kept=("x", "y"), unnamed=True), target)
    return target


def original(file: Path, x: Any) -> Any:
    """Return what the quantizer's own file gives. Unoptimized: int16 products would be rounded to fewer bits."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(file), options).run(None, {"x": x[None]})[0][0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", FORMS)
def test_the_step_computes_what_the_quantized_model_does(sources: Path, tmp_path: Path, family: str, form: str) -> None:
    file = made(sources, tmp_path, family, form)
    bundle = export(file, tmp_path / "bundle", calibration=CALIBRATION, variants=("float32",))
    x = frames(400, 9)
    model, expected = edgeseq.load(bundle.path), original(file, x)
    y = np.concatenate([model.run(x[:123]), model.run(x[123:]), model.flush()])[model.delay :]
    step = (expected.max() - expected.min()) / (1 << BITS[form.rpartition("-")[2][:2]])
    error = np.abs(y - expected)
    # The last rounding gives integers: where another engine falls to the other side of an edge, it is off by one.
    assert error.max() < 3 * step
    assert (error < 0.01 * step).mean() > 0.97
    entry = bundle.manifest.parity[0]
    assert (entry.metric, entry.passed) == ("rms", True)
    # An error of a step that stayed, at all times, would not pass.
    assert entry.tolerance < step * (1 if form != "qdq-s16s8" else 8)
    assert any("quantized already" in note for note in (bundle.path / "report.md").read_text().splitlines())


def test_what_is_left_out_is_told(sources: Path, tmp_path: Path) -> None:
    """The step has integers of its own already: int8 of int8 there is none."""
    bundle = export(made(sources, tmp_path, "gru", "qdq-u8s8"), tmp_path / "bundle", calibration=CALIBRATION)
    assert {file.variant for file in bundle.manifest.files} == {"float32"}
    assert any(
        note.startswith("- int8 was left out: node") for note in (bundle.path / "report.md").read_text().splitlines()
    )


def test_a_broken_step_would_be_found(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rms of a few roundings does not hide a bias of a step and a half."""
    from export.writers import onnx as writer  # noqa: PLC0415 - it is altered here

    true = writer.float_step

    def shifted(stream: Any) -> onnx.ModelProto:
        model = true(stream)
        last = next(node for node in model.graph.node if model.graph.output[0].name in node.output)
        scale = next(tensor for tensor in model.graph.initializer if tensor.name == last.input[1])
        bias = numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.5), "bias")
        model.graph.initializer.append(bias)
        name = last.output[0]
        last.output[0] = "unshifted"
        model.graph.node.append(helper.make_node("Add", ["unshifted", "bias"], [name]))
        return model

    monkeypatch.setattr(writer, "float_step", shifted)
    with pytest.raises(ExportError, match=r"float32 on ort misses its tolerance .* The step is not the model"):
        export(
            made(sources, tmp_path, "tcn", "operators-u8u8"), tmp_path / "bundle", calibration=CALIBRATION,
            variants=("float32",),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "says"),
    [
        (
            "tcn",
            r"\(DynamicQuantizeLinear\): its scale is taken .*quantize_static.* As whole windows it runs",
        ),
        ("gru", r"\(DynamicQuantizeLinear\): its scale is taken from all steps"),
    ],
)
def test_scales_of_the_whole_sequence_are_refused(sources: Path, tmp_path: Path, family: str, says: str) -> None:
    quantized.dynamic(sources / f"{family}.onnx", tmp_path / "dynamic.onnx")
    with pytest.raises(ExportError, match=says) as caught:
        export(tmp_path / "dynamic.onnx", tmp_path / "bundle", calibration=CALIBRATION, variants=("float32",))
    assert not (tmp_path / "bundle").exists()
    assert "\n" not in str(caught.value)


def test_scales_of_the_whole_window_run(sources: Path, tmp_path: Path) -> None:
    quantized.dynamic(sources / "tcn.onnx", tmp_path / "dynamic.onnx")
    bundle = export(
        tmp_path / "dynamic.onnx", tmp_path / "b", calibration=CALIBRATION, variants=("float32",), window=20
    )
    x = frames(60, 9)
    y = edgeseq.load(bundle.path).run(x)
    expected = original(tmp_path / "dynamic.onnx", x[40:])[-1]
    np.testing.assert_allclose(y[-1], expected, atol=0.02 * np.abs(y[20:]).max())


def test_an_infinite_scale_is_refused(sources: Path, tmp_path: Path) -> None:
    feeds = [{"x": x[None]} for x in CALIBRATION]
    quantized.static(sources / "attention.onnx", tmp_path / "inf.onnx", feeds, QDQ, (U8, S8))
    with pytest.raises(
        ExportError, match=r"\(QuantizeLinear\): its scale is inf, .* as a mask does\. .*nodes_to_exclude"
    ):
        export(tmp_path / "inf.onnx", tmp_path / "bundle", calibration=CALIBRATION, variants=("float32",))


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


def test_integers_for_frames_are_refused(sources: Path, tmp_path: Path) -> None:
    quantized.with_integer_edges(made(sources, tmp_path, "dense", "operators-u8u8"), tmp_path / "edges.onnx")
    with pytest.raises(
        ExportError, match=r"the input 'x' is neither float32 .* keep the QuantizeLinear behind its input"
    ):
        export(tmp_path / "edges.onnx", tmp_path / "bundle", calibration=CALIBRATION, variants=("float32",))


def test_a_float_model_stays_as_it_is(sources: Path) -> None:
    model = onnx.load(sources / "tcn.onnx")
    before = model.SerializeToString()
    assert not onnx_quantized.written_out(model)
    assert model.SerializeToString() == before


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
