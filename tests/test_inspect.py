"""`edgeseq inspect`: the words and the JSON."""

import json
from pathlib import Path

import pytest
import tiny_bundle

from edgeseq.checksums import sha256
from edgeseq.cli import main


def test_in_words_and_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tiny_bundle.write(tmp_path / "b"))]) == 0
    out = capsys.readouterr().out
    for word in (
        "leaky-average 1.0.0",
        "life [cycles]",
        "low is bad",
        "hysteresis",
        "step.float32.onnx",
        "1e-07",
        "1e-05",
    ):
        assert word in out


def test_accuracies_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_bundle.write(tmp_path / "b")
    manifest, sums = path / "bundle.toml", path / "SHA256SUMS"
    before = sha256(manifest)
    with manifest.open("a") as file:
        file.write("\n[accuracy.float32]\nrmse = 10.6302\nnasa = 247.796\n[accuracy.int8]\nrmse = 10.5912\n")
    sums.write_text(sums.read_text().replace(before, sha256(manifest)))
    assert main(["inspect", str(path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-3:]]
    assert rows == [["accuracy", "float32", "int8"], ["rmse", "10.63", "10.59"], ["nasa", "247.8", "–"]]


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_bundle.write(tmp_path / "b")
    assert main(["inspect", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["manifest"]["name"] == "leaky-average"
    assert document["bytes"]["step.float32.onnx"] == (path / "step.float32.onnx").stat().st_size
    assert len(document["digest"]) == 64


def test_what_is_no_bundle_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "nothing")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_all_that_a_bundle_may_hold_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_bundle.write(tmp_path / "b")
    manifest, sums = path / "bundle.toml", path / "SHA256SUMS"
    before = sha256(manifest)
    text = manifest.read_text()
    manifest.write_text(text.replace("warm_up = ", "max_steps = 5000\nwarm_up = "))
    assert manifest.read_text() != text
    sums.write_text(sums.read_text().replace(before, sha256(manifest)))
    assert main(["inspect", str(path)]) == 0
    assert "to be reset after 5,000 frames" in capsys.readouterr().out
