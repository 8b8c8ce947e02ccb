"""What does not bear integers is found, named and kept at a higher precision; without that, nothing is written."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

import models
import numpy as np
import onnx
import op_by_op
import pytest
import torch
from lowered import stream_of
from scans import node, save, scan, value
from torch import nn

import edgeseq
import export
from edgeseq import bundle as bundles
from export import beside, macs, proof
from export.graph import session
from export.lowering import lower
from export.program import Op, Program, ProgramInput
from export.quantize import flow
from export.quantize.calibrate import Seen, calibrate
from export.quantize.integers import quantize
from export.quantize.reference import Interpreter
from export.writers import onnx as writer

WALKS = models.walks(3, 300)


class Outliers(nn.Module):
    """A dense layer one of whose inputs is a thousand times the others, so that 8 bits have no step left for these."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.front, self.absurd, self.head = nn.Linear(models.FEATURES, 8), nn.Linear(9, 8), nn.Linear(8, 2)
        with torch.no_grad():
            self.absurd.weight[:, 8] *= 1e-3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.front(x))
        wide = torch.cat([y, 1000 * x[..., :1] ** 3], -1)
        return self.head(torch.tanh(self.absurd(wide)))


def exported(source: Any, folder: Path, **options: Any) -> bundles.Bundle:
    """Export without TFLite, which has its own tests."""
    given = {"calibration": WALKS, "variants": ["int8"]} | options
    with mock.patch.dict(beside.WRITERS):
        del beside.WRITERS["tflite"]
        return export.export(source, folder, **given)


def outliers() -> Any:
    return Outliers().eval(), models.example()


def test_a_layer_that_does_not_bear_int8_is_found_named_and_kept_higher(tmp_path: Path) -> None:
    bundle = exported(outliers(), tmp_path / "b")
    entry = next(entry for entry in bundle.manifest.parity if entry.backend == "ort")
    assert entry.passed
    assert entry.steps >= 10_000
    assert "int8: '/absurd/MatMul' (Linear) is kept in " in bundle.manifest.origin.note
    assert "/front/MatMul' (Linear) is kept" not in bundle.manifest.origin.note
    report = (bundle.path / "report.md").read_text("utf-8")
    assert "## How sensitive int8 is" in report
    (row,) = (line for line in report.splitlines() if line.startswith("| `/absurd/MatMul` | Linear | 72 | int8 |"))
    assert row.endswith(("| int16 |", "| float32 |"))


def test_without_that_protection_the_export_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "GOALS", (1e9,))  # all is allowed, so nothing is kept higher
    with pytest.raises(export.ExportError, match="int8 on ort misses its tolerance at output"):
        exported(outliers(), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_miss_is_made_again_closer_to_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "GOALS", (1e9, 0.75))
    bundle = exported(outliers(), tmp_path / "b")
    assert bundle.manifest.parity[0].passed
    assert "'/absurd/MatMul' (Linear) is kept in" in bundle.manifest.origin.note


def test_what_errs_at_the_start_alone_keeps_its_tolerance_on_the_goldens(tmp_path: Path) -> None:
    """A stream that stands still after its start: the error there is small over 10,000 steps, not over the goldens."""

    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.front, self.back, self.head = nn.Conv1d(5, 16, 5), nn.Conv1d(16, 16, 3, dilation=2), nn.Linear(16, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.front(nn.functional.pad(x.transpose(1, 2), (4, 0))))
            return self.head(torch.relu(self.back(nn.functional.pad(y, (4, 0)))).transpose(1, 2))

    frame = np.random.default_rng(0).normal(size=(1, models.FEATURES)).astype(np.float32)
    bundle = exported((Convolution().eval(), models.example()), tmp_path / "b", variants=None, calibration=[frame])
    assert all(verdict.passed for verdict in edgeseq.verification.verify.verify(bundle))
    assert "Nothing was written" not in bundle.manifest.origin.note


def integrator(path: Path, pole: float) -> str:
    """Write y = pole * y + x through a dense head."""
    body = [node("Mul", "h pole", "kept"), node("Add", "kept xt", "h1"), node("Identity", "h1", "hy")]
    inside, given = [value("h", [1, 2]), value("xt", [1, 2])], [value("h1", [1, 2]), value("hy", [1, 2])]
    nodes = [
        node("MatMul", "x front", "u"),
        scan("h0 u", body, inside, given, "last ys", scan_input_axes=[1], scan_output_axes=[1]),
        node("MatMul", "ys head", "y"),
    ]
    rng = np.random.default_rng(0)
    arrays = {
        "pole": np.full(2, pole), "h0": np.zeros((1, 2)), "front": 0.01 * rng.normal(size=(models.FEATURES, 2)),
        "head": rng.normal(size=(2, 2)),
    }  # fmt: skip
    return save(path, nodes, {name: array.astype(np.float32) for name, array in arrays.items()}, models.FEATURES)


@pytest.mark.parametrize("variant", ["int8", "w8a16"])
def test_a_pole_next_to_one_is_kept_in_float32(variant: str, tmp_path: Path) -> None:
    bundle = exported(integrator(tmp_path / "m.onnx", 0.9999), tmp_path / "b", variants=[variant])
    file, *_ = bundle.manifest.files
    (state,) = file.states
    assert bundle.manifest.parity[0].passed
    assert bundle.manifest.parity[0].steps >= 10_000
    assert (state.dtype, state.scale) == ("float32", None)
    assert f"{variant}: '{state.name}' (state) is kept in float32" in bundle.manifest.origin.note


def test_a_pole_further_off_stays_in_integers(tmp_path: Path) -> None:
    bundle = exported(integrator(tmp_path / "m.onnx", 0.9), tmp_path / "b")
    assert [[state.dtype for state in file.states] for file in bundle.manifest.files] == [["int16"]] * 2


@pytest.mark.parametrize("variant", ["int8", "w8a16"])
def test_the_counts_of_a_mean_over_ten_thousand_steps_are_kept_as_they_are(variant: str, tmp_path: Path) -> None:
    """A table of 1 to 12,000 in 8 bits would begin with zeros, by which nothing can be divided."""

    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumsum(x[..., :2], 1) / torch.arange(1, x.shape[1] + 1).unsqueeze(-1)

    bundle = exported((Mean(), models.example()), tmp_path / "b", variants=[variant], max_steps=12_000)
    file = next(file for file in bundle.manifest.files if file.format == "onnx")
    assert bundle.manifest.parity[0].passed
    assert {state.dtype for state in file.states} <= {"float64", "float32", "int64"}
    told = "(Gather) is kept in int16: alone in int8 it gives no finite output"
    assert f"{variant}: 'stream.gather' {told}" in bundle.manifest.origin.note
    x = models.walks(1)[0]
    means = np.cumsum(x[:50, :2].astype(np.float64), axis=0) / np.arange(1, 51)[:, None]
    np.testing.assert_allclose(edgeseq.load(bundle, backend="ort").run(x[:50]), means, atol=1e-5)


def test_how_a_range_is_chosen_differs_from_tensor_to_tensor() -> None:
    rng = np.random.default_rng(0)
    rules = {}
    for name, drawn in {
        "two values": rng.choice([-1, 1], (4000, 1)),
        "bell": rng.normal(size=(40_000, 1)),
        "heavy tails": rng.standard_t(3, (4000, 1)),
    }.items():
        sample = drawn.astype(np.float32)
        low, high, rules[name] = Seen(sample.min(axis=0), sample.max(axis=0), sample).best_range
        assert sample.min() <= low < 0 < high <= sample.max()
    assert rules["two values"] == "whole"
    assert rules["bell"] == "mse"
    assert rules["heavy tails"].startswith("percentile 99.9")


@pytest.mark.parametrize("rule", ["whole", "percentile", "mse"])
def test_the_range_with_the_least_error_is_taken(rule: str) -> None:
    """None of all that are tried gives a smaller error on the sample."""
    rng = np.random.default_rng(1)
    sample = {
        "whole": rng.uniform(-3, 1, (2000, 2)),
        "percentile": rng.standard_t(2, (2000, 2)),
        "mse": rng.normal(size=(2000, 2)),
    }[rule].astype(np.float32)
    low, high, _ = Seen(sample.min(axis=0), sample.max(axis=0), sample).best_range

    def error(least: float, most: float) -> float:
        scale = (most - least) / 255
        zero = np.rint(-least / scale)
        return float(np.mean(np.square((np.clip(np.rint(sample / scale) + zero, 0, 255) - zero) * scale - sample)))

    ends = float(sample.min()), float(sample.max())
    tried = [ends, *((ends[0] * share, ends[1] * share) for share in np.linspace(0.4, 1, 31))]
    assert error(low, high) <= min(error(*pair) for pair in tried) * (1 + 1e-6)


def test_the_report_says_how_each_range_was_chosen(gru_bundle: bundles.Bundle) -> None:
    report = (gru_bundle.path / "report.md").read_text("utf-8")
    table = report.split("## How int8 is stored")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    rules = {row[6] for row in rows if row[3] == "int8" and row[6]}
    assert rules
    assert all(rule in {"whole", "mse"} or rule.startswith("percentile 99.") for rule in rules)


def test_a_reset_within_a_sequence_stays_within_the_ranges() -> None:
    """A state that starts from its reset in the middle of things goes where it never is later."""

    class Settling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(models.FEATURES, 2, 5, bias=False)
            with torch.no_grad():  # the newest frame less those before: small, but at the start
                self.conv.weight[:] = torch.tensor([-0.25, -0.25, -0.25, -0.25, 1.0])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(nn.functional.pad(x.transpose(1, 2), (4, 0))).transpose(1, 2)

    program = lower(stream_of((Settling(), models.example())))
    walks = models.walks(2, 400)
    made = quantize(program, calibrate(program, walks), "int8")
    late = walks[0][256:290]  # one of the places where calibration was reset, too
    given = Interpreter(made).run(late)
    expected = np.array([late[max(0, t - 4) : t + 1].sum() for t in range(len(late))])
    expected = 1.25 * late.sum(axis=1) - 0.25 * expected
    assert np.abs(given[:5] - expected[:5, None]).max() < 0.1 * np.abs(expected[:5]).max()


class Uneven(nn.Module):
    """Linear and convolutional layers whose outputs' weights differ in size, so that one scale would not do for all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.front, self.conv, self.head = nn.Linear(models.FEATURES, 8), nn.Conv1d(8, 8, 3), nn.Linear(8, 2)
        with torch.no_grad():
            for layer in (self.front, self.conv):
                layer.weight[0] *= 100

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.front(x)).transpose(1, 2)
        y = torch.relu(self.conv(nn.functional.pad(y, (2, 0))))
        return self.head(torch.sigmoid(y).transpose(1, 2))


@pytest.mark.parametrize("variant", ["int8", "w8a16"])
def test_onnxruntime_leaves_in_float32_what_is_kept_there(variant: str) -> None:
    """Its optimizer would store the float weights between integers in int8, one scale for all outputs."""
    stream = stream_of((Uneven().eval(), models.example()))
    program, walks = lower(stream), models.walks(2, 400)
    kept = {op.output: "float32" for op in program.ops if op.kind in {"Linear", "Conv"}}
    made = quantize(program, calibrate(program, walks), variant, kept)  # type: ignore[arg-type]
    model = writer.quantized_step(made, ["y"])
    optimized = macs.optimize(model)
    products = [node for node in optimized.graph.node if node.op_type in {"Gemm", "FusedGemm", "Conv", "FusedConv"}]
    assert len(products) == len(kept)
    stored = {tensor.name: tensor.data_type for tensor in optimized.graph.initializer}
    assert {stored.get(node.input[1]) for node in products} == {onnx.TensorProto.FLOAT}
    runtime, interpreter = session(model), Interpreter(made)
    for x in walks[0][:50]:
        feeds = {made.inputs[0].name: made.inputs[0].enter(x[None, None])[0]}
        feeds |= {
            f"{state.name}.in": op_by_op.as_stored(made, state.input, interpreter.state[state.name][0])
            for state in made.states
        }
        expected = interpreter.step(x[None])[0]
        np.testing.assert_allclose(runtime.run(["y"], feeds)[0].reshape(-1), expected, atol=2e-3)


def test_calibration_of_many_sequences_side_by_side_holds_few_rows_of_them() -> None:
    """400 streams hold 400 times the values of a step, but not of hundreds of steps."""
    program = lower(stream_of((models.gru(), models.example())))
    peaks = []
    for streams in (1, 400):
        walks = models.walks(streams, 300)
        tracemalloc.start()
        calibrate(program, walks)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 15 * peaks[0]


def test_what_is_split_and_joined_again_and_again_is_looked_at_once() -> None:
    """Each time there are twice as many ways through it."""
    program = Program([ProgramInput("x", (1, 8), 0, slice(0, 8))], shapes={"x": (1, 8)})
    name = "x"
    for turn in range(40):
        halves = [
            program.emit(
                Op("Slice", f"{name}.{start}", (name,), attributes={"starts": (0, start), "ends": (1, start + 4)}),
                (1, 4),
            )
            for start in (0, 4)
        ]
        name = program.emit(Op("Concat", f"joined{turn}", tuple(halves[::-1]), attributes={"axis": 1}), (1, 8))
    program.emit(Op("Relu", "y", (name,)), (1, 8))
    assert [op.output for op in flow.behind("x", program.readers())] == ["y"]
