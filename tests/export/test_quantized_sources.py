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
from onnx import helper, numpy_helper
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
