"""The streaming rewrite: the step, run freely, is the sequence model."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import edgeseq
import export


def frames(steps: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps, models.FEATURES)).astype(np.float32)


@pytest.mark.parametrize("seed", models.seeds(8, (1, 3, 4, 6)))
def test_a_random_network_streams_from_output_0_on(seed: int, tmp_path: Path) -> None:
    module = models.random_module(seed)
    export.export((module, models.example()), tmp_path / "b", calibration=models.walks(), variants=["float32"])
    x = frames(200, seed)
    with torch.no_grad():
        single = module(torch.from_numpy(x[None]))[0].numpy()
        expected = module.double()(torch.from_numpy(x[None]).double())[0].numpy()
    given = edgeseq.load(tmp_path / "b", variant="float32").run(x)
    own_error = np.abs(single - expected).max()
    np.testing.assert_allclose(given, expected, rtol=0, atol=max(1e-5 * expected.std(), 4 * own_error))


def test_chunks_single_steps_and_states_agree_bit_for_bit(gru_bundle: edgeseq.bundle.Bundle) -> None:
    x = frames(60)
    for variant in ("float32", "int8", "w8a16"):
        model = edgeseq.load(gru_bundle, variant=variant)
        whole = model.run(x)
        end = model.get_state()
        model.reset()
        pieces = np.concatenate([model.run(x[:7]), model.step(x[7])[None], model.run(x[8:8]), model.run(x[8:])])
        np.testing.assert_array_equal(whole, pieces)
        for name, value in model.get_state().items():
            np.testing.assert_array_equal(value, end[name])


def test_a_restored_state_goes_on_where_it_was(gru_bundle: edgeseq.bundle.Bundle) -> None:
    x = frames(50)
    model = edgeseq.load(gru_bundle)
    model.run(x[:20])
    kept = model.get_state()
    expected = model.run(x[20:])
    other = model.fork()
    np.testing.assert_array_equal(model.run(x[:1]).shape, (1, 2))
    other.set_state(kept)
    np.testing.assert_array_equal(other.run(x[20:]), expected)


def test_a_last_step_model_needs_a_choice_and_then_gives_every_prefix(tmp_path: Path) -> None:
    module = models.random_module(3, last=True)
    options = {"calibration": models.walks(), "variants": ["float32"]}
    with pytest.raises(export.ExportError, match="--state carry"):
        export.export((module, models.example()), tmp_path / "b", **options)
    assert not (tmp_path / "b").exists()
    export.export((module, models.example()), tmp_path / "b", state="carry", **options)
    x = frames(30)
    given = edgeseq.load(tmp_path / "b").run(x)
    for end in (1, 2, 17, 30):
        with torch.no_grad():
            expected = module(torch.from_numpy(x[None, :end]))[0].numpy()
        np.testing.assert_allclose(given[end - 1], expected, atol=1e-5)


class _Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(models.FEATURES, 4, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


class _OverTime(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.layer = nn.GRU(models.FEATURES, 4, batch_first=True)
        self.what = what

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)[0]
        if self.what == "softmax":
            return torch.softmax(y, dim=1)
        if self.what == "mean":
            return y - y.mean(dim=1, keepdim=True)
        if self.what == "length":
            return y / x.shape[1]
        return y @ (y.transpose(1, 2) @ y)


@pytest.mark.parametrize(
    ("module", "node", "reason"),
    [
        (_Both(), "GRU", "bidirectional"),
        (_OverTime("softmax"), "Softmax", "weights over all time change"),
        (_OverTime("mean"), "ReduceMean", "into the future"),
        (_OverTime("length"), "Div", "number of time steps"),
        (_OverTime("attention"), "MatMul", "into the future"),
    ],
)
def test_what_cannot_stream_is_refused_by_node_and_reason(
    module: nn.Module, node: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(export.ExportError, match=rf"node '.*' \({node}\).*{reason}"):
        export.export((module, models.example()), tmp_path / "b", variants=["float32"])
    assert list(tmp_path.iterdir()) == []


def _gru_file(path: Path, *, scramble: bool, time_first: bool, initial: np.ndarray | None) -> None:
    """A GRU written by hand with linear_before_reset=0, and, where asked, an initial state that is not zero."""
    rng = np.random.default_rng(0)
    hidden, features = 6, models.FEATURES
    arrays = {
        "W": rng.normal(size=(1, 3 * hidden, features)) * 0.5,
        "R": rng.normal(size=(1, 3 * hidden, hidden)) * 0.5,
        "B": rng.normal(size=(1, 6 * hidden)) * 0.2,
    }
    if initial is not None:
        arrays["H"] = initial
    rename = {name: f"q{index}" if scramble else name for index, name in enumerate(arrays)}
    tensors = [onnx.numpy_helper.from_array(a.astype(np.float32), rename[n]) for n, a in arrays.items()]
    inputs = ["x0" if not time_first else "x", rename["W"], rename["R"], rename["B"], "", rename.get("H", "")]
    nodes = [] if time_first else [helper.make_node("Transpose", ["x"], ["x0"], perm=[1, 0, 2])]
    nodes += [
        helper.make_node("GRU", inputs, ["y0"], "cell", hidden_size=hidden),
        helper.make_node("Squeeze", ["y0", "one"], ["y1"]),
        helper.make_node("Identity", ["y1"], ["y"]),
    ]
    tensors.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    shape = ["time", 1, features] if time_first else ["batch", "time", features]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c"])],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)


@pytest.mark.long
@pytest.mark.parametrize("scramble", [False, True])
@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("start", [None, 0.3])
def test_an_onnx_gru_of_the_other_reset_form_streams(
    *, scramble: bool, time_first: bool, start: float | None, tmp_path: Path
) -> None:
    initial = None if start is None else np.linspace(-start, start, 6).reshape(1, 1, 6)
    _gru_file(tmp_path / "m.onnx", scramble=scramble, time_first=time_first, initial=initial)
    bundle = export.export(str(tmp_path / "m.onnx"), tmp_path / "b", calibration=models.walks())
    assert [e.variant for e in bundle.manifest.parity if e.backend == "ort"] == ["float32", "int8", "w8a16"]
    model = edgeseq.load(bundle, variant="float32")
    if initial is not None:
        np.testing.assert_allclose(model.get_state()["gru0.h"].reshape(-1), initial.reshape(-1), atol=1e-7)
