"""A bundle that was damaged, or edited with its sums made right again: one sentence, never a traceback."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle
import tomli_w

import edgeseq
from edgeseq import bundle as bundles
from edgeseq import checksums
from edgeseq.errors import BundleError

INF, NAN = float("inf"), float("nan")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bundle.write(tmp_path / "b")


def resum(path: Path) -> None:
    names = sorted(file.name for file in path.iterdir() if file.name != checksums.SUMS)
    sums = "".join(f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (path / checksums.SUMS).write_text(sums)


def edit(path: Path, keys: tuple[str | int, ...], value: Any) -> None:
    table = tomllib.loads((path / bundles.MANIFEST).read_text())
    place: Any = table
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (path / bundles.MANIFEST).write_text(tomli_w.dumps(table))
    resum(path)


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        (("graphs", 0, "inputs", 0, "shape"), [1, -1], "none that a step has"),
        (("graphs", 0, "inputs", 0, "shape"), [10**12, 10**12], "none that a step has"),
        (("graphs", 0, "inputs", 0, "time_axis"), 7, "has no axis 7"),
        (("graphs", 0, "states", 0, "initial"), [1.0, 2.0, 3.0], "one an element"),
        (("graphs", 0, "states", 0, "initial"), NAN, "finite"),
        (("graphs", 0, "frames_per_step"), 0, "frames_per_step"),
        (("graphs", 0, "frames_per_step"), 10**15, "frames_per_step"),
        (("graphs", 0, "delay"), -1, "delay"),
        (("graphs", 0, "delay"), 10**15, "delay"),
        (("graphs", 0, "outputs"), [], "names"),
        (("graphs",), [], "has no graph 'step'"),
        (("files", 0, "states", 0, "scale"), 0.0, "scale above 0"),
        (("files", 0, "states", 0, "scale"), 0.5, "integer type"),
        (("files", 0, "states", 0, "half"), "high", "not those of the graph"),
        (("files", 0, "path"), "../step.float32.onnx", "not listed"),
        (("parity", 0, "tolerance"), INF, "finite number"),
        (("parity", 0, "tolerance"), -1.0, "finite number"),
        (("parity", 0, "tolerances"), [NAN], "finite number"),
        (("defaults",), {}, "no backend has a default"),
        (("stream", "rate_hz"), NAN, "rate above 0"),
        (("stream", "channels"), [], "at least one channel"),
        (("output", "names"), ["a", "b"], "2 names for 1 outputs"),
    ],
)
def test_an_edited_manifest_is_refused(folder: Path, keys: tuple[str | int, ...], value: Any, says: str) -> None:
    edit(folder, keys, value)
    with pytest.raises(BundleError, match=says):
        edgeseq.load(folder)


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "schema = " + "9" * 5000, "\x00", "schema = "])
def test_what_is_no_toml_is_refused(folder: Path, text: str) -> None:
    (folder / bundles.MANIFEST).write_text(text)
    resum(folder)
    with pytest.raises(BundleError, match="not valid TOML"):
        edgeseq.load(folder)


def _long_name(path: Path) -> None:
    (path / checksums.SUMS).write_text("0" * 64 + "  " + "x" * 5000 + "\n")


def _unlisted(path: Path) -> None:
    (path / "more.onnx").write_bytes(b"x")


def _unlisted_folder(path: Path) -> None:
    (path / "more").mkdir()


def _link(path: Path) -> None:
    (path / "step.float32.onnx").rename(path.parent / "elsewhere.onnx")
    (path / "step.float32.onnx").symlink_to(path.parent / "elsewhere.onnx")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_long_name, "missing"),
        (_unlisted, "more.onnx is not listed"),
        (_unlisted_folder, "more is not listed"),
        (_link, "missing"),
    ],
)
def test_a_folder_that_is_not_its_sums_is_refused(folder: Path, damage: Callable[[Path], None], says: str) -> None:
    damage(folder)
    with pytest.raises(BundleError, match=says):
        edgeseq.load(folder)


def test_a_signature_beside_the_sums_is_no_stranger(folder: Path) -> None:
    (folder / checksums.SIGNATURE).write_bytes(b"x")
    assert edgeseq.load(folder).variant == "float32"


def test_a_state_has_both_halves_once_or_none(folder: Path) -> None:
    edit(folder, ("files", 0, "format"), "tflite")
    (state,) = tomllib.loads((folder / bundles.MANIFEST).read_text())["files"][0]["states"]
    high, low = state | {"half": "high"}, state | {"half": "low"}
    for wrong in ([], [high], [low], [high, high], [high, low, low], [state, low], [state, high, low]):
        edit(folder, ("files", 0, "states"), wrong)
        with pytest.raises(BundleError, match="not those of the graph 'step'"):
            bundles.read(folder)
    edit(folder, ("files", 0, "states"), [high, low])
    assert [entry.title for entry in bundles.read(folder).manifest.files[0].states] == ["h.high", "h.low"]
