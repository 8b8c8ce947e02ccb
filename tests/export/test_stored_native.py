"""Native programs whose weights are stored smaller: they compute with the very weights of the ONNX file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import stored_models as models
import torch
from lowered import flat, graph
from onnx import numpy_helper
from random_graphs import FEATURES, Builder
from test_exporter import resum

import edgeseq
import export
from edgeseq import bundle as bundles
from edgeseq.backends.native import program as native
from edgeseq.bundle import STORAGE
from edgeseq.verification import verify
from export import storage

pytestmark = pytest.mark.long

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    """A block of GPT: matrices, tables that are products too, a mask, and a factor behind a product."""
    torch.manual_seed(0)
    given = models.Words(width=48).eval(), torch.zeros(1, 20, dtype=torch.int64)
    output = tmp_path_factory.mktemp("stored") / "b"
    return export.export(given, output, variants=("float32", *STORAGE), max_steps=models.LENGTH)


def test_auto_runs_the_one_that_is_asked_for(tmp_path: Path) -> None:
    torch.manual_seed(2)
    given = models.Recurrent("GRU", 16).eval(), models.frames()
    bundle = export.export(given, tmp_path / "b", variants=("float32", *STORAGE), default="w8")
    assert bundle.manifest.defaults == dict.fromkeys(("native", "ort", "litert"), "w8")
    model = edgeseq.load(bundle)
    assert (model.backend, model.variant) == ("native", "w8")


def weights(path: Path) -> dict[str, Array]:
    """Return what an ONNX file's casts and scales make of what is stored."""
    model = onnx.load(path)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made: dict[str, Array] = {}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in found:
            made[node.output[0]] = found[node.input[0]].astype(np.float32)
        elif node.op_type == "Mul" and node.input[0] in made:
            made[node.output[0]] = made.pop(node.input[0]) * found[node.input[1]]
    return made


def rows(arrays: list[Array]) -> set[bytes]:
    """Return matrices as what leads to each output, or the entry that is looked up, whatever way round they stand."""
    return {row.tobytes() for array in arrays for way in (array, array.T) for row in np.ascontiguousarray(way)}


@pytest.mark.parametrize("variant", STORAGE)
def test_the_weights_are_those_of_the_onnx_file(variant: str, family: bundles.Bundle) -> None:
    theirs = list(weights(family.path / f"step.{variant}.onnx").values())
    path = family.path / f"step.{variant}.npz"
    with np.load(path) as file:
        small = {name for name in file.files if file[name].dtype.name in {"float16", "int8"}}
    ours = [array for name, array in native.read(path).arrays.items() if name in small]
    assert sum(array.size for array in ours) >= sum(array.size for array in theirs)
    # The words' table has the same rows when it says which word comes next.
    assert {row.tobytes() for array in ours for row in array} <= rows(theirs)
    assert all(array.dtype == np.float32 for array in ours)


@pytest.mark.parametrize("variant", STORAGE)
def test_what_rounding_leaves_as_it_is_computes_as_float32_to_the_bit(variant: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = models.Recurrent("LSTM", 24).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            found = storage.halved(parameter.numpy())[0] if variant == "float16" else None
            if variant == "w8" and parameter.ndim > 1:
                (content, scale), _ = storage.in_bytes(parameter.numpy(), (1,))  # type: ignore[misc]
                found = storage.real((content, scale))
            if found is not None:
                parameter.copy_(torch.from_numpy(found.astype(np.float32)))
    bundle = export.export((module, models.frames()), tmp_path / "b", variants=("float32", variant))
    x = np.random.default_rng(0).normal(size=(200, models.FEATURES)).astype(np.float32)
    given, expected = (edgeseq.load(bundle, backend="native", variant=name).run(x) for name in (variant, "float32"))
    np.testing.assert_array_equal(given, expected)
    sizes = {file.variant: file.weight_bytes for file in bundle.manifest.files if file.format == "npz"}
    assert sizes[variant] < 0.6 * sizes["float32"]


@pytest.mark.parametrize(("variant", "ending", "factor"), [("w8", ".scale", 1.3), ("float16", ".weight", 1.02)])
def test_a_patched_weight_is_found_and_named(
    variant: str, ending: str, factor: float, family: bundles.Bundle, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(family.path, tmp_path / "b"))
    path = copy / f"step.{variant}.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    name = max((name for name in arrays if name.endswith(ending)), key=lambda name: arrays[name].size)
    arrays[name] = (arrays[name] * factor).astype(arrays[name].dtype)
    np.savez(path, **arrays)
    resum(copy)
    (wrong,) = [verdict for verdict in verify.verify(bundles.read(copy)) if not verdict.passed]
    assert (wrong.variant, wrong.backend) == (variant, "native")


def scaled(b: Builder, x: str) -> str:
    """Make products whose factors float32 multiplies into the weights."""
    wide = b.op("MatMul", x, b.weight(FEATURES, 24))
    y = b.op("Tanh", b.op("Mul", b.op("MatMul", wide, b.weight(24, 16)), b.constant(0.3)))
    turned = b.op("Gemm", b.op("Reshape", y, b.constant([-1, 16])), b.weight(20, 16), alpha=0.7, transB=1)
    return flat(b, b.op("Div", turned, b.constant(3.0)), 20)


@pytest.mark.parametrize("variant", STORAGE)
def test_a_factor_is_not_multiplied_into_what_is_stored(variant: str, tmp_path: Path) -> None:
    bundle = export.export(graph(scaled, tmp_path), tmp_path / "b", variants=("float32", variant))
    programs = {name: native.read(bundle.path / f"step.{name}.npz").description for name in ("float32", variant)}
    kinds = {name: [op.kind for op in program.ops] for name, program in programs.items()}
    assert not {"Mul", "Div"} & set(kinds["float32"])
    assert (kinds[variant].count("Mul"), kinds[variant].count("Div")) == (2, 1)
    with np.load(bundle.path / f"step.{variant}.npz") as file:
        stored = [file[name].dtype.name for name in file.files if name.endswith(".weight")]
    # Five numbers are too few to share a scale.
    assert stored == (["float16"] * 3 if variant == "float16" else ["float32", "int8", "int8"])
    x = np.random.default_rng(0).normal(size=(100, FEATURES)).astype(np.float32)
    given, expected = (edgeseq.load(bundle, backend=name, variant=variant).run(x) for name in ("native", "ort"))
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


LAYOUTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # a weight's shape, the axes along which numbers share a scale
    "rows": ((9, 24), (1,)),
    "columns": ((24, 9), (0,)),
    "a kernel": ((9, 8, 3), (1, 2)),
    "a kernel that is turned": ((8, 9, 3), (0, 2)),
    "a stack": ((3, 24, 9), (1,)),
    "scales along two axes": ((3, 9, 24), (2,)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_integers_and_scales_are_found_again_in_what_was_rounded(name: str) -> None:
    shape, axes = LAYOUTS[name]
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = 10.0 ** rng.uniform(-20, 20, [1 if axis in axes else size for axis, size in enumerate(shape)])
        found, _ = storage.in_bytes((rng.normal(size=shape) * sizes).astype(np.float32), axes)
        assert found is not None
        again = storage.lossless(storage.real(found), "w8")
        assert again is not None
        np.testing.assert_array_equal(storage.real(again), storage.real(found))
        assert again[0].dtype == np.int8


def test_what_would_lose_something_stays_float32() -> None:
    array = np.random.default_rng(0).normal(size=(24, 9)).astype(np.float32)
    for variant in STORAGE:
        assert storage.lossless(array, variant) is None
        assert storage.lossless(np.zeros(200, np.float32), variant) is None  # a vector
        assert storage.lossless(np.zeros((24, 9), np.int64), variant) is None
