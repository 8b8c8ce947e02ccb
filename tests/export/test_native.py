"""The native backend of a bundle: proven as the others are, to the bit on integers, the default."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import models
import msgspec
import numpy as np
import pytest
from lowered import graph
from test_exporter import resum
from test_inputs import fused

import edgeseq
import export
from edgeseq import backends, jit
from edgeseq import bundle as bundles
from edgeseq.backends.native import layout, step
from edgeseq.backends.native.program import DESCRIPTION
from edgeseq.cli import main
from edgeseq.errors import BundleError, ConfigError, ModelError
from edgeseq.verification import goldens, verify
from export.errors import NoIntegerForm
from export.program import Op, Program, ProgramInput, Type
from export.quantize.step import exact
from export.variants import Maker
from export.writers import bundle as writer

VARIANTS = ("float32", "int8", "w8a16")


def partly(output: Path, **more: Any) -> bundles.Bundle:
    """Export a GRU with a variant that the engine does not run."""
    options: dict[str, Any] = {"calibration": models.walks(1), "variants": ["float32", "w8"], **more}
    with mock.patch.object(Maker, "rounded", side_effect=NoIntegerForm("node 'n' (Odd): it has no form.")):
        return export.export((models.gru(hidden=8), models.example()), output, **options)


def without_native(bundle: bundles.Bundle, copy: Path) -> bundles.Bundle:
    """Make a bundle as an older edgeseq wrote it."""
    shutil.copytree(bundle.path, copy)
    for file in copy.glob("step.*.npz"):
        file.unlink()
    manifest = msgspec.structs.replace(
        bundle.manifest,
        files=[file for file in bundle.manifest.files if file.format != "npz"],
        defaults={name: variant for name, variant in bundle.manifest.defaults.items() if name != "native"},
        parity=[entry for entry in bundle.manifest.parity if entry.backend != "native"],
    )
    writer.finish(copy, manifest, "")
    return bundles.read(copy)


def test_every_variant_has_a_file_that_is_proven(gru_bundle: bundles.Bundle) -> None:
    proven = [entry for entry in gru_bundle.manifest.parity if entry.backend == "native"]
    assert [entry.variant for entry in proven] == list(VARIANTS)
    assert all(entry.passed and entry.steps >= 10_000 for entry in proven)
    assert [entry.metric for entry in proven] == ["max", "rms", "rms"]
    for variant in VARIANTS:
        file, beside = gru_bundle.file(variant, "npz"), gru_bundle.file(variant, "tflite")
        assert (file.integer_macs, file.float_macs) == (beside.integer_macs, beside.float_macs)
        assert 0 < file.weight_bytes <= (gru_bundle.path / file.path).stat().st_size


def test_on_integers_it_is_the_reference_to_the_bit(gru_bundle: bundles.Bundle) -> None:
    exactly = {entry.variant for entry in gru_bundle.manifest.parity if entry.exact}
    assert exactly == {"int8"}  # a part of w8a16 is kept in float32
    found = {v.variant: v.reference_rms_err for v in verify.verify(gru_bundle) if v.backend == "native"}
    assert found["int8"] == 0.0
    assert found["float32"] is None
    spacing = goldens.read(gru_bundle).spacing["w8a16"]
    assert 0 < found["w8a16"] < 0.5 * spacing.min()  # now and then a step off


def test_a_single_other_integer_is_found(gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    """It lies far within the tolerance to the original, and to the reference in real units."""
    copy = Path(shutil.copytree(gru_bundle.path, tmp_path / "b"))
    with np.load(copy / "step.int8.npz") as file:
        arrays = {name: file[name] for name in file.files}
    document = json.loads(arrays[DESCRIPTION].tobytes())
    last = [op for op in document["ops"] if op["kind"] == "Linear"][-1]
    bias = arrays[last["arrays"]["bias"]] = arrays[last["arrays"]["bias"]].copy()
    bias[0] += bias.dtype.type(30)
    np.savez(copy / "step.int8.npz", **arrays)
    resum(copy)
    (wrong,) = [verdict for verdict in verify.verify(bundles.read(copy)) if not verdict.passed]
    assert (wrong.variant, wrong.backend) == ("int8", "native")
    assert wrong.rms_err < wrong.tolerance
    assert wrong.reason is not None
    assert "against the integer reference" in wrong.reason
    assert wrong.reason.endswith(", 0 is allowed")


@pytest.mark.parametrize("variant", ["int8", "w8a16"])
def test_a_patched_scale_is_named(variant: str, gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(gru_bundle.path, tmp_path / "b"))
    with np.load(copy / f"step.{variant}.npz") as file:
        arrays = {name: file[name] for name in file.files}
    document = json.loads(arrays[DESCRIPTION].tobytes())
    scales = [op["arrays"]["scale"] for op in document["ops"] if "scale" in op["arrays"]]
    widest = max(scales, key=lambda name: arrays[name].size)
    arrays[widest] = (arrays[widest] * 1.2).astype(arrays[widest].dtype)
    np.savez(copy / f"step.{variant}.npz", **arrays)
    resum(copy)
    verdicts = verify.verify(bundles.read(copy))
    assert [(v.variant, v.backend) for v in verdicts if not v.passed] == [(variant, "native")]


@pytest.mark.parametrize(("between", "expected"), [("Add", True), ("Softmax", False)])
def test_what_is_exact_has_no_float_between_its_integers(between: str, *, expected: bool) -> None:
    kind = Type("int16", 2.0**-12)
    program = Program([ProgramInput("x", (1, 4), 0, slice(0, 4))])
    program.shapes["x"] = (1, 4)
    name = program.emit(Op("Quantize", "q", ("x",)), (1, 4))
    inner = program.emit(Op(between, "y.q" if expected else "y.real", (name,)), (1, 4))
    program.types = {"q": kind} | ({inner: kind} if expected else {})
    if not expected:
        inner = program.emit(Op("Quantize", "y.q", (inner,)), (1, 4))
        program.types["y.q"] = kind
    program.outputs = [program.emit(Op("Dequantize", "y", (inner,)), (1, 4))]
    assert exact(program) is expected


def test_auto_runs_it_and_everything_says_so(gru_bundle: bundles.Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(gru_bundle.manifest.defaults) == ["native", "ort", "litert"]
    model = edgeseq.load(gru_bundle)
    assert (model.backend, model.variant) == ("native", "int8")
    said = "int8 on native; where the backend is named, int8 on ort, int8 on litert"
    assert f"`auto` runs {said}." in (gru_bundle.path / "report.md").read_text()
    assert main(["inspect", str(gru_bundle.path)]) == 0
    assert said in capsys.readouterr().out


def test_a_variant_without_a_native_file_runs_where_it_has_one(tmp_path: Path) -> None:
    stored = partly(tmp_path / "b")
    assert "native was left out of w8: node 'n' (Odd): it has no form." in stored.manifest.origin.note
    assert edgeseq.load(stored).backend == "native"
    assert edgeseq.load(stored, variant="w8").backend == "ort"
    with pytest.raises(BundleError, match=r"no w8 variant as npz; it holds float32 \(npz\), .*w8 \(onnx\)"):
        edgeseq.load(stored, backend="native", variant="w8")


def test_a_default_that_only_ort_runs_is_run_by_ort_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bundle = partly(tmp_path / "b", default="w8")
    assert bundle.manifest.defaults == {"ort": "w8", "native": "float32", "litert": "float32"}
    caplog.clear()
    model = edgeseq.load(bundle)
    assert (model.backend, model.variant) == ("ort", "w8")
    said = "w8 runs on ort, as its bundle.toml chooses"
    assert said in caplog.text
    caplog.clear()
    edgeseq.load(bundle, backend="ort")
    edgeseq.load(bundle, variant="float32")
    assert said not in caplog.text


def test_an_older_bundle_works_and_says_what_it_has(gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    bundle = without_native(gru_bundle, tmp_path / "b")
    assert bundle.manifest.defaults == {"ort": "int8", "litert": "int8"}
    assert edgeseq.load(bundle).backend == "ort"
    assert all(verdict.passed for verdict in verify.verify(bundle))
    with pytest.raises(
        ModelError, match=r"no file for the backend 'native', only float32 on ort, .*Choose one of them"
    ):
        edgeseq.load(bundle, backend="native")


def test_an_operation_that_the_engine_lacks_leaves_the_file_out_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = layout.rule
    monkeypatch.setattr(layout, "rule", lambda kind, stored: None if kind == "Linear" else rule(kind, stored))
    options: dict[str, Any] = {"calibration": models.walks(1), "variants": ["float32"]}
    bundle = export.export((models.gru(hidden=4), models.example()), tmp_path / "b", **options)
    assert [file.format for file in bundle.manifest.files] == ["onnx", "tflite"]
    assert not [*bundle.path.glob("step.*.npz")]
    (note,) = [line for line in bundle.manifest.origin.note.splitlines() if line.startswith("native")]
    told = r"native was left out of float32: operation '.*' \(Linear\): this edgeseq's engine has no such operation\."
    assert re.fullmatch(told, note)
    assert note in (bundle.path / "report.md").read_text()


def test_a_step_that_cannot_be_lowered_leaves_the_file_out_aloud(tmp_path: Path) -> None:
    source = graph(lambda b, x: b.op("Atan", x), tmp_path)
    bundle = export.export(source, tmp_path / "b")
    assert [file.path for file in bundle.manifest.files] == ["step.float32.onnx"]
    assert "native was left out of float32: node '" in bundle.manifest.origin.note
    assert bundle.manifest.defaults == {"ort": "float32"}


def test_its_library_changes_with_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    before = backends.library("native")
    assert before.startswith(f"edgeseq engine {jit.version()}, numba ")
    assert ", llvmlite " in before
    monkeypatch.setattr(jit, "version", lambda: "another")
    assert backends.library("native") != before


def test_without_numba_the_cure_is_named_and_the_rest_verified(
    gru_bundle: bundles.Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    for options in ({}, {"backend": "native"}):
        with pytest.raises(ConfigError, match=r"'native' needs numba.*pip install 'numba>=0\.60', or choose .*'ort'"):
            edgeseq.load(gru_bundle, **options)
    assert edgeseq.load(gru_bundle, backend="ort").backend == "ort"
    assert main(["verify", str(gru_bundle.path)]) == 0
    said = capsys.readouterr()
    assert "native was left out: the backend 'native' needs numba" in said.err
    assert "native" not in said.out


def test_that_kernels_are_compiled_is_told(
    gru_bundle: bundles.Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    edgeseq.load(gru_bundle)
    assert not caplog.records
    monkeypatch.setattr(step.jit, "cold", lambda _: True)
    backends.load(gru_bundle)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "`edgeseq warmup` does it ahead of time" in caplog.text


def test_many_streams_load_on_native_alone(gru_bundle: bundles.Bundle) -> None:
    many, one = edgeseq.load(gru_bundle, streams=3), edgeseq.load(gru_bundle)
    x = np.random.default_rng(0).normal(size=(20, 3, 5)).astype(np.float32)
    given = many.run(x)
    for stream in range(3):
        one.reset()
        np.testing.assert_array_equal(given[:, stream], one.run(x[:, stream]))
    for backend in ("ort", "litert"):
        with pytest.raises(ModelError, match=rf"'{backend}' steps one stream in a call, not 3: load .* on 'native'"):
            edgeseq.load(gru_bundle, backend=backend, streams=3)
    with pytest.raises(ModelError, match="one stream or more, not 0"):
        edgeseq.load(gru_bundle, streams=0)


def test_many_streams_of_several_inputs_go_by_names(tmp_path: Path) -> None:
    bundle = export.export(fused(), tmp_path / "b", variants=["float32"])
    many, one = edgeseq.load(bundle, streams=2), edgeseq.load(bundle)
    rng = np.random.default_rng(0)
    x = {"frames": rng.normal(size=(2, 3)), "frames1": rng.normal(size=(2, 2))}
    x = {name: rows.astype(np.float32) for name, rows in x.items()}
    for _ in range(4):
        first = many.step(x)
        expected = one.step({name: rows[0] for name, rows in x.items()})
        for name, y in expected.items():
            np.testing.assert_array_equal(first[name][0], y)
    assert np.isnan(many.step(x, mask=np.array([True, False]))["output"][1]).all()
    many.reset(np.array([False, True]))
    out = {name: np.empty_like(y) for name, y in first.items()}
    assert many.step(x, out) is out
    assert np.isnan(out["output"][1]).all()
    assert not np.isnan(out["output"][0]).any()


def test_goldens_without_the_scales_of_integers_are_refused(gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(gru_bundle.path, tmp_path / "b"))
    with np.load(copy / bundles.GOLDENS) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["int8.scale"] = np.broadcast_to(arrays["int8.scale"], (1, 1, 2))
    np.savez(copy / bundles.GOLDENS, **arrays)
    resum(copy)
    with pytest.raises(BundleError, match=r"parity\.npz"):
        verify.verify(bundles.read(copy))
