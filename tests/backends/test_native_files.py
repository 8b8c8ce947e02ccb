"""Native programs from outside: what is damaged, of another version, or not what bundle.toml says, is one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damaged_files
import litert_cases
import msgspec
import numpy as np
import pytest
import test_quantized_pairs
from lowered import noise, stream_of

from edgeseq import backends
from edgeseq.backends.native.program import DESCRIPTION
from edgeseq.bundle import STORAGE, Graph, ModelFile
from edgeseq.errors import ModelError
from export import storage
from export.lowering import lower
from export.native import states
from export.quantize.calibrate import calibrate
from export.quantize.integers import quantize
from export.variants import describe, file_of
from export.writers import native as writer

FAMILIES = ("gru", "lstm", "conv2d", "attention", "gpt", "fused")
VARIANTS = ("float32", "int8", "w8a16", *STORAGE)
PAIRS = ("rnn with dot attention", "t5")
"""Encoder-decoders: one whose encoder steps, one whose encoder runs over the whole source."""
SEEDS = 60


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of some families in all variants, each with how bundle.toml describes it."""
    folder = tmp_path_factory.mktemp("programs")
    for family in FAMILIES:
        source, options = litert_cases.source(family, folder)
        choices = {key: value for key, value in options.items() if key in {"attention_window", "max_steps"}}
        stream = stream_of(source, **choices)
        program = lower(stream)
        frames = noise(stream, 60)
        seen = calibrate(program, [frames.reshape(-1, frames.shape[-1])])
        for variant in VARIANTS:
            small = variant if variant in STORAGE else ""
            if small:
                made = lower(storage.rounded(stream, variant), scaling=False)
            else:
                made = program if variant == "float32" else quantize(program, seen, variant)
            writer.write(folder / f"{family}.{variant}.npz", made, small)
            file = file_of(made, variant, "npz", writer.weight_bytes(made, small), states(made))
            described = msgspec.json.encode((describe(stream), file))
            (folder / f"{family}.{variant}.json").write_bytes(described)
    for family in PAIRS:
        made = test_quantized_pairs.family(family)
        for variant in ("float32", "int8"):
            halves = made.floats if variant == "float32" else made.programs(variant)
            for graph, half in zip(made.graphs, halves, strict=True):
                assert half is not None
                name = f"{family}.{graph.name}.{variant}"
                writer.write(folder / f"{name}.npz", half)
                file = file_of(half, variant, "npz", writer.weight_bytes(half), states(half), graph.name)
                (folder / f"{name}.json").write_bytes(msgspec.json.encode((graph, file)))
    return folder


def described(programs: Path, name: str) -> tuple[Graph, ModelFile]:
    return msgspec.json.decode((programs / f"{name}.json").read_bytes(), type=tuple[Graph, ModelFile])


@pytest.mark.long
def test_programs_damaged_at_random_work_or_are_one_sentence(programs: Path) -> None:
    """In a process of its own, for what might crash it; the last line says with which file and seed."""
    words = [sys.executable, damaged_files.__file__, str(programs), "0", str(SEEDS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, "\n".join([*done.stdout.splitlines()[-1:], done.stderr])
    went_through = int(done.stdout.split()[-3])
    assert 0 < went_through < (len(FAMILIES) * len(VARIANTS) + len(PAIRS) * 4) * SEEDS / 2


Change = Callable[[dict[str, Any], dict[str, Any]], None]


def ops(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [op for op in document["ops"] if op["kind"] == kind]


def state(document: dict[str, Any], end: str) -> dict[str, Any]:
    found: dict[str, Any] = document["tensors"][document["states"][0][end]]
    return found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d, _: d.update(version=9), r"runs native programs of version 1, the file has 9\. Export it again"),
        (lambda d, _: d.update(colour="red"), "holds no native program .*colour"),
        (lambda d, _: d.update(frames=2), "its frames a step are 2, bundle.toml says 1"),
        (lambda d, _: d["inputs"][0].update(last=4), "its inputs are .*bundle.toml says"),
        (lambda d, _: d["outputs"].pop(), r"its outputs are \[\], bundle.toml says"),
        (lambda d, _: d["states"].pop(), "its states are .*bundle.toml says"),
        (lambda d, _: state(d, "input").update(scale=0.5), r"its states are .*0\.5.*bundle\.toml says"),
        (lambda d, _: state(d, "output").update(zero_point=3), r"its states are .*, 3\).*bundle\.toml says"),
        (lambda d, _: d["tensors"].pop(d["outputs"][0]), "says nothing of the tensor"),
        (lambda d, _: d["tensors"][d["outputs"][0]].update(shape=[1 << 40]), "which none can be"),
        (lambda d, _: d["tensors"][d["outputs"][0]].update(dtype="complex64"), "which none can be"),
        (lambda d, _: ops(d, "Linear")[0].update(kind="Sorted"), r"\(Sorted\): this edgeseq's engine has no such op"),
        (lambda d, _: ops(d, "Linear")[0].update(inputs=["moon"]), "reads 'moon', which nothing gives"),
        (lambda d, a: a.pop(ops(d, "Linear")[0]["arrays"]["weight"]), "its array '.*weight' is missing"),
        (lambda d, a: a.update({ops(d, "Linear")[0]["arrays"]["bias"]: np.zeros(3, np.int64)}), "cannot be laid out"),
        (lambda d, _: d["ops"].extend([d["ops"][0]] * 100_001), "has 100,0.* operations; at most 100,000 are run"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(change: Change, says: str, programs: Path, tmp_path: Path) -> None:
    refused(change, says, programs, "lstm.int8", tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _, a: a.pop(scaled(a)), r"its array '\d+\.weight\.scale' is missing"),
        (lambda d, a: a.pop(next(iter(d["scales"]))), r"its array '\d+\.\w+' is missing"),
        (lambda d, _: d["scales"].update(moon="sun"), "its array 'moon' is missing"),
        (lambda _, a: a.update({scaled(a): a[scaled(a)][:-1]}), r"is int8\(.*, with scales float32\("),
        (lambda _, a: a.update({scaled(a): a[scaled(a)].reshape(-1)}), r"with scales float32\(\d+,\)"),
        (lambda _, a: a.update({scaled(a): a[scaled(a)][None]}), r"with scales float32\(1, "),
        (lambda _, a: a.update({scaled(a): a[scaled(a)].astype(np.float64)}), "with scales float64"),
        (lambda d, a: d["scales"].update({scaled(a): scaled(a)}), "weight.scale' is float32"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_scales_is_said(change: Change, says: str, programs: Path, tmp_path: Path) -> None:
    refused(change, says, programs, "lstm.w8", tmp_path)


def scaled(arrays: dict[str, Any]) -> str:
    return next(name for name in arrays if name.endswith(".weight.scale"))


def refused(change: Change, says: str, programs: Path, program: str, folder: Path) -> None:
    with np.load(programs / f"{program}.npz") as file:
        arrays = {name: file[name] for name in file.files}
    document = json.loads(arrays[DESCRIPTION].tobytes())
    change(document, arrays)
    arrays[DESCRIPTION] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    np.savez(folder / "step.npz", **arrays)
    with pytest.raises(ModelError, match=rf"step\.npz: .*{says}") as told:
        backends.open_file(folder / "step.npz", "native", *described(programs, program))
    assert "\n" not in str(told.value)


FRAMES = {"name": "source", "first": 0, "last": 1, "time_axis": 1}


def held(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["tensors"][document["held"][0]]
    return found


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("decoder", lambda d: d.update(held=[]), r"its held tensors are \{\}, bundle\.toml says"),
        ("decoder", lambda d: held(d).update(dtype="float64"), "its held tensors are .*bundle.toml says"),
        ("decoder", lambda d: held(d)["shape"].append(1), "its held tensors are .*bundle.toml says"),
        ("decoder", lambda d: held(d).update(shape=[1, 1, 1, 1]), "its held tensors are .*bundle.toml says"),
        ("decoder", lambda d: held(d)["shape"].__setitem__(2, 9), r"\(MatMul\): (cannot be laid out|gives)"),
        ("encoder", lambda d: d["held"].append(d["held"][0] + "s"), "says nothing of the tensor"),
        ("encoder", lambda d: held(d).update(dtype="float32"), "its inputs are .*bundle.toml says"),
        ("encoder", lambda d: d["outputs"].pop(), "its outputs are .*bundle.toml says"),
        ("encoder", lambda d: d.update(outputs=d["outputs"][::-1]), "its outputs are .*bundle.toml says"),
        ("encoder", lambda d: d["inputs"].append(FRAMES), "its inputs of frames, and states, are"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_half_of_a_pair_is_said(
    name: str, change: Callable[[dict[str, Any]], Any], says: str, programs: Path, tmp_path: Path
) -> None:
    with np.load(programs / f"t5.{name}.float32.npz") as file:
        arrays = {key: file[key] for key in file.files}
    document = json.loads(arrays[DESCRIPTION].tobytes())
    change(document)
    arrays[DESCRIPTION] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    np.savez(tmp_path / "half.npz", **arrays)
    graph, described_file = described(programs, f"t5.{name}.float32")
    opening = backends.open_whole if graph.whole else backends.open_file
    with pytest.raises(ModelError, match=rf"half\.npz: .*{says}") as told:
        opening(tmp_path / "half.npz", "native", graph, described_file)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"no archive", b"\x93NUMPY"])
def test_a_file_that_is_none(content: bytes, programs: Path, tmp_path: Path) -> None:
    (tmp_path / "step.npz").write_bytes(content)
    with pytest.raises(ModelError, match=r"step\.npz: holds no native program .*Export it again"):
        backends.open_file(tmp_path / "step.npz", "native", *described(programs, "lstm.int8"))


def test_nothing_in_it_is_unpickled(programs: Path, tmp_path: Path) -> None:
    class Bite:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "bitten",)

    np.savez(tmp_path / "step.npz", program=np.array([Bite()], object))
    with pytest.raises(ModelError, match="holds no native program"):
        backends.open_file(tmp_path / "step.npz", "native", *described(programs, "lstm.int8"))
    assert not (tmp_path / "bitten").exists()


def test_another_variants_program_is_refused(programs: Path) -> None:
    with pytest.raises(ModelError, match=r"lstm\.float32\.npz: its states are .* bundle\.toml says"):
        backends.open_file(programs / "lstm.float32.npz", "native", *described(programs, "lstm.int8"))
