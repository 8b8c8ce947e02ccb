"""The litert backend: against what export recorded, op by op against the reference, and as a step model.

The same file runs on ai-edge-litert and, by `make test-legacy`, on tflite-runtime 2.14.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from families import ALL, EXACT, FAMILIES, PAIRS, SUMS, VARIANTS

import edgeseq
from edgeseq import backends, libraries
from edgeseq import bundle as bundles
from edgeseq.bundle import STORAGE
from edgeseq.cli import main
from edgeseq.errors import BundleError, ConfigError, ModelError
from edgeseq.types import Frames
from edgeseq.verification import verify

pytestmark = pytest.mark.long

Arrays = dict[str, np.ndarray[Any, Any]]
ZOO = Path(__file__).parents[2] / "zoo" / "turbofan" / "bundle"


def walk(steps: int = 60, seed: int = 7) -> Frames:
    noise = np.random.default_rng(seed).normal(size=(steps, 5))
    return np.asarray(np.cumsum(noise, axis=0) * 0.2, np.float32)


def opened(cases: Path, variant: str, family: str = "lstm") -> Any:
    return edgeseq.load(cases / family, backend="litert", variant=variant)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_what_was_trained(family: str, cases: Path) -> None:
    bundle = bundles.read(cases / family)
    proven = [entry for entry in bundle.manifest.parity if entry.backend == "litert"]
    assert [entry.variant for entry in proven] == list(ALL)
    assert all(entry.passed and entry.steps >= 10_000 for entry in proven)
    # Here and now, and the quantized ones against the reference's integers too.
    here = [verdict for verdict in verify.verify(bundle) if verdict.backend == "litert"]
    assert [(verdict.variant, verdict.passed) for verdict in here] == [(name, True) for name in ALL]
    assert {verdict.variant for verdict in here if verdict.reference_rms_err is not None} == {"int8", "w8a16"}


def test_weights_that_are_stored_smaller_compute_as_onnxruntime_has_them(cases: Path) -> None:
    bundle = bundles.read(cases / "stored")
    here = [verdict for verdict in verify.verify(bundle) if verdict.backend == "litert"]
    assert [(verdict.variant, verdict.passed) for verdict in here] == [("float32", True), *((s, True) for s in STORAGE)]
    sizes = {file.variant: file.weight_bytes for file in bundle.manifest.files if file.format == "tflite"}
    assert sizes["float16"] < 0.55 * sizes["float32"]
    assert sizes["w8"] < 0.4 * sizes["float32"]
    x = np.random.default_rng(0).integers(0, 13, (60, 1)).astype(np.float32)
    for variant in STORAGE:
        expected = edgeseq.load(bundle.path, backend="ort", variant=variant).run(x)
        given = edgeseq.load(bundle.path, backend="litert", variant=variant).run(x)
        np.testing.assert_allclose(given, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", PAIRS)
def test_encoder_decoders_compute_what_was_trained(name: str, cases: Path) -> None:
    bundle = bundles.read(cases / name)
    here = [verdict for verdict in verify.verify(bundle) if verdict.backend == "litert"]
    assert [(verdict.variant, verdict.passed) for verdict in here] == [(variant, True) for variant in VARIANTS]
    target = np.random.default_rng(0).permutation(11)
    for variant in VARIANTS:
        model, other = (edgeseq.load(bundle, backend=backend, variant=variant) for backend in ("litert", "ort"))
        seen: dict[int, Frames] = {}
        for length in (3, 41, 1, 17, 41, 3):
            source = np.arange(length) % 13
            given, expected = model.logits(source, target), other.logits(source, target)
            np.testing.assert_array_equal(seen.setdefault(length, given), given)
            if variant == "float32":
                np.testing.assert_allclose(given, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
                assert model.generate(source).tokens == other.generate(source).tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_every_op_is_within_one_step_of_the_reference(family: str, cases: Path) -> None:
    """Fed the integers of a free run, and any integers there are; what moves numbers changes none."""
    kinds = compared(cases / f"{family}.ops")
    assert {"Quantize", "Linear", "Dequantize"} <= kinds
    assert ("Requantize" in kinds) == (family != "mean head")  # whose one layer keeps its scale


def test_every_op_there_is_computes_what_numpy_does(cases: Path) -> None:
    assert len(compared(cases / "every.ops")) > 50


def compared(folder: Path) -> set[str]:
    """Hold every file of a folder against what is expected of it; return the kinds of their ops."""
    kinds = set()
    for file in sorted(folder.glob("*.tflite")):
        with np.load(file.with_suffix(".npz")) as arrays:
            given, expected = alone(file, dict(arrays)), arrays["expected"]
        kind = file.stem.rpartition(".")[2]
        assert given.shape == expected.shape, file.stem
        allowed: Any = 0 if kind in EXACT or expected.dtype == bool else 1
        if expected.dtype == np.float32 and kind not in EXACT:
            # A sum's terms may be far greater than the sum.
            allowed = 3e-6 * (np.abs(expected).max() if kind in SUMS else 1 + np.abs(expected))
        elif expected.dtype == np.int64 and file.stem.startswith("int64"):
            allowed = 0
        with np.errstate(invalid="ignore"):
            near = np.abs(given - expected.astype(np.float64)) <= allowed
        alike = near | (given == expected) | (np.isnan(given) & np.isnan(expected))  # a mask is full of infinities
        assert alike.all(), file.stem
        kinds.add(kind)
    return kinds


def alone(file: Path, arrays: Arrays) -> np.ndarray[Any, Any]:
    """Run a file of one op on every row that it is given."""
    interpreter = libraries.litert()(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner("step")
    entering = {name: detail["dtype"] for name, detail in run.get_input_details().items()}
    rows = []
    for place in range(len(arrays["expected"])):
        feeds = {name: arrays[name.removesuffix(".in")][place].astype(dtype) for name, dtype in entering.items()}
        rows.append(np.array(run(**feeds)["y"], np.float64))
    return np.array(rows)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_stock_interpreter_runs_the_file_with_nothing_of_ours(variant: str, cases: Path) -> None:
    interpreter = libraries.litert()(model_path=str(cases / "lstm" / f"step.{variant}.tflite"))
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner("step")
    entering = run.get_input_details()
    (frame,) = (name for name in entering if not name.endswith(".in"))
    states = {name: np.zeros(d["shape"], d["dtype"]) for name, d in entering.items() if name != frame}
    rows = []
    for x in walk():
        left = run(**{frame: x.reshape(entering[frame]["shape"])}, **states)
        states = {name: left[name.removesuffix(".in") + ".out"] for name in states}
        rows.append(next(y for name, y in left.items() if not name.endswith(".out")).reshape(-1))
    np.testing.assert_array_equal(np.array(rows), opened(cases, variant).run(walk()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_split_gives_the_same_outputs_and_states(variant: str, cases: Path) -> None:
    x, model = walk(), opened(cases, variant)
    whole, end = model.run(x), model.get_state()
    model.reset()
    parts = [model.run(x[:1]), model.run(x[1:8]), model.step(x[8])[None], model.run(x[9:9]), model.run(x[9:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for name, value in model.get_state().items():
        np.testing.assert_array_equal(value, end[name])


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_handed_out_is_a_buffer_of_the_interpreter(variant: str, cases: Path) -> None:
    x, model = walk(), opened(cases, variant)
    first, state = model.step(x[0]), model.get_state()
    kept, states = first.copy(), {name: value.copy() for name, value in state.items()}
    following = model.run(x[1:20]).copy()
    np.testing.assert_array_equal(first, kept)
    for name, value in state.items():
        np.testing.assert_array_equal(value, states[name])
    model.set_state(state)
    first[:] = 9
    for value in state.values():
        value[...] = 0
    np.testing.assert_array_equal(model.run(x[1:20]), following)


@pytest.mark.parametrize("variant", VARIANTS)
def test_forks_are_streams_of_their_own(variant: str, cases: Path) -> None:
    model = opened(cases, variant)
    frames = [walk(40, seed) for seed in range(3)]
    expected = []
    for x in frames:
        model.reset()
        expected.append(model.run(x))
    forks = [model.fork() for _ in frames]
    rows = [[fork.step(x[place]) for fork, x in zip(forks, frames, strict=True)] for place in range(40)]
    np.testing.assert_array_equal(np.swapaxes(rows, 0, 1), expected)


def test_forks_in_threads_do_not_meet(cases: Path) -> None:
    model = opened(cases, "int8")
    frames = [walk(400, seed) for seed in range(4)]
    expected = [model.fork().run(x) for x in frames]
    given: dict[int, Frames] = {}
    threads = [
        threading.Thread(target=lambda at=at, x=x: given.update({at: model.fork().run(x)}))
        for at, x in enumerate(frames)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal([given[at] for at in range(4)], expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fresh_model_a_reset_one_and_a_flushed_one_begin_alike(variant: str, cases: Path) -> None:
    model = opened(cases, variant)
    expected = model.run(walk())
    assert model.flush().shape == (0, 2)
    model.reset()
    np.testing.assert_array_equal(model.run(walk()), expected)
    assert (model.backend, model.variant, model.delay) == ("litert", variant, 0)


@pytest.mark.parametrize("variant", VARIANTS[1:])
def test_frames_beyond_all_integers_saturate_at_their_own_end(variant: str, cases: Path) -> None:
    model = opened(cases, variant, "gru")
    for sign in (1, -1):
        expected = model.fork().run(np.full((20, 5), sign * 1e4, np.float32))
        for far in (1e10, 1e30, 3e38):
            np.testing.assert_array_equal(model.fork().run(np.full((20, 5), sign * far, np.float32)), expected)


def test_a_state_of_another_variant_is_refused(cases: Path) -> None:
    with pytest.raises(ModelError, match="the model wants"):
        opened(cases, "int8").set_state(opened(cases, "float32").get_state())


def test_a_file_that_is_none_is_one_sentence(cases: Path, tmp_path: Path) -> None:
    bundle = bundles.read(cases / "gru")
    file = bundle.file("int8", "tflite")
    whole = (bundle.path / file.path).read_bytes()
    # tflite-runtime reads beyond the end of a file that was cut: SHA256SUMS alone stands before that one.
    cut = [] if libraries.litert().__module__.startswith("tflite_runtime") else [whole[: len(whole) // 2]]
    for content in (b"", b"TFL3", b"\0" * 8 + whole[8:], *cut):
        (tmp_path / "damaged.tflite").write_bytes(content)
        with pytest.raises(ModelError, match=r"damaged\.tflite: \w+ cannot load it") as caught:
            backends.open_file(tmp_path / "damaged.tflite", "litert", bundle.graph(), file)
        assert "\n" not in str(caught.value)


def test_a_file_with_other_states_than_described_is_refused(cases: Path) -> None:
    bundle = bundles.read(cases / "gru")
    with pytest.raises(ModelError, match=r"its inputs are .* bundle\.toml says"):
        backends.open_file(bundle.path / "step.float32.tflite", "litert", bundle.graph(), bundle.file("int8", "tflite"))


def test_a_bundle_without_such_files_works_and_says_what_it_has() -> None:
    whole = bundles.read(ZOO)
    files = [file for file in whole.manifest.files if file.format == "onnx"]
    manifest = msgspec.structs.replace(whole.manifest, files=files, defaults={"ort": "int8"})
    bundle = dataclasses.replace(whole, manifest=manifest)
    assert edgeseq.load(bundle).backend == "ort"
    with pytest.raises(ModelError, match=r"no file for the backend 'litert', only .*int8 on ort"):
        edgeseq.load(bundle, backend="litert")
    with pytest.raises(BundleError, match=r"no int8 variant as tflite; it holds .*int8 \(onnx\)"):
        edgeseq.load(bundle, backend="litert", variant="int8")


def test_it_is_never_the_bundles_own_default(cases: Path) -> None:
    assert edgeseq.load(cases / "gru").backend == "native"
    assert bundles.read(cases / "gru").manifest.defaults == {"native": "int8", "ort": "int8", "litert": "int8"}


def test_without_the_library_it_is_left_out_aloud(
    cases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries, "LITERT", ("no_such_library",))
    with pytest.raises(ConfigError, match=r"pip install 'edgeseq\[tflite\]'"):
        opened(cases, "int8")
    assert main(["verify", str(cases / "gru")]) == 0
    said = capsys.readouterr()
    assert "litert was left out: TFLite files need ai-edge-litert" in said.err
    assert "litert" not in said.out
    assert main(["bench", str(cases / "gru"), "--backend", "litert"]) == 2
    assert r"pip install 'edgeseq[tflite]'" in capsys.readouterr().err


def test_tflite_runtime_beside_numpy_2_is_refused_with_the_cure(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports, and fails with the first interpreter that is made."""
    module = ModuleType("tflite_runtime.interpreter")
    module.Interpreter = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tflite_runtime", ModuleType("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", module)
    monkeypatch.setattr(libraries, "LITERT", ("no_such_library", "tflite_runtime"))
    monkeypatch.setattr(np, "__version__", "2.4.0")
    with pytest.raises(ConfigError, match=r"does not run beside numpy 2\.4\.0: pip install 'numpy<2', or"):
        opened(cases, "int8")
    monkeypatch.setattr(np, "__version__", "1.26.4")
    assert libraries.litert() is object


def test_bench_measures_it(cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(cases / "gru", tmp_path / "b")
    assert main(["bench", str(tmp_path / "b"), "--variant", "int8", "--steps", "250", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(result["variant"], result["backend"]) for result in results] == [
        ("int8", "ort"),
        ("int8", "litert"),
        ("int8", "native"),
    ]
