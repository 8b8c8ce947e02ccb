"""float16 and w8: weights stored smaller, for every kind of step, computed in float32."""

from __future__ import annotations

import collections
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chained_models
import numpy as np
import onnx
import pytest
import seq2seq_models
import stored_models as models
import torch
from onnx import TensorProto, helper, numpy_helper
from test_exporter import resum
from test_scan import FEATURES as SCANNED
from test_scan import gru

import edgeseq
import export
from edgeseq import bundle as bundles
from edgeseq.bundle import GenerateTable
from edgeseq.errors import ModelError
from edgeseq.verification import verify
from export import macs, storage
from export.about import About

pytestmark = pytest.mark.long

ALL = ("float32", "float16", "w8")
FAMILIES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "gru": (lambda: (models.Recurrent("GRU", 192), models.frames()), {}),
    "gru restarted": (lambda: (models.Recurrent("GRU", 192), models.frames()), {"restart": 4}),
    "lstm": (lambda: (models.Recurrent("LSTM", 160), models.frames()), {}),
    "tcn": (lambda: (models.Temporal(), models.frames(40)), {}),
    "conv2d": (lambda: (models.Spectral(), models.frames(30)), {}),
    "gpt": (lambda: (models.Words(), torch.zeros(1, 20, dtype=torch.int64)), {"max_steps": models.LENGTH}),
}
Array = np.ndarray[Any, Any]


def products(path: Path) -> collections.Counter[str]:
    """The ops that onnxruntime runs in place of a file, as far as they tell what became of its weights."""
    ops = collections.Counter(node.op_type for node in macs.optimize(onnx.load(path)).graph.node)
    kinds = {"Cast", "Mul", "MatMulNBits", "DequantizeLinear", *macs.RULES}
    return collections.Counter({op: count for op, count in ops.items() if op in kinds})


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    make, options = FAMILIES[request.param]
    torch.manual_seed(0)
    module, example = make()
    output = tmp_path_factory.mktemp("stored") / "b"
    return export.export((module.eval(), example), output, variants=ALL, **options)


def test_every_family_is_stored_smaller_and_proven(family: bundles.Bundle) -> None:
    for backend, ending in (("ort", "onnx"), ("litert", "tflite"), ("native", "npz")):
        there = [file for file in family.manifest.files if file.format == ending]
        sizes = {file.variant: (family.path / file.path).stat().st_size for file in there}
        assert ending != "onnx" or sizes["float32"] >= 500_000
        assert sizes["float16"] <= 0.52 * sizes["float32"]
        assert sizes["w8"] <= 0.30 * sizes["float32"]
        proven = [entry for entry in family.manifest.parity if entry.backend == backend]
        assert [(entry.variant, entry.metric, entry.passed) for entry in proven] == [
            ("float32", "max", True), ("float16", "rms", True), ("w8", "rms", True),
        ]  # fmt: skip
    assert all(verdict.passed for verdict in verify.verify(family))
    assert "weights are stored as float16" in (family.path / "report.md").read_text("utf-8")


def test_onnxruntime_runs_the_very_graph_of_float32(family: bundles.Bundle) -> None:
    """The casts and scales are computed once, at load; no product is turned into one of integers."""
    plain = products(family.path / "step.float32.onnx")
    counted = {file.variant: (file.integer_macs, file.float_macs) for file in family.manifest.files}
    for variant in ("float16", "w8"):
        assert products(family.path / f"step.{variant}.onnx") == plain
        assert counted[variant] == counted["float32"]


def spoil(path: Path, ending: str, factor: float) -> None:
    """Scale the greatest stored tensor whose name ends so, and make the sums anew."""
    for file in path.glob("*.onnx"):
        model = onnx.load(file)
        named = [tensor for tensor in model.graph.initializer if tensor.name.endswith(ending)]
        if named:
            tensor = max(named, key=lambda tensor: len(tensor.raw_data))
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array((array * factor).astype(array.dtype), tensor.name))
            onnx.save(model, file)
    resum(path)


@pytest.mark.parametrize(("ending", "factor", "bitten"), [(".scale", 1.3, "w8"), (".float16", 1.02, "float16")])
def test_a_patched_weight_is_found_and_named(
    ending: str, factor: float, bitten: str, family: bundles.Bundle, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(family.path, tmp_path / "b"))
    spoil(copy, ending, factor)
    verdicts = {(verdict.variant, verdict.backend): verdict.passed for verdict in verify.verify(bundles.read(copy))}
    choices = [(name, on) for name in ALL for on in ("ort", "litert", "native")]
    assert verdicts == {choice: choice != (bitten, "ort") for choice in choices}


@pytest.mark.parametrize(
    ("make", "graphs"),
    [
        (lambda: seq2seq_models.Recurrent(hidden=64), ["encoder", "decoder"]),
        (lambda: seq2seq_models.Recurrent(attention="dot", hidden=64), ["encoder", "decoder"]),
        (lambda: chained_models.Backwards(hidden=128), ["encoder-1", "encoder", "decoder"]),
    ],
)
def test_encoder_decoders_have_them_too(make: Any, graphs: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = make().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2)  # as training has it: untrained, the outputs hardly vary
    about = About(generate=GenerateTable(start=1, stop=5, max_length=12))
    example = seq2seq_models.tokens()
    bundle = export.export((module, example), tmp_path / "b", about=about, variants=ALL, default="w8")
    assert edgeseq.load(bundle).variant == "w8"
    sizes = {file.path: (bundle.path / file.path).stat().st_size for file in bundle.manifest.files}
    assert [graph.name for graph in bundle.manifest.graphs] == graphs
    for graph in graphs:
        whole = sizes[f"{graph}.float32.onnx"]
        assert sizes[f"{graph}.float16.onnx"] < 0.6 * whole
        assert sizes[f"{graph}.w8.onnx"] < 0.4 * whole
        assert sizes[f"{graph}.w8.tflite"] < 0.5 * sizes[f"{graph}.float32.tflite"]
    choices = [(name, on) for name in ALL for on in ("ort", "litert", "native")]
    assert {(entry.variant, entry.backend) for entry in bundle.manifest.parity} == set(choices)
    assert all(entry.passed for entry in bundle.manifest.parity)
    spoil(bundle.path, ".scale", 1.5)
    verdicts = {
        (verdict.variant, verdict.backend): verdict.passed for verdict in verify.verify(bundles.read(bundle.path))
    }
    assert verdicts == {choice: choice != ("w8", "ort") for choice in choices}
    edgeseq.load(bundle.path, variant="float16")
    with pytest.raises(ModelError, match=r"w8 on ort .* does not compute here"):
        edgeseq.load(bundle.path, backend="ort", variant="w8")


def test_weights_inside_a_loop_are_stored_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LEAST", 8)
    monkeypatch.setattr(storage, "SHARING", 2)
    bundle = export.export(gru(tmp_path / "m.onnx", 1, last=True), tmp_path / "b", time_axis=1, window=6, variants=ALL)
    assert "Scan" in {node.op_type for node in onnx.load(bundle.path / "step.w8.onnx").graph.node}
    for variant, ending in (("float16", ".float16"), ("w8", ".int8")):
        names = [tensor.name for tensor in onnx.load(bundle.path / f"step.{variant}.onnx").graph.initializer]
        assert any(name.endswith(ending) for name in names)
        assert products(bundle.path / f"step.{variant}.onnx") == products(bundle.path / "step.float32.onnx")
    x = np.random.default_rng(0).normal(size=(40, SCANNED)).astype(np.float32)
    near = [edgeseq.load(bundle, variant=name).run(x)[6:] for name in ALL]
    assert 0 < np.abs(near[2] - near[0]).max() < 0.1 * near[0].std()


def model(nodes: list[onnx.NodeProto], arrays: dict[str, Array], shape: tuple[int, ...]) -> onnx.ModelProto:
    kinds = {"f": np.float32, "i": np.int64}
    constants = [numpy_helper.from_array(array.astype(kinds[array.dtype.kind]), name) for name, array in arrays.items()]
    entering = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "g", [entering], [onnx.ValueInfoProto(name="y")], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def node(op: str, inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), ["y"], **attributes)


TURNED = helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0])
READERS: dict[str, tuple[list[onnx.NodeProto], tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    # nodes, the weight's shape, the axes of its outputs, the input's shape
    "matmul": ([node("MatMul", "x w")], (24, 9), (1,), (1, 24)),
    "matmul on the left": ([node("MatMul", "w x")], (9, 24), (0,), (24, 1)),
    "matmul of a stack": ([node("MatMul", "x w")], (3, 24, 9), (0, 2), (3, 1, 24)),
    "gemm": ([node("Gemm", "x w")], (24, 9), (1,), (1, 24)),
    "gemm turned": ([node("Gemm", "x w", transB=1)], (9, 24), (0,), (1, 24)),
    "gemm on the left": ([node("Gemm", "w x")], (9, 24), (0,), (24, 1)),
    "gemm on the left, turned": ([node("Gemm", "w x", transA=1)], (24, 9), (1,), (24, 1)),
    "convolution": ([node("Conv", "x w")], (9, 8, 3), (0,), (1, 8, 5)),
    "convolution in two dimensions": ([node("Conv", "x w")], (9, 8, 3, 2), (0,), (1, 8, 5, 5)),
    "convolution transposed": ([node("ConvTranspose", "x w")], (8, 9, 3), (1,), (1, 8, 5)),
    "gru": ([node("GRU", "x w r", hidden_size=3)], (1, 9, 24), (0, 1), (1, 1, 24)),
    "table": ([node("Gather", "w i")], (9, 24), (0,), (1, 24)),
    "table of columns": ([node("Gather", "w i", axis=1)], (24, 9), (1,), (1, 24)),
    "einsum": ([node("Einsum", "x w", equation="ab,cbd->acd")], (3, 24, 9), (0, 2), (1, 24)),
    "transposed": ([TURNED, node("MatMul", "x t")], (9, 24), (0,), (1, 24)),
}


@pytest.mark.parametrize("name", READERS)
def test_every_output_has_a_scale_of_its_own(name: str) -> None:
    """Outputs vary in units of their own: no weight may be rounded by the size of another output's."""
    nodes, shape, outputs, entering = READERS[name]
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-6, 6, [shape[axis] if axis in outputs else 1 for axis in range(len(shape))])
    weight = (rng.normal(size=shape) * sizes).astype(np.float32)
    arrays = {"w": weight, "r": rng.normal(size=(1, 9, 3)), "i": np.array([0, 2])}
    small, notes = storage.stored(model(nodes, arrays, entering), "w8")
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
    real = found["w.int8"].astype(np.float32) * found["w.scale"]
    shared = tuple(axis for axis in range(len(shape)) if axis not in outputs)
    assert found["w.scale"].shape == tuple(1 if axis in shared else size for axis, size in enumerate(shape))
    assert (np.abs(real - weight) <= np.abs(weight).max(axis=shared, keepdims=True) / 253).all()
    assert "stored as int8" in notes[0]


def test_what_is_no_weight_of_a_product_stays_as_it_is() -> None:
    arrays = {"w": np.full((24, 9), 0.1), "b": np.full((1, 90), 0.1), "m": np.full((10, 9), -np.inf)}
    arrays["m"][0] = 1
    small, _ = storage.stored(model([node("Add", "x m")], arrays, (10, 9)), "w8")
    assert sorted(tensor.name for tensor in small.graph.initializer) == ["b", "m", "w"]


@pytest.mark.parametrize(
    ("variant", "weight", "told"),
    [
        ("float16", np.full((9, 24), 1e5), r"'w', stays float32: it holds 1e\+05, beyond float16's 65504"),
        ("float16", np.full((9, 24), 3e-6), "'w', stays float32: its numbers, up to 3e-06, are too small"),
        ("float16", np.full((9, 24), 1e-30), "too small"),
        ("w8", np.full((24, 9), np.nan), "'w', stays float32: it holds NaN"),
    ],
)
def test_a_tensor_that_would_be_lost_stays_float32(variant: str, weight: Array, told: str) -> None:
    small, notes = storage.stored(model([node("MatMul", "x w")], {"w": weight}, (1, len(weight))), variant)
    assert [(tensor.name, tensor.data_type) for tensor in small.graph.initializer] == [("w", TensorProto.FLOAT)]
    assert re.search(told, notes[-1])


@pytest.mark.parametrize(
    ("name", "weight", "told"),
    [
        ("matmul", "w", "the weight of 'here' (MatMul), 'w',"), ("table", "w", "the table of 'here' (Gather), 'w',"),
        ("gru", "w", "the input matrix of 'here' (GRU), 'w',"),
        ("gru", "r", "the recurrence matrix of 'here' (GRU), 'r',"),
        ("transposed", "w", "the weight of 'here' (MatMul), 'w',"),
    ],
)  # fmt: skip
def test_what_stays_is_told_by_its_reader(name: str, weight: str, told: str) -> None:
    """A weight's own name is often made up by the exporter: onnx::LSTM_457."""
    nodes, shape, _, entering = READERS[name]
    arrays = {"w": np.ones(shape), "r": np.ones((1, 9, 8)), "i": np.array([0, 2])}
    made = model(nodes, arrays, entering)
    made.graph.node[-1].name = "here"
    _, notes = storage.stored(made, "float16", {weight: "so it is"})
    assert f"float16: {told} stays float32: so it is" in notes


def test_a_mask_of_minus_infinity_is_stored_as_float16() -> None:
    mask = np.triu(np.full((16, 16), -np.inf), 1)
    small, _ = storage.stored(model([node("Add", "x m")], {"m": mask}, (16, 16)), "float16")
    np.testing.assert_array_equal(numpy_helper.to_array(small.graph.initializer[0]), mask)


def test_an_output_without_weights_has_any_scale() -> None:
    weight = np.random.default_rng(0).normal(size=(24, 9)).astype(np.float32)
    weight[:, 2], weight[:, 5] = 0, 1e-45
    small, _ = storage.stored(model([node("MatMul", "x w")], {"w": weight}, (1, 24)), "w8")
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
    assert np.isfinite(found["w.scale"]).all()
    assert not found["w.int8"][:, [2, 5]].any()


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_dequantize_linear_would_have_been_made_integer(op: str) -> None:
    """Why the scales stand in a Mul: from DequantizeLinear onnxruntime makes a product that rounds its inputs."""
    weight = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)
    small, _ = storage.stored(model([node(op, "x w")], {"w": weight}, (1, 64)), "w8")
    assert macs.count(small).integer == 0
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
    dequantize = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1)
    plain = model([dequantize, node(op, "x w")], {"s": found["w.scale"].reshape(-1)}, (1, 64))
    plain.graph.initializer.append(numpy_helper.from_array(found["w.int8"], "q"))
    assert macs.count(plain).integer == 64 * 96


def test_a_variant_that_misses_its_bound_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LEVELS", 3)
    torch.manual_seed(0)
    module = models.Recurrent("GRU", 24).eval()
    with pytest.raises(export.ExportError, match=r"w8 on ort misses its tolerance at output"):
        export.export((module, models.frames()), tmp_path / "b", variants=["float32", "w8"])
    assert not (tmp_path / "b").exists()


def test_they_are_made_when_asked_for(gru_bundle: bundles.Bundle) -> None:
    assert {entry.variant for entry in gru_bundle.manifest.parity} == {"float32", "int8", "w8a16"}
    with pytest.raises(export.ExportError, match="'float16'"):
        export.export("m.onnx", "b", variants=["flot16"])


def test_the_file_tells_nothing_of_where_it_was_made(family: bundles.Bundle) -> None:
    for file in family.manifest.files:
        assert str(Path(models.__file__).parent).encode() not in (family.path / file.path).read_bytes()
