"""Recurrent ops in all that ONNX lets them be: peepholes, clip, activations, batch first, given initial states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from streaming import equals_the_original, opened
from test_strange_models import GATES, value

from export.errors import ExportError
from export.frontends import onnx_recurrent
from export.graph import session

HIDDEN = 6
OUTPUTS = {"RNN": ["h"], "GRU": ["h"], "LSTM": ["h", "c"]}


def recurrent(
    op: str, *, peephole: bool = False, layout: int = 0, initial: str = "", directions: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """Write one recurrent op; its initial state may be zeros whose shape is computed from the input's."""
    rng = np.random.default_rng(0)
    rows = GATES[op] * HIDDEN
    arrays = {
        "W": rng.normal(size=(directions, rows, models.FEATURES)) * 0.8,
        "R": rng.normal(size=(directions, rows, HIDDEN)) * 0.5,
        "B": rng.normal(size=(directions, 2 * rows)) * 0.5,
    }
    inputs = ["x", "W", "R", "B", "", *[initial and "start"] * len(OUTPUTS[op])]
    if peephole:
        arrays["P"] = rng.normal(size=(1, 3 * HIDDEN))
        inputs.append("P")
    nodes = []
    if initial == "zeros":
        nodes = [
            helper.make_node("Shape", ["x"], ["dims"], "dims"),
            helper.make_node("Gather", ["dims", "batch_axis"], ["batch"], "batch"),
            helper.make_node("Concat", ["ones", "batch", "hidden"], ["form"], "form", axis=0),
            helper.make_node("ConstantOfShape", ["form"], ["start"], "start"),
        ]
    elif initial:
        arrays["start"] = rng.normal(size=(1, 1, HIDDEN))
    nodes.append(
        helper.make_node(
            op,
            inputs,
            ["y", *OUTPUTS[op]],
            "cell",
            hidden_size=HIDDEN,
            layout=layout,
            **attributes,
        )
    )
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    for name, number in (("batch_axis", 1), ("ones", 1), ("hidden", HIDDEN)):
        tensors.append(numpy_helper.from_array(np.array([number], np.int64), name))
    shape = ["batch", "time", models.FEATURES] if layout else ["time", "batch", models.FEATURES]
    graph = helper.make_graph(nodes, "g", [value("x", shape)], [value("y", list("abcd"))], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FORMS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {"peephole": True}),
    ("LSTM", {"peephole": True, "clip": 0.4}),
    ("LSTM", {"activations": ["Sigmoid", "Tanh", "Tanh"], "initial": "zeros"}),
    ("LSTM", {"activations": ["HardSigmoid", "Softsign", "ScaledTanh"], "activation_alpha": [0.2, 0.9],
              "activation_beta": [0.5, 0.7]}),
    ("GRU", {"clip": 0.5, "linear_before_reset": 0, "activations": ["Sigmoid", "Tanh"]}),
    ("GRU", {"linear_before_reset": 1, "initial": "given"}),
    ("GRU", {"linear_before_reset": 1, "clip": 0.3, "initial": "zeros"}),
    ("GRU", {"activations": ["HardSigmoid", "Elu"]}),
    ("RNN", {"activations": ["Tanh"], "direction": "forward", "initial": "zeros"}),
    ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.1], "clip": 0.9}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "form"), FORMS, ids=str)
def test_a_form_streams(op: str, form: dict[str, Any], tmp_path: Path) -> None:
    onnx.save(recurrent(op, **form), tmp_path / "m.onnx")
    equals_the_original(tmp_path / "m.onnx", tmp_path)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("initial", ["", "given"])
def test_a_batch_first_op_streams(op: str, initial: str, tmp_path: Path) -> None:
    model = recurrent(op, layout=1, initial=initial, peephole=op == "LSTM")
    onnx.save(model, tmp_path / "m.onnx")
    sequence, _ = equals_the_original(tmp_path / "m.onnx", tmp_path)
    # onnxruntime has no such ops; the original in float64 is the file's own graph on ONNX's own reference.
    x = np.random.default_rng(0).normal(size=(1, 20, models.FEATURES)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(sequence.double([x])[0], expected, atol=1e-5)
    np.testing.assert_allclose(sequence.single([x])[0], expected, atol=1e-5)


@pytest.mark.parametrize(("op", "form"), [*FORMS, ("LSTM", {"direction": "bidirectional", "directions": 2})], ids=str)
def test_our_equations_are_those_of_onnxruntime(op: str, form: dict[str, Any]) -> None:
    model = recurrent(op, **form)
    x = np.random.default_rng(0).normal(size=(30, 1, models.FEATURES)).astype(np.float32)
    ours = ReferenceEvaluator(model, new_ops=onnx_recurrent.OPS).run(None, {"x": x})
    np.testing.assert_allclose(ours[0], session(model).run(None, {"x": x})[0], atol=1e-5)


@pytest.mark.parametrize(
    ("op", "form", "says"),
    [
        ("GRU", {"activations": ["Sigmoid", "Gauss"]}, "'Gauss'. are not known"),
        ("RNN", {"activations": ["Affine"]}, "without its values"),
        ("LSTM", {"input_forget": 1}, "coupled input and forget"),
    ],
)
def test_a_form_is_refused(op: str, form: dict[str, Any], says: str, tmp_path: Path) -> None:
    onnx.save(recurrent(op, **form), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=rf"node 'cell' \({op}\).*{says}"):
        opened(tmp_path / "m.onnx")
