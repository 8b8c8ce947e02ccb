"""Models as strangers bring them: streamed right, or refused by name before anything is written."""

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
from torch import nn

import edgeseq
import export
from export import parity
from export.frontends import onnx as frontend

HIDDEN = 6
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def value(name: str, shape: Any, element: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)


def recurrent(
    path: Path,
    op: str = "GRU",
    *,
    inputs: list[onnx.ValueInfoProto] | None = None,
    shape: Any = ("batch", "time", models.FEATURES),
    change: Callable[[dict[str, np.ndarray[Any, Any]]], Any] = lambda _: None,
    tail: tuple[onnx.NodeProto, ...] = (),
    outputs: list[onnx.ValueInfoProto] | None = None,
    **attributes: Any,
) -> str:
    """Write a recurrent layer, batch first, and return the file's name."""
    rng = np.random.default_rng(0)
    rows = GATES[op] * HIDDEN
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "W": rng.normal(size=(1, rows, models.FEATURES)) * 0.4,
        "R": rng.normal(size=(1, rows, HIDDEN)) * 0.2,
        "B": rng.normal(size=(1, 2 * rows)) * 0.2,
    }
    change(arrays)
    nodes = [
        helper.make_node("Transpose", ["x"], ["x0"], "first", perm=[1, 0, 2]),
        helper.make_node(op, ["x0", "W", "R", "B"], ["y0", "h"], "cell", hidden_size=HIDDEN, **attributes),
        helper.make_node("Squeeze", ["y0", "one"], ["y1"], "squeeze"),
        helper.make_node("Transpose", ["y1"], ["y"], "last", perm=[1, 0, 2]),
        *tail,
    ]
    tensors = [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()]
    tensors.append(numpy_helper.from_array(np.array([1]), "one"))
    graph = helper.make_graph(
        nodes, "g", inputs or [value("x", shape)], outputs or [value("y", ["a", "b", "c"])], tensors
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def poison(name: str, number: float) -> Callable[[dict[str, np.ndarray[Any, Any]]], Any]:
    return lambda arrays: arrays[name].reshape(-1).__setitem__(3, number)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"change": poison("W", np.nan)}, r"node 'cell' \(GRU\).*'W' hold NaN"),
        ({"change": poison("B", np.inf)}, r"node 'cell' \(GRU\).*'B' hold NaN or infinity"),
        ({"op": "LSTM", "input_forget": 1}, r"node 'cell' \(LSTM\).*coupled input and forget"),
        ({"shape": (4, "time", models.FEATURES)}, "takes a batch of 4"),
        (
            {"inputs": [value("x", ["b", "time", models.FEATURES]), value("n", ["b", 2], TensorProto.INT32)]},
            "the input 'n' is neither float32",
        ),
        (
            {
                "tail": (helper.make_node("ArgMax", ["y"], ["z"], "choose", axis=2),),
                "outputs": [value("z", ["a", "b", "c"], TensorProto.INT64)],
            },
            "its output is int64",
        ),
        (
            {
                "tail": (helper.make_node("Nonesuch", ["y"], ["z"], "mystery", domain="com.example"),),
                "outputs": [value("z", ["a", "b", "c"])],
            },
            "com.example",
        ),
    ],
)
def test_an_onnx_file_is_refused_by_what_is_wrong_with_it(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    file = recurrent(tmp_path / "m.onnx", **options)
    with pytest.raises(export.ExportError, match=says):
        export.export(file, tmp_path / "b", calibration=models.walks(), variants=["float32"])
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("chosen", ["x", None])
def test_a_second_input_is_refused_whichever_is_chosen(chosen: str | None, tmp_path: Path) -> None:
    inputs = [value("x", ["b", "time", models.FEATURES]), value("n", ["b", "c", "d", 2], TensorProto.INT32)]
    file = recurrent(tmp_path / "m.onnx", inputs=inputs)
    with pytest.raises(export.ExportError, match="'n' is neither float32"):
        export.export(file, tmp_path / "b", input=chosen)


@pytest.mark.parametrize("axis", [3, -4, 7])
def test_an_axis_that_is_not_there_is_not_wrapped_around(axis: int, tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=f"no axis {axis}"):
        export.export(recurrent(tmp_path / "m.onnx"), tmp_path / "b", time_axis=axis)
    with pytest.raises(export.ExportError, match=f"no axis {axis}"):
        export.export((models.gru(), models.example()), tmp_path / "b", time_axis=axis)


@pytest.mark.parametrize(
    "options",
    [
        {"op": "RNN", "activations": ["Relu"]},
        {"inputs": [value("R", [1, 18, 6]), value("x", ["b", "time", models.FEATURES]), value("W", [1, 18, 5])]},
        {"shape": (-1, -1, models.FEATURES)},
    ],
    ids=["relu", "weights listed as inputs", "free axes as -1"],
)
def test_an_unusual_onnx_file_streams(options: dict[str, Any], tmp_path: Path) -> None:
    file = recurrent(tmp_path / "m.onnx", **options)
    bundle = export.export(file, tmp_path / "b", calibration=models.walks(), variants=["float32"])
    x = models.walks(1)[0][:40]
    expected = frontend.session(onnx.load(file)).run(["y"], {"x": x[None]})[0][0]
    np.testing.assert_allclose(edgeseq.load(bundle).run(x), expected, atol=1e-5)


class Wrapped(nn.Module):
    """A GRU around which each case does something of its own."""

    def __init__(self, around: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.GRU(models.FEATURES, 4, batch_first=True)
        self.plain = torch.randn(1, 1, 4) * 0.3
        self.around = around

    def forward(self, x: torch.Tensor) -> Any:
        return self.around(self, x)


@pytest.mark.parametrize(
    "around",
    [
        lambda self, x: self.layer(x, torch.zeros(1, x.shape[0], 4))[0],
        lambda self, x: self.layer(x, self.plain)[0],
        lambda self, x: list(self.layer(x)),
    ],
    ids=["zeros made in forward", "a plain tensor as attribute", "a list of outputs"],
)
def test_an_unusual_module_streams(around: Callable[[Any, torch.Tensor], Any], tmp_path: Path) -> None:
    options = {"calibration": models.walks(), "variants": ["float32"]}
    export.export((Wrapped(around), models.example()), tmp_path / "b", **options)


def _nan(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(iter(module.parameters()))[0, 0] = torch.nan
    return module


def _attached() -> nn.Module:
    module = Wrapped(lambda self, x: self.layer(x)[0] * self.factor)
    module.factor = nn.Parameter(torch.ones(4)) * 2  # type: ignore[assignment]
    return module


@pytest.mark.parametrize(
    ("module", "example", "says"),
    [
        (_nan(models.gru(9)), models.example(), r"'front\.weight' holds NaN"),
        (models.gru(), torch.zeros(1, 20, dtype=torch.float16), "the example is torch.float16"),
        (models.gru(), torch.zeros(1, 2, 20, 5, 3), r"\[batch, time, features\] is expected"),
        (models.gru(), [1, 2], "must be a tensor"),
        (Wrapped(lambda self, x: str(self.layer(x)[0].shape)), models.example(), "gives a str"),
        (Wrapped(lambda self, x: self.layer(x.float())[0]), models.example(), "does not run on torch.float64"),
        (_attached(), models.example(), "cannot be copied to float64"),
    ],
)
def test_a_module_is_refused_by_what_is_wrong_with_it(
    module: nn.Module, example: Any, says: str, tmp_path: Path
) -> None:
    with pytest.raises(export.ExportError, match=says):
        export.export((module, example), tmp_path / "b", calibration=models.walks(), variants=["float32"])
    assert list(tmp_path.iterdir()) == []


def truth(outputs: Any, own: Any) -> parity.Truth:
    array = np.asarray(outputs, np.float64)
    return parity.Truth(np.zeros((len(array), 1), np.float32), np.arange(len(array)), array, np.asarray(own))


def test_a_great_output_lends_no_tolerance_to_a_small_one() -> None:
    rng = np.random.default_rng(0)
    known = [truth(rng.normal(size=(1000, 2)) * [100, 0.1] + [5000, 0], [0.0, 0.0])]
    for variant, share in (("int8", 0.04), ("w8a16", 0.01), ("float32", 1e-5)):
        _, limits = parity.tolerances(variant, known)
        least = np.finfo(np.float32).eps * np.abs(known[0].outputs).max(axis=0)
        np.testing.assert_allclose(limits, np.maximum(share * np.array([100, 0.1]), least), rtol=0.1)


def test_what_is_chaotic_is_reported_and_what_proves_nothing_is_refused() -> None:
    outputs = np.random.default_rng(0).normal(size=(1000, 1))
    assert parity.chaos([truth(outputs, [1e-7])]) == []
    assert "output 0 is chaotic or random" in parity.chaos([truth(outputs, [0.01])])[0]
    with pytest.raises(export.ExportError, match="no step could be held against it"):
        parity.chaos([truth(outputs, [0.5])])
    assert parity.chaos([truth(np.full((9, 1), 0.1), [1e-9])]) != [], "a constant is judged by its size"


def test_what_float32_cannot_hold_sets_no_tolerance(tmp_path: Path) -> None:
    """In float64 its great number is one, in float32 it is infinity, which is then taken away again."""

    def grown(self: Any, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)[0]
        return y + torch.nan_to_num(y * 1e200 * 1e100, posinf=0.0, neginf=0.0)

    with pytest.raises(export.ExportError, match="NaN or infinity at step 0"):
        export.export((Wrapped(grown), models.example()), tmp_path / "b", variants=["float32"])
    assert list(tmp_path.iterdir()) == []


def test_ranges_that_are_not_finite_have_no_integers(tmp_path: Path) -> None:
    file = recurrent(tmp_path / "m.onnx", change=lambda arrays: arrays.update(W=arrays["W"] * 0 + 3e38))
    with pytest.raises(export.ExportError, match="reaches NaN"):
        export.export(file, tmp_path / "b", calibration=models.walks(), variants=["int8"])
