"""The TFLite files themselves: what stands in them, and that whatever is changed in one is noticed."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import models
import msgspec
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from test_exporter import resum
from test_reference import lowered

import export
from edgeseq import bundle as bundles
from edgeseq.bundle import ParityTable
from edgeseq.errors import ModelError
from edgeseq.types import StepModel
from edgeseq.verification import verify
from export import parity
from export.quantize.calibrate import calibrate
from export.quantize.integers import quantize
from export.writers import tflite

VARIANTS = ("float32", "int8", "w8a16")
NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def read(path: Path) -> Any:
    return schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)


def tensors(model: Any) -> dict[str, Any]:
    return {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors}


@pytest.fixture(params=VARIANTS)
def file(request: pytest.FixtureRequest, gru_bundle: bundles.Bundle) -> bundles.ModelFile:
    return gru_bundle.file(request.param, "tflite")


class Convolved(torch.nn.Module):
    """Two convolutions in a row, one of them in groups, over time and features; then a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(1, 4, 3, padding=(0, 1)), torch.nn.Conv2d(4, 4, 3, padding=(0, 1), groups=2)
        self.norm, self.head = torch.nn.LayerNorm(4 * models.FEATURES), torch.nn.Linear(4 * models.FEATURES, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.a(torch.nn.functional.pad(x[:, None], (0, 0, 2, 0))))
        y = torch.relu(self.b(torch.nn.functional.pad(y, (0, 0, 2, 0))))
        return self.head(self.norm(y.transpose(1, 2).flatten(2)))


VERSIONS = {
    ("FULLY_CONNECTED", "FLOAT32"): 5, ("CONV_2D", "FLOAT32"): 1, ("CONV_2D", "INT8"): 3, ("CONV_2D", "INT16"): 4,
    ("ADD", "FLOAT32"): 1, ("ADD", "INT16"): 3, ("ADD", "INT64"): 4, ("SUB", "FLOAT32"): 1, ("SUB", "INT16"): 5,
    ("MUL", "FLOAT32"): 1, ("MUL", "INT16"): 4, ("SLICE", "FLOAT32"): 1, ("SLICE", "INT8"): 2, ("SLICE", "INT16"): 4,
    ("TRANSPOSE", "FLOAT32"): 1, ("TRANSPOSE", "INT8"): 2, ("TRANSPOSE", "INT16"): 5, ("QUANTIZE", "INT8"): 1,
    ("CONCATENATION", "FLOAT32"): 1, ("CONCATENATION", "INT8"): 2, ("CONCATENATION", "INT16"): 3,
    ("QUANTIZE", "INT16"): 2, ("DEQUANTIZE", "INT8"): 2, ("DEQUANTIZE", "INT16"): 3, ("PAD", "INT8"): 2,
    ("PAD", "INT16"): 3, ("RELU", "INT16"): 3, ("SPLIT", "FLOAT32"): 1, ("SPLIT", "INT8"): 2, ("SPLIT", "INT16"): 4,
}  # fmt: skip
"""As op_version.cc of TensorFlow gives them; a version too high is refused, one too low is computed wrong."""


def versions(model: Any) -> set[tuple[str, str, int]]:
    """Give the ops of a file: name, type (that of the first input; of QUANTIZE and SPLIT the output's), version."""
    graph, found = model.subgraphs[0], set()
    types = {code: name for name, code in vars(schema.TensorType).items()}
    for op in graph.operators:
        code = model.operatorCodes[op.opcodeIndex]
        assert code.customCode is None
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)
        name = NAMES[code.builtinCode]
        place = op.outputs[0] if name in {"QUANTIZE", "SPLIT"} else op.inputs[0]
        shapes = [graph.tensors[index].shape for index in op.inputs]
        grouped = name == "CONV_2D" and shapes[0][3] != shapes[1][3]
        title = f"{name} in groups" if grouped else name
        found.add((title, types[graph.tensors[place].type], code.version))
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("make", [models.gru, Convolved])
def test_ops_are_stock_ones_at_the_versions_of_their_types(make: Callable[[], Any], variant: str) -> None:
    torch.manual_seed(0)
    stream, program = lowered(make().eval())
    if variant != "float32":
        program = quantize(program, calibrate(program, models.walks(1, 100)), variant)
    content = tflite.write(program, [str(value.name) for value in stream.outputs])
    found = versions(schema.ModelT.InitFromPackedBuf(content, 0))
    wrong = {entry for entry in found if entry[2] != VERSIONS.get(entry[:2], 6 if "groups" in entry[0] else 1)}
    assert not wrong
    products = {name for name, *_ in found if name.startswith(("CONV", "FULLY"))}
    plain = "FULLY_CONNECTED" if variant == "float32" else "CONV_2D"
    assert products == ({plain} if make is models.gru else {plain, "CONV_2D", "CONV_2D in groups"})


def test_the_signature_names_frame_output_and_state_pairs(gru_bundle: bundles.Bundle, file: bundles.ModelFile) -> None:
    model, graph = read(gru_bundle.path / file.path), gru_bundle.graph()
    (signature,) = model.signatureDefs
    assert signature.signatureKey == b"step"
    sides = signature.inputs, signature.outputs
    entering, leaving = ({entry.name.decode(): entry.tensorIndex for entry in side} for side in sides)
    assert list(entering) == [graph.inputs[0].name, *(state.input for state in file.states)]
    assert list(leaving) == [graph.outputs[0].name, *(state.output for state in file.states)]
    assert [state.input for state in file.states] == [f"{state.name}.in" for state in graph.states]
    assert (list(entering.values()), list(leaving.values())) == (
        model.subgraphs[0].inputs.tolist(), model.subgraphs[0].outputs.tolist(),
    )  # fmt: skip
    assert len({*entering.values(), *leaving.values()}) == len(entering) + len(leaving)


def test_a_state_enters_as_it_leaves(gru_bundle: bundles.Bundle, file: bundles.ModelFile) -> None:
    found = tensors(read(gru_bundle.path / file.path))
    for state in file.states:
        pair = found[state.input], found[state.output]
        assert pair[0].shape.tolist() == pair[1].shape.tolist()
        assert pair[0].type == pair[1].type
        if state.scale is None:
            assert pair[0].quantization is pair[1].quantization is None
            continue
        for tensor in pair:
            assert tensor.quantization.scale.tolist() == [np.float32(state.scale)]
            assert tensor.quantization.zeroPoint.tolist() == [state.zero_point]


def test_constants_lie_aligned_and_the_runtime_is_named(gru_bundle: bundles.Bundle, file: bundles.ModelFile) -> None:
    content = (gru_bundle.path / file.path).read_bytes()
    model, view = read(gru_bundle.path / file.path), schema.Model.GetRootAs(content)
    for place in range(1, view.BuffersLength()):
        data = view.Buffers(place).DataAsNumpy()
        assert (data.__array_interface__["data"][0] - np.frombuffer(content, np.uint8).ctypes.data) % 16 == 0
    (entry,) = model.metadata
    runtime = bytes(model.buffers[entry.buffer].data).rstrip(b"\0").decode()
    assert (entry.name, runtime) == (b"min_runtime_version", "2.0.0" if file.variant == "float32" else "2.4.0")


def test_weights_are_quantized_row_by_row_and_biases_fit_them(gru_bundle: bundles.Bundle) -> None:
    for variant, kind, activation in (("int8", np.int32, "INT8"), ("w8a16", np.int64, "INT16")):
        model = read(gru_bundle.path / f"step.{variant}.tflite")
        graph = model.subgraphs[0]
        products = [op for op in graph.operators if NAMES[model.operatorCodes[op.opcodeIndex].builtinCode] == "CONV_2D"]
        assert products
        for op in products:
            x, weight, bias = (graph.tensors[index] for index in op.inputs)
            assert x.type == getattr(schema.TensorType, activation)
            assert len(weight.quantization.scale) == weight.shape[0]
            assert weight.quantization.quantizedDimension == 0
            np.testing.assert_allclose(bias.quantization.scale, weight.quantization.scale * x.quantization.scale, 1e-6)
            assert not weight.quantization.zeroPoint.any()
            assert len(model.buffers[bias.buffer].data) == bias.shape[0] * kind().itemsize


def test_equal_programs_give_equal_bytes_and_int8_is_small() -> None:
    class Wide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = torch.nn.GRU(models.FEATURES, 256, batch_first=True), torch.nn.Linear(256, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.layer(x)[0])

    torch.manual_seed(0)
    stream, program = lowered(Wide().eval())  # type: ignore[arg-type]
    seen, outputs = calibrate(program, models.walks(1, 100)), [str(value.name) for value in stream.outputs]
    sizes = {}
    for variant in VARIANTS:
        made = program if variant == "float32" else quantize(program, seen, variant)
        content = tflite.write(made, outputs)
        assert content == tflite.write(made, outputs)
        sizes[variant] = len(content), tflite.weight_bytes(made)
    whole = sizes.pop("float32")
    assert whole[0] > 500_000
    for size in sizes.values():  # 28.6 % and 29.3 % of the file
        assert size[0] <= 0.3 * whole[0]
        assert size[1] <= 0.3 * whole[1]


def scaled_by(tensor: Any, factor: float) -> None:
    tensor.quantization.scale = tensor.quantization.scale * np.float32(factor)


def scaled(model: Any) -> None:
    """Patch the scales of the widest weights."""
    weights = [tensor for name, tensor in tensors(model).items() if name.endswith(".weight")]
    scaled_by(max(weights, key=lambda tensor: tensor.shape[-1] * tensor.shape[0]), 1.2)


def shifted(model: Any) -> None:
    """Shift the zero point of what a product gives to the end of its range: all below is cut off."""
    graph = model.subgraphs[0]
    product = next(op for op in graph.operators if NAMES[model.operatorCodes[op.opcodeIndex].builtinCode] == "CONV_2D")
    quantization = graph.tensors[product.outputs[0]].quantization
    quantization.zeroPoint = np.full_like(quantization.zeroPoint, -128)


def swapped(model: Any) -> None:
    """Swap two rows of weights."""
    tensor = next(tensor for name, tensor in tensors(model).items() if name.endswith(".weight"))
    buffer = model.buffers[tensor.buffer]
    rows = np.array(buffer.data).reshape(tensor.shape[0], -1)
    rows[[0, 1]] = rows[[1, 0]]
    buffer.data = rows.reshape(-1)


def floated(model: Any) -> None:
    """Let tanh be a sigmoid."""
    names = {NAMES[code.builtinCode]: code for code in model.operatorCodes}
    code = names["TANH"]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.LOGISTIC


def patched(bundle: bundles.Bundle, folder: Path, variant: str, change: Callable[[Any], None]) -> bundles.Bundle:
    copy = Path(shutil.copytree(bundle.path, folder / "b"))
    path = copy / f"step.{variant}.tflite"
    model = read(path)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    resum(copy)
    return bundles.read(copy)


def failed(bundle: bundles.Bundle) -> list[tuple[str, str]]:
    return [(verdict.variant, verdict.backend) for verdict in verify.verify(bundle) if not verdict.passed]


@pytest.mark.parametrize(
    ("variant", "change"),
    [
        ("float32", swapped), ("float32", floated), ("int8", scaled), ("int8", shifted), ("int8", swapped),
        ("int8", floated), ("w8a16", scaled), ("w8a16", swapped), ("w8a16", floated),
    ],
)  # fmt: skip
def test_what_was_changed_in_a_file_is_named(
    variant: str, change: Callable[[Any], None], gru_bundle: bundles.Bundle, tmp_path: Path
) -> None:
    assert failed(patched(gru_bundle, tmp_path, variant, change)) == [(variant, "litert")]


def test_a_file_that_is_only_packed_anew_passes(gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    assert not failed(patched(gru_bundle, tmp_path, "int8", lambda _: None))


@pytest.mark.parametrize("end", ["in", "out"])
def test_a_state_that_leaves_otherwise_than_it_enters_is_refused(
    end: str, gru_bundle: bundles.Bundle, tmp_path: Path
) -> None:
    (state,) = gru_bundle.file("int8", "tflite").states

    def change(model: Any) -> None:
        scaled_by(tensors(model)[f"{state.name}.{end}"], 2)

    with pytest.raises(ModelError, match=rf"step\.int8\.tflite: the state '{state.name}' is stored at scale"):
        verify.verify(patched(gru_bundle, tmp_path, "int8", change))


def test_a_step_with_an_op_that_tflite_has_not_has_no_such_file_and_says_why(tmp_path: Path) -> None:
    class Doubled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(models.FEATURES, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.exp(x.double()).to(self.head.weight.dtype))

    options = {"calibration": models.walks(1), "variants": ["float32"]}
    bundle = export.export((Doubled().eval(), models.example()), tmp_path / "b", **options)
    assert {file.format for file in bundle.manifest.files} == {"onnx", "npz"}
    assert bundle.manifest.defaults == {"native": "float32", "ort": "float32"}
    told = r"TFLite was left out of float32: node '.*' \(Exp\): TFLite has it not for float64\."
    assert re.search(told, bundle.manifest.origin.note)


def test_without_the_library_it_is_left_out_and_the_extra_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(export.ExportError, match=r"edgeseq\[tflite\]"):
        tflite.schema()
    options = {"calibration": models.walks(1), "variants": ["float32"]}
    bundle = export.export((models.gru(hidden=4), models.example()), tmp_path / "b", **options)
    assert [file.path for file in bundle.manifest.files] == ["step.float32.onnx", "step.float32.npz"]
    assert "TFLite was left out of float32: TFLite files need ai-edge-litert" in bundle.manifest.origin.note
    assert "pip install 'edgeseq[tflite]'" in (tmp_path / "b" / "report.md").read_text()


@pytest.mark.parametrize("variants", [["float32"], ["int8"]])
def test_a_file_that_misses_what_the_onnx_file_keeps_is_left_out(
    variants: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def coarse(model: StepModel, _: parity.Truth, entry: ParityTable) -> ParityTable:
        return msgspec.structs.replace(entry, passed=model.backend == "ort")

    monkeypatch.setattr(parity, "replayed", coarse)
    options: dict[str, Any] = {"calibration": models.walks(1), "variants": variants}
    bundle = export.export((models.gru(hidden=4), models.example()), tmp_path / "b", **options)
    assert [file.format for file in bundle.manifest.files] == ["onnx"]
    assert [entry.backend for entry in bundle.manifest.parity] == ["ort"]
    assert not [*bundle.path.glob("*.tflite")]
    told = (
        rf"TFLite was left out of {variants[0]}: {variants[0]} on litert misses its tolerance at output \d: .*allowed\."
    )
    assert re.search(told, bundle.manifest.origin.note)
