"""Where a model may come from: examples that say what an ONNX file leaves open, weights of which nothing is run."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import edgeseq
import export
from export.errors import OptionError

MODULE = """
import torch
def plain():
    torch.manual_seed({seed})
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)), torch.zeros(1, 9, 5)
"""


def open_file(path: Path, dims: list[str | int], element: int = TensorProto.FLOAT) -> Path:
    """A model with sizes left open: y = tanh(x W) in its last axis."""
    weight = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Tanh", ["p"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", element, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 3)], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("dims", "axis"), [(["a", "b", "c"], None), ([1, "", ""], None), (["", "", ""], 0), ([1, "t", 5], None)]
)
@pytest.mark.parametrize("form", ["array", "npy", "npz", "names"])
def test_an_example_says_how_many_features_there_are(
    dims: list[str | int], axis: int | None, form: str, tmp_path: Path
) -> None:
    source = open_file(tmp_path / "m.onnx", dims)
    given: Any = np.zeros((1, 9, 5) if axis is None else (9, 1, 5), np.float32)
    if form == "npy":
        np.save(tmp_path / "x.npy", given)
        given = tmp_path / "x.npy"
    elif form == "npz":
        np.savez(tmp_path / "x.npz", x=given)
        given = tmp_path / "x.npz"
    elif form == "names":
        given = {"x": given}
    bundle = export.export(source, tmp_path / "b", example=given, time_axis=axis, variants=["float32"])
    x = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    weight = numpy_helper.to_array(onnx.load(source).graph.initializer[0])
    np.testing.assert_allclose(edgeseq.load(bundle).run(x), np.tanh(x @ weight), atol=1e-6)


def test_without_one_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match="--example"):
        export.export(open_file(tmp_path / "m.onnx", [1, "time", "features"]), tmp_path / "b")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.zeros((1, 9, 6), np.float32), r"takes floats of the shape \[1, time, 5\]; the example is float32 .*9, 6\]"),
        (np.zeros((9, 5), np.float32), "the example is float32 of the shape"),
        (np.zeros((1, 9, 5), np.int64), "the example is int64"),
        (np.zeros((1, 0, 5), np.float32), "the example is float32 of the shape"),
        ({"z": np.zeros((1, 9, 5), np.float32)}, "the model's inputs are x; give not 'z'"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(given: Any, reason: str, tmp_path: Path) -> None:
    source = open_file(tmp_path / "m.onnx", [1, "time", 5])
    with pytest.raises(OptionError, match=reason):
        export.export(source, tmp_path / "b", example=given)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("content", [b"", b"no numbers", pickle.dumps({"x": 1})])
def test_a_file_that_is_no_example_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(OptionError, match=r"is no \.npy or \.npz file of numbers"):
        export.export(open_file(tmp_path / "m.onnx", [1, "t", 5]), tmp_path / "b", example=tmp_path / "x.npy")
    with pytest.raises(OptionError, match=r"no \.npy or \.npz"):
        export.export(open_file(tmp_path / "m.onnx", [1, "t", 5]), tmp_path / "b", example=tmp_path / "none.npy")


def source(tmp_path: Path, seed: int) -> tuple[str, torch.nn.Module]:
    (tmp_path / "m.py").write_text(MODULE.format(seed=seed))
    space: dict[str, Any] = {}
    exec((tmp_path / "m.py").read_text(), space)  # noqa: S102 - the file written above
    return f"{tmp_path / 'm.py'}:plain", space["plain"]()[0]


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"epoch": 3, "model": state}])
def test_weights_come_from_a_file(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    _, trained = source(tmp_path, 7)
    name, _ = source(tmp_path, 0)
    torch.save(wrap(trained.state_dict()), tmp_path / "w.pt")
    bundle = export.export(name, tmp_path / "b", weights=tmp_path / "w.pt", variants=["float32"])
    x = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(edgeseq.load(bundle).run(x), trained(torch.from_numpy(x)).numpy(), atol=1e-6)


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("exploded"),)  # type: ignore[return-value]


def _scripted(path: Path) -> None:
    torch.jit.script(torch.nn.Linear(5, 4)).save(str(path))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save(torch.nn.Linear(5, 4), path),
        lambda path: path.write_bytes(pickle.dumps({"0.weight": Bomb()})),
        lambda path: torch.save({"0.weight": Bomb()}, path),
        _scripted,
        lambda path: path.write_bytes(b"nothing"),
    ],
)
def test_what_could_run_code_is_not_opened(
    write: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, _ = source(tmp_path, 0)
    write(tmp_path / "w.pt")
    with pytest.raises(OptionError, match="could run code"):
        export.export(name, tmp_path / "b", weights=tmp_path / "w.pt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: {k: v for k, v in state.items() if k != "0.bias"}, r"lacks 0\.bias\."),
        (lambda state: {**state, "more": torch.zeros(1)}, "holds more, not the module's"),
        (lambda state: {**state, "0.bias": torch.zeros(3)}, r"'0.bias' has the shape \(3,\); the module takes \(4,\)"),
        (lambda state: {"epoch": 3, **state}, "no state_dict"),
        (lambda _: {"a": 1}, "no state_dict"),
    ],
)
def test_weights_that_are_not_the_modules_are_refused(
    change: Callable[[Any], Any], reason: str, tmp_path: Path
) -> None:
    name, module = source(tmp_path, 0)
    torch.save(change(dict(module.state_dict())), tmp_path / "w.pt")
    with pytest.raises(export.ExportError, match=reason):
        export.export(name, tmp_path / "b", weights=tmp_path / "w.pt")


@pytest.mark.parametrize("ending", ["pt", "pth", "pkl", "h5"])
def test_a_file_that_runs_code_is_no_source(ending: str, tmp_path: Path) -> None:
    (tmp_path / f"m.{ending}").write_bytes(b"anything")
    command = [
        sys.executable,
        "-m",
        "edgeseq",
        "export",
        str(tmp_path / f"m.{ending}"),
        "--output",
        str(tmp_path / "b"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert "may run code" in done.stderr
    assert "--weights" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_of_other_sources_are_refused(tmp_path: Path) -> None:
    name, module = source(tmp_path, 0)
    with pytest.raises(OptionError, match=r"--example is for \.onnx files"):
        export.export(name, tmp_path / "b", example=np.zeros((1, 9, 5), np.float32))
    with pytest.raises(OptionError, match="--weights is for PyTorch sources"):
        export.export(open_file(tmp_path / "m.onnx", [1, "t", 5]), tmp_path / "b", weights=tmp_path / "w.pt")
    with pytest.raises(OptionError, match="cannot be used for a module that comes with"):
        export.export((module, models.example()), tmp_path / "b", weights=tmp_path / "w.pt")
