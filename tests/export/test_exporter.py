"""The export as a whole: what it writes, what it refuses, and that nothing half-written is ever left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import models
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_reference import quantized

import edgeseq
import export
from edgeseq import bundle as bundles
from edgeseq import checksums, cli
from edgeseq.errors import BundleError, ConfigError, ModelError
from edgeseq.verification import goldens, verify
from export.quantize.reference import Interpreter

SOURCE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import models

def trained():
    return models.gru(), models.example()

def nothing():
    return 3

def breaks():
    raise RuntimeError("weights are not here")
"""


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "edgeseq.cli", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "model.py"
    file.write_text(SOURCE)
    return file


def test_the_command_writes_a_bundle_that_verifies(source: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames.npz"
    np.savez(frames, *models.walks())
    about = tmp_path / "about.toml"
    about.write_text('name = "pump"\nversion = "2.0.0"\n[output]\nkind = "regression"\nnames = ["wear", "heat"]\n')
    done = command(
        "export", f"{source}:trained", "--output", tmp_path / "b", "--calibration", frames, "--about", about, "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    told = [(entry["variant"], entry["backend"]) for entry in document["variants"]]
    assert told == [(variant, on) for variant in ("float32", "int8", "w8a16") for on in ("ort", "litert", "native")]
    assert all(entry["passed"] and entry["steps"] >= 10_000 for entry in document["variants"])
    again = command("verify", tmp_path / "b", "--json")
    assert again.returncode == 0
    replayed = {(entry["variant"], entry["backend"]) for entry in json.loads(again.stdout)["variants"]}
    assert replayed == set(told)
    assert {"variant", "backend", "steps", "max_abs_err", "rms_err", "tolerance", "passed"} <= set(
        json.loads(again.stdout)["variants"][0]
    )
    manifest = bundles.read(tmp_path / "b").manifest
    assert (manifest.name, manifest.version, manifest.output.names) == ("pump", "2.0.0", ["wear", "heat"])
    assert "Error over time" in (tmp_path / "b" / "report.md").read_text()
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "b", capture_output=True, check=False)
    assert sums.returncode == 0


def test_goldens_hold_the_reference_integers(gru_bundle: bundles.Bundle) -> None:
    golden = goldens.read(gru_bundle)
    assert set(golden.reference) == {"int8", "w8a16"}
    assert golden.reference["int8"].shape == golden.outputs.shape
    spread = golden.outputs.std()
    for variant, share in (("int8", 0.04), ("w8a16", 0.01)):
        rms = np.sqrt(np.mean((golden.reference[variant] - golden.outputs) ** 2))
        assert rms <= share * spread


@pytest.mark.long
def test_int8_weights_take_less_than_three_tenths(tmp_path: Path) -> None:
    bundle = export.export((models.gru(hidden=96), models.example()), tmp_path / "b", calibration=models.walks())
    sizes = {(file.variant, file.format): file.weight_bytes for file in bundle.manifest.files}
    for kind in ("onnx", "tflite", "npz"):
        assert sizes["int8", kind] <= 0.3 * sizes["float32", kind]


@pytest.mark.long
def test_the_same_export_gives_the_same_bundle(tmp_path: Path, gru_bundle: bundles.Bundle) -> None:
    again = export.export((models.gru(), models.example()), tmp_path / "gru", calibration=models.walks())
    assert again.digest == gru_bundle.digest


def test_an_earlier_bundle_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    options = {"calibration": models.walks(), "variants": ["float32"]}
    for _ in range(2):
        export.export((models.gru(), models.example()), tmp_path / "b", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(export.ExportError, match="not overwritten"):
        export.export((models.gru(), models.example()), tmp_path / "precious", **options)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("function", "says"),
    [("missing", "no function 'missing'"), ("nothing", "must return"), ("breaks", "weights are not here")],
)
def test_a_source_function_that_does_not_deliver(
    source: Path, function: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", f"{source}:{function}", "--output", str(tmp_path / "b")]) == 1
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told
    assert not (tmp_path / "b").exists()


def test_a_bundle_brings_its_own_calibration_frames(gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    options = {"calibration": gru_bundle.path, "variants": ["int8"]}
    bundle = export.export((models.gru(), models.example()), tmp_path / "b", **options)
    assert "calibrated on 1,000 frames in 1 sequences" in bundle.manifest.origin.note
    (tmp_path / "empty").mkdir()
    with pytest.raises(export.ExportError, match="holds no frames to calibrate on"):
        export.export((models.gru(), models.example()), tmp_path / "c", calibration=tmp_path / "empty")


@pytest.mark.parametrize(
    ("calibration", "says"),
    [
        (np.zeros((10, 3)), "takes 5 numbers a frame"),
        (np.full((10, 5), np.nan), "frame 0 holds NaN"),
        (np.zeros((0, 5)), "holds no frames"),
    ],
)
def test_calibration_frames_that_do_not_fit(calibration: np.ndarray, says: str, tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", calibration)
    with pytest.raises(export.ExportError, match=says):
        export.export((models.gru(), models.example()), tmp_path / "b", calibration=tmp_path / "c.npy")


def test_a_csv_of_frames_with_a_word_in_it_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("a,b,c,d,e\n1,2,3,4,5\n1,2,oops,4,5\n")
    with pytest.raises(export.ExportError, match=r"line 3.*oops"):
        export.export((models.gru(), models.example()), tmp_path / "b", calibration=tmp_path / "c.csv")


def test_an_unknown_variant_is_answered_with_the_nearest() -> None:
    with pytest.raises(export.ExportError, match="Did you mean 'int8'"):
        export.export("m.onnx", "b", variants=["int-8"])


def test_a_typo_in_about_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "x"\nverison = "1"\n')
    with pytest.raises(ConfigError, match=r"line 2.*Did you mean 'version'"):
        export.export((models.gru(), models.example()), tmp_path / "b", about=tmp_path / "a.toml")


def test_a_decider_that_cannot_judge_the_outputs_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    """A device would refuse the bundle, whose maker may be far away by then."""
    about = '[output]\nkind = "classes"\nnames = ["a", "b"]\n[decider]\ntype = "classes"\nthreshold = 0.5\n'
    for wrong, says in [
        (about.replace("0.5", '"x"'), r"a\.toml, line 6: decider\.threshold: expected a number, got text"),
        (about + 'background = ["c"]\n', r"a\.toml, line 4: decider: background names 'c', which is none of a, b"),
        (about + 'names = ["a", "b", "c"]\n', r"decider: 3 names, the model has 2 outputs \(a, b\)"),
    ]:
        (tmp_path / "a.toml").write_text(wrong)
        with pytest.raises(ConfigError, match=says):
            export.export("no.onnx", tmp_path / "b", about=tmp_path / "a.toml")


def test_files_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x07 not a protobuf of ours")
    (tmp_path / "m.py").write_text("def trained(): ...\n")
    for source, says in [
        (tmp_path / "m.onnx", "ONNX"),
        (tmp_path / "none.onnx", "no such file"),
        (tmp_path / "m.tflite", "no .onnx file, no .keras file"),
        (tmp_path / "m.py", "says no function: give .*m.py:FUNCTION"),
        (f"{tmp_path / 'm.py'}:trainde", "has no function 'trainde'.*Did you mean 'trained'"),
        (f"{tmp_path / 'm.py'}:trained", r"trained\(\) must return"),
    ]:
        with pytest.raises(export.ExportError, match=says):
            export.export(str(source), tmp_path / "b")


def test_weights_outside_the_models_folder_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    weight = numpy_helper.from_array(np.zeros((5, 200), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "time", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "time", 200])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    for escape in ("../secret.bin", str(tmp_path / "secret.bin")):
        opened = onnx.load(folder / "m.onnx", load_external_data=False)
        opened.graph.initializer[0].external_data[0].value = escape
        (folder / "bad.onnx").write_bytes(opened.SerializeToString())
        with pytest.raises(export.ExportError, match="outside the model's folder"):
            export.export(str(folder / "bad.onnx"), tmp_path / "b")
    (folder / "w.bin").unlink()
    (folder / "w.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(export.ExportError, match="behind a link"):
        export.export(str(folder / "m.onnx"), tmp_path / "b")


def test_one_changed_byte_anywhere_is_noticed(gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    for name in [file.name for file in gru_bundle.path.iterdir()]:
        copy = tmp_path / name
        shutil.copytree(gru_bundle.path, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(BundleError):
            edgeseq.load(copy)


def test_a_model_that_computes_something_else_fails_verification(gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "b"
    shutil.copytree(gru_bundle.path, copy)
    model = onnx.load(copy / "step.int8.onnx")
    scale = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight.scale"))
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.2), scale.name))
    onnx.save(model, copy / "step.int8.onnx")
    resum(copy)
    failed = [(v.variant, v.backend) for v in verify.verify(bundles.read(copy)) if not v.passed]
    assert failed == [("int8", "ort")]


def test_a_file_with_other_states_than_described_is_refused(gru_bundle: bundles.Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "b"
    shutil.copytree(gru_bundle.path, copy)
    shutil.copy(copy / "step.float32.onnx", copy / "step.int8.onnx")
    resum(copy)
    with pytest.raises(ModelError, match=r"its inputs are .* bundle\.toml says"):
        edgeseq.load(copy, backend="ort", variant="int8")


def test_a_frame_that_is_not_finite_or_of_another_size_is_refused(gru_bundle: bundles.Bundle) -> None:
    model = edgeseq.load(gru_bundle)
    with pytest.raises(ModelError, match="NaN"):
        model.step(np.full(5, np.nan, np.float32))
    with pytest.raises(ModelError, match=r"shape \(5,\)"):
        model.step(np.zeros(4, np.float32))


def test_saturation_is_not_wrap_around(gru_bundle: bundles.Bundle) -> None:
    """Frames far beyond calibration must pin the integers to their limits, the same in both engines."""
    model = edgeseq.load(gru_bundle, variant="int8")
    far = np.full((20, 5), 1e6, np.float32)
    pinned = model.run(far)
    model.reset()
    np.testing.assert_array_equal(pinned, model.run(far * 10))
    assert np.isfinite(pinned).all()


def resum(path: Path) -> None:
    names = sorted(file.name for file in path.iterdir() if file.name != checksums.SUMS)
    (path / checksums.SUMS).write_text("".join(f"{checksums.sha256(path / name)}  {name}\n" for name in names))


def test_the_interpreter_saturates_as_well() -> None:
    program, _ = quantized(models.gru(), "int8")
    far = np.full((20, 5), 1e6, np.float32)
    expected = Interpreter(program).run(far)
    for share in (10, 1e24, 3e32):
        np.testing.assert_array_equal(expected, Interpreter(program).run(far * np.float32(share)))
