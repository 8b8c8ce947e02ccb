"""A bundle whose encoder has parts: what is wrong with its manifest or files is told, and nothing is run on it."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chained_models as models
import numpy as np
import pytest
import seq2seq_models
import tomli_w
from test_exporter import resum
from test_storage import spoil

import edgeseq
import export
from edgeseq import bundle as bundles
from edgeseq.errors import BundleError, ModelError
from edgeseq.verification import verify


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    """Two bidirectional layers: forwards, backwards, forwards."""
    given = models.made("two layers"), seq2seq_models.tokens()
    return export.export(given, tmp_path_factory.mktemp("parts") / "b", variants=["float32", "w8"])


@pytest.fixture
def folder(whole: bundles.Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.path, tmp_path / "b"))


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    table = tomllib.loads((path / bundles.MANIFEST).read_text("utf-8"))
    change(table)
    (path / bundles.MANIFEST).write_text(tomli_w.dumps(table), "utf-8")
    resum(path)


def swapped(graphs: list[Any]) -> None:
    graphs[0], graphs[1] = graphs[1], graphs[0]


WRONG: dict[str, tuple[Callable[[list[Any]], Any], str]] = {
    "order": (swapped, r"graphs\[0\]\.inputs\[0\]: no graph before it is called 'encoder-1'"),
    "circle": (
        lambda graphs: graphs[1]["inputs"][0].update(part="encoder-2"),
        r"graphs\[1\]\.inputs\[0\]: no graph before it is called 'encoder-2'",
    ),
    "decoder first": (lambda graphs: graphs.insert(0, graphs.pop()), "`encoder` is the last|then comes `encoder`"),
    "two of a name": (lambda graphs: graphs[1].update(name="encoder-1"), "names of their own"),
    "unknown rows": (lambda graphs: graphs[1]["inputs"][0].update(output="no"), "encoder-1 has no output 'no'"),
    "no output": (lambda graphs: graphs[1]["inputs"][0].pop("output"), "encoder-1 has no output 'None'"),
    "no part": (lambda graphs: graphs[1]["inputs"][0].pop("part"), r"inputs\[0\]: no graph before it is called 'None'"),
    "unknown state": (lambda graphs: graphs[2]["held"][0].update(output="no"), "has no output 'no'"),
    "width": (lambda graphs: graphs[1]["inputs"][0].update(shape=[1, 1, 7]), "nothing that comes in here row by row"),
    "tokens": (lambda graphs: graphs[1]["inputs"][0].update(dtype="int64"), "nothing that comes in here row by row"),
    "late": (lambda graphs: graphs[1].update(delay=1), "steps entry by entry, without delay, goes backwards"),
    "decoder backwards": (lambda graphs: graphs[-1].update(backwards=True), r"graphs\[3\]\.backwards: only a part"),
    "held shape": (
        lambda graphs: graphs[-1]["held"][0].update(shape=[1, -1, 7]),
        r"graphs\[3\]\.held\[0\]: '.*' is \[1, 1, 12\], which is not held as \[1, -1, 7\]",
    ),
    "held state": (
        lambda graphs: next(e for e in graphs[-1]["held"] if -1 not in e["shape"]).update(shape=[1, 1, 10**6]),
        "is not held as",
    ),
    "memory": (lambda graphs: graphs[-1]["held"][0].update(part="decoder"), "no graph before it is called 'decoder'"),
    "held": (lambda graphs: graphs[2]["held"][0].update(shape=[1, -1, -1]), "is not held as"),
    "no source": (
        lambda graphs: graphs[0]["inputs"].append({**graphs[0]["inputs"][0], "name": "other", "shape": [1, 2]}),
        "an encoder takes one source",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_manifest_is_refused_by_key(what: str, folder: Path) -> None:
    change, says = WRONG[what]
    edit(folder, lambda table: change(table["graphs"]))
    with pytest.raises(BundleError, match=rf"bundle\.toml.*({says})"):
        bundles.read(folder)


def test_onnxruntime_takes_nothing_in_another_shape_than_its_file(tmp_path: Path) -> None:
    given = models.made("from the end"), seq2seq_models.tokens()
    export.export(given, tmp_path / "b", variants=["float32"])
    edit(tmp_path / "b", lambda table: table["graphs"][1]["held"][1].update(shape=[1, 1, 8]))
    edgeseq.load(tmp_path / "b", backend="ort")
    edit(tmp_path / "b", lambda table: table["graphs"][1]["held"][1].update(shape=[1, 8, 1]))
    with pytest.raises(ModelError, match=r"encoder-2\.float32\.onnx: it takes .*, bundle\.toml says otherwise"):
        edgeseq.load(tmp_path / "b", backend="ort")


def test_a_part_without_its_file_is_told(folder: Path) -> None:
    edit(folder, lambda table: table.update(files=[f for f in table["files"] if f["path"] != "encoder-2.float32.npz"]))
    with pytest.raises(BundleError, match="has no float32 variant as npz"):
        edgeseq.load(folder)


def test_a_part_that_goes_the_other_way_is_not_run(folder: Path) -> None:
    edit(folder, lambda table: table["graphs"][1].pop("backwards"))
    assert not any(verdict.passed for verdict in verify.verify(bundles.read(folder)))
    with pytest.raises(ModelError, match="does not compute here what was exported"):
        edgeseq.load(folder)


def test_a_patched_part_is_found_and_named(folder: Path) -> None:
    others = [file for file in folder.glob("*.onnx") if file.name != "encoder-2.w8.onnx"]
    for file in others:
        file.rename(folder.parent / file.name)
    spoil(folder, ".scale", 1.5)
    for file in others:
        (folder.parent / file.name).rename(file)
    resum(folder)
    failed = {(v.variant, v.backend) for v in verify.verify(bundles.read(folder)) if not v.passed}
    assert failed == {("w8", "ort")}


def test_parts_are_loaded_and_told_like_others(whole: bundles.Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    from edgeseq import cli  # noqa: PLC0415 - only here

    assert {entry.backend for entry in whole.manifest.parity} == {"ort", "litert", "native"}
    assert all(verdict.passed for verdict in verify.verify(whole))
    assert cli.main(["inspect", str(whole.path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "encoder-2 /encoder" in text.replace("/layers/", "/encoder/")
    assert "of encoder-1 →" in text
    assert ", backwards, delay 0" in text
    assert "holds of encoder-1: " in text
    report = (whole.path / "report.md").read_text("utf-8")
    assert "## Encoder-2" in report
    assert "it goes backwards, frames a step 1" in report
    assert "Encoder-2:" in report
    short = edgeseq.load(whole).logits(np.array([3]), np.array([1, 2]))
    assert short.shape == (2, seq2seq_models.TARGET_WORDS)
