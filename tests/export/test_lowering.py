"""The float Program is the step graph: rule by rule, and on models nobody has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import pytest
import torch
from lowered import equals_its_step, flat, graph, image, stream_of
from onnx import TensorProto, helper, numpy_helper
from random_graphs import FAMILIES, FEATURES, Builder, random_graph
from scramble import scrambled

from export.program import Program

Build = Callable[[Builder, str], str]
SHIFTS = np.array([1.0, -0.5, 0.2, 2.0, -3.0], np.float32)


def kinds(program: Program) -> list[str]:
    return [op.kind for op in program.ops if op.kind != "Constant"]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("family", FAMILIES)
def test_models_nobody_has_seen(family: str, seed: int, tmp_path: Path) -> None:
    source = random_graph(family, seed)
    onnx.save(scrambled(source, seed) if seed % 2 else source, tmp_path / "m.onnx")
    equals_its_step(stream_of(tmp_path / "m.onnx"), limit=5e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", FAMILIES)
def test_models_nobody_has_seen_over_whole_windows(family: str, seed: int, tmp_path: Path) -> None:
    onnx.save(random_graph(family, seed + 100), tmp_path / "m.onnx")
    equals_its_step(stream_of(tmp_path / "m.onnx", window=13), steps=17, limit=5e-5)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_models_restarted_in_turn(kind: str) -> None:
    source = models.random_module(3, last=True, norm=True, kind=kind), models.example()
    equals_its_step(stream_of(source, restart=5), steps=17)


# ---- products, and what folds into them


def test_a_constant_behind_a_product_folds_into_it(tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        y = b.op("Add", b.op("MatMul", x, b.weight(FEATURES, 4)), b.weight(4))
        y = b.op("Sub", b.constant(1.0), b.op("Mul", b.op("Div", y, b.constant(2.0)), b.weight(4)))
        return b.op("Relu", b.op("Sub", y, b.weight(1, 1, 4)))

    program = equals_its_step(stream_of(graph(build, tmp_path)))
    assert [kind for kind in kinds(program) if kind != "Reshape"] == ["Linear"]
    (linear,) = (op for op in program.ops if op.kind == "Linear")
    assert linear.attributes == {"relu": 1}


def test_a_constant_does_not_fold_where_something_else_reads_the_product(tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        y = b.op("MatMul", x, b.weight(FEATURES, 4))
        other = b.op("Reshape", y, b.constant([1, -1, 4]))
        return b.op("Concat", b.op("Relu", b.op("Mul", y, b.constant(3.0))), b.op("Relu", other), y, axis=2)

    program = equals_its_step(stream_of(graph(build, tmp_path)))
    assert kinds(program).count("Mul") == 1
    assert not any(op.attributes.get("relu") for op in program.ops)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_choice_by_an_opposite_is_the_opposite_choice(times: int, tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        condition = b.op("Less", x, b.constant(0.1))
        for _ in range(times):
            condition = b.op("Not", condition)
        return b.op("Where", b.op("Reshape", condition, b.constant([1, -1, FEATURES])), b.op("Neg", x), b.constant(7.0))

    assert "Not" not in kinds(equals_its_step(stream_of(graph(build, tmp_path))))


def test_a_constant_that_varies_along_another_axis_stays(tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        rows = b.op("Reshape", b.op("MatMul", x, b.weight(FEATURES, 6)), b.constant([-1, 2, 3]))
        y = b.op("MatMul", rows, b.weight(3, 2))
        y = b.op("Add", b.op("Mul", y, b.weight(2, 1)), b.weight(2, 2))
        return flat(b, y, 4)

    program = equals_its_step(stream_of(graph(build, tmp_path)))
    assert kinds(program).count("Mul") == kinds(program).count("Add") == 1


@pytest.mark.parametrize("settings", [{}, {"alpha": 0.5, "beta": 2.0}, {"transB": 1}], ids=str)
def test_gemm(settings: dict[str, Any], tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        shape = (4, FEATURES) if settings.get("transB") else (FEATURES, 4)
        rows = b.op("Reshape", x, b.constant([-1, FEATURES]))
        return flat(b, b.op("Gemm", rows, b.weight(*shape), b.weight(1, 4), **settings), 4)

    program = equals_its_step(stream_of(graph(build, tmp_path)))
    assert kinds(program).count("Linear") == 1


@pytest.mark.parametrize("form", ["vector right", "vector left", "stacks", "constant left", "data twice"])
def test_matrix_products(form: str, tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        y = image(b, x)
        if form == "vector right":
            return flat(b, b.op("MatMul", y, b.weight(2)), 12)
        if form == "vector left":
            return flat(b, b.op("MatMul", b.weight(3), y), 8)
        if form == "stacks":
            return flat(b, b.op("MatMul", y, b.weight(4, 2, 5)), 60)
        if form == "constant left":
            return flat(b, b.op("MatMul", b.weight(5, 3), y), 40)
        return flat(b, b.op("MatMul", y, b.op("Transpose", y, perm=[0, 1, 3, 2])), 36)

    program = equals_its_step(stream_of(graph(build, tmp_path)))
    assert "MatMul" in kinds(program)


def convolution(kernel: Sequence[int], into: int, groups: int = 1, **attributes: Any) -> Build:
    def build(b: Builder, x: str) -> str:
        y = b.op("Conv", image(b, x), b.weight(into, 4 // groups, *kernel), b.weight(into), group=groups, **attributes)
        return b.op("Flatten", y, axis=1)

    def framed(b: Builder, x: str) -> str:
        return b.op("Unsqueeze", build(b, x), b.constant([0]))

    return framed


CONVOLUTIONS: dict[str, Build] = {
    "plain": convolution((2, 2), 5), "depthwise": convolution((2, 1), 8, 4, pads=[1, 0, 1, 1]),
    "grouped": convolution((3, 1), 6, 2, strides=[2, 1], pads=[0, 1, 2, 0]),
    "dilated": convolution((2, 1), 3, dilations=[2, 1]), "strided": convolution((2, 1), 3, strides=[1, 2]),
    "one place": convolution((3, 2), 7), "one place, dilated": convolution((2, 2), 7, dilations=[2, 1]),
    "one place, depthwise": convolution((3, 2), 4, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_in_a_frame(name: str, tmp_path: Path) -> None:
    program = equals_its_step(stream_of(graph(CONVOLUTIONS[name], tmp_path)), steps=5)
    assert ("Conv" in kinds(program)) == (name not in {"one place", "one place, dilated"})


def over_time(kernel: int, groups: int = 1, **attributes: Any) -> Build:
    def build(b: Builder, x: str) -> str:
        turned = b.op("Transpose", x, perm=[0, 2, 1])
        weight = b.weight(5 if groups > 1 else 3, FEATURES // groups, kernel)
        return b.op("Transpose", b.op("Conv", turned, weight, group=groups, **attributes), perm=[0, 2, 1])

    return build


@pytest.mark.parametrize("window", [0, 9])
@pytest.mark.parametrize(
    "settings",
    [{"pads": [2, 0]}, {"groups": 5, "pads": [2, 0]}, {"pads": [4, 0], "dilations": [2]}, {"strides": [2]},
     {"pads": [1, 1], "strides": [3]}],
    ids=str,
)  # fmt: skip
def test_convolutions_over_time(settings: dict[str, Any], window: int, tmp_path: Path) -> None:
    stream = stream_of(graph(over_time(3, **settings), tmp_path), window=window)
    assert stream.frames_per_step == (1 if window else settings.get("strides", [1])[0])
    equals_its_step(stream, steps=14)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("MaxPool", {"kernel_shape": [2, 2]}),
        ("MaxPool", {"kernel_shape": [2, 1], "strides": [2, 1], "pads": [1, 0, 1, 0]}),
        ("MaxPool", {"kernel_shape": [2, 1], "dilations": [2, 1]}),
        ("AveragePool", {"kernel_shape": [3, 2]}),
        ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1], "count_include_pad": 1}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
    ],
    ids=str,
)
def test_pools(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        return b.op("Unsqueeze", b.op("Flatten", b.op(kind, image(b, x), **settings), axis=1), b.constant([0]))

    equals_its_step(stream_of(graph(build, tmp_path)), steps=5)


@pytest.mark.parametrize("behind", ["convolution", "product", "relu", "nothing"])
def test_batch_norm(behind: str, tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        statistics = [b.constant(b.rng.uniform(0.5, 1.5, 4)) for _ in range(4)]
        y = image(b, x)
        if behind == "convolution":
            y = b.op("Conv", y, b.weight(4, 4, 2, 1), b.weight(4))
        elif behind == "relu":
            y = b.op("Relu", y)
        elif behind == "product":
            y = b.op("Reshape", b.op("MatMul", x, b.weight(FEATURES, 4)), b.constant([-1, 4]))
        y = b.op("BatchNormalization", y, *statistics, epsilon=1e-3)
        return b.op("Unsqueeze", b.op("Flatten", y, axis=1), b.constant([0]))

    program = equals_its_step(stream_of(graph(build, tmp_path)), steps=5)
    assert ("Mul" in kinds(program)) == (behind == "relu")


# ---- cells


def cell(kind: str, direction: str = "forward", **attributes: Any) -> Build:
    gates, hidden = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind], 4
    many = 2 if direction == "bidirectional" else 1

    def build(b: Builder, x: str) -> str:
        inputs = [
            b.op("Transpose", x, perm=[1, 0, 2]), b.weight(many, gates * hidden, FEATURES),
            b.weight(many, gates * hidden, hidden), b.weight(many, 2 * gates * hidden),
        ]  # fmt: skip
        settings = dict(attributes)
        if settings.pop("peepholes", False):
            inputs += ["", "", "", b.weight(many, 3 * hidden)]
        y = b.op(kind, *inputs, hidden_size=hidden, direction=direction, **settings)
        turned = b.op("Transpose", y, perm=[2, 0, 1, 3])
        return b.op("Reshape", turned, b.constant([1, -1, many * hidden]))

    return build


CELLS: dict[str, Build] = {
    "RNN": cell("RNN"), "RNN relu": cell("RNN", activations=["Relu"]),
    "RNN leaky": cell("RNN", activations=["LeakyRelu"], activation_alpha=[0.3]),
    "RNN elu": cell("RNN", activations=["Elu"]), "RNN clipped": cell("RNN", clip=0.4),
    "GRU": cell("GRU"), "GRU, reset after": cell("GRU", linear_before_reset=1),
    "GRU, others": cell("GRU", activations=["HardSigmoid", "Softsign"], activation_alpha=[0.3], activation_beta=[0.4]),
    "GRU clipped": cell("GRU", clip=0.7), "LSTM": cell("LSTM"), "LSTM peepholes": cell("LSTM", peepholes=True),
    "LSTM clipped": cell("LSTM", clip=0.5),
    "LSTM others": cell("LSTM", activations=["HardSigmoid", "Relu", "Softplus"]),
}  # fmt: skip
DIRECTED: dict[str, Build] = {
    "RNN": cell("RNN", "bidirectional", activations=["Relu", "Tanh"]),
    "GRU": cell("GRU", "bidirectional", linear_before_reset=1), "LSTM": cell("LSTM", "bidirectional", peepholes=True),
    "GRU backwards": cell("GRU", "reverse"), "LSTM, others": cell(
        "LSTM", "bidirectional", activations=["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Softsign", "Relu"],
        activation_alpha=[0.25], activation_beta=[0.6],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_cells(name: str, tmp_path: Path) -> None:
    equals_its_step(stream_of(graph(CELLS[name], tmp_path)))


@pytest.mark.parametrize("name", DIRECTED)
def test_cells_in_both_directions_over_a_window(name: str, tmp_path: Path) -> None:
    equals_its_step(stream_of(graph(DIRECTED[name], tmp_path), window=6), steps=10)


def test_several_steps_at_once_share_their_weights(tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        y = CELLS["GRU, reset after"](b, x)
        turned = b.op("Transpose", y, perm=[0, 2, 1])
        pooled = b.op("MaxPool", turned, kernel_shape=[3], strides=[3])
        return b.op("Transpose", pooled, perm=[0, 2, 1])

    stream = stream_of(graph(build, tmp_path))
    assert stream.frames_per_step == 3
    program = equals_its_step(stream, steps=8)
    weights = [op.arrays["weight"] for op in program.ops if op.kind == "Linear"]
    assert len(weights) == 4
    assert len({id(weight) for weight in weights}) == 2


# ---- inputs and outputs


def two_sided(path: Path) -> str:
    """Give a model of two inputs and two outputs, one of the inputs being tokens."""
    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {
        "table": rng.normal(size=(9, 4)), "w": rng.normal(size=(3, 4)), "head": rng.normal(size=(8, 2)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"], "lookup"),
        helper.make_node("MatMul", ["x", "w"], ["d"], "dense"),
        helper.make_node("Concat", ["e", "d"], ["both"], "both", axis=2),
        helper.make_node("MatMul", ["both", "head"], ["left"], "head"),
        helper.make_node("Tanh", ["d"], ["right"], "tanh"),
    ]
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, "g",
        [info("tokens", TensorProto.INT64, [1, "time"]), info("x", TensorProto.FLOAT, [1, "time", 3])],
        [info("left", TensorProto.FLOAT, [1, "time", 2]), info("right", TensorProto.FLOAT, [1, "time", 4])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    program = equals_its_step(stream_of(two_sided(tmp_path / "m.onnx")))
    assert [entry.dtype for entry in program.inputs] == ["int64", "float32"]
    assert [entry.columns for entry in program.inputs] == [slice(0, 1), slice(1, 4)]
    assert [program.shapes[name] for name in program.outputs] == [(1, 1, 2), (1, 1, 4)]


def test_an_output_that_is_a_state_and_one_that_is_an_input(tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        return b.op("Concat", CELLS["RNN"](b, x), b.op("Identity", x), axis=2)

    equals_its_step(stream_of(graph(build, tmp_path)))


def test_doubles_stay_doubles(tmp_path: Path) -> None:
    def build(b: Builder, x: str) -> str:
        y = b.op("Cast", x, to=TensorProto.DOUBLE)
        scale = b.op("Cast", b.constant(SHIFTS), to=TensorProto.DOUBLE)
        return b.op("Cast", b.op("Tanh", b.op("Mul", y, scale)), to=TensorProto.FLOAT)

    program = equals_its_step(stream_of(graph(build, tmp_path)))
    assert "float64" in program.dtypes.values()


def test_a_layer_of_torchs_transformer_over_a_window() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    equals_its_step(stream_of((layer.eval(), torch.zeros(1, 9, 8)), window=9), steps=10)
