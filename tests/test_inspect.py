"""`edgeseq inspect`: the words and the JSON."""

import json
from pathlib import Path

import pytest
import tiny_bundle

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
