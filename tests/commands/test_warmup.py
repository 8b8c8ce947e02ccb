"""`edgeseq warmup`: every kernel compiled ahead of time, and nothing the second time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeseq import jit
from edgeseq.cli import main


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["warmup", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_compiles_what_there_is_and_says_where_it_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    first = document(capsys)
    assert first["kernels"] == len(jit.functions()) > 100
    assert first["place"] == str(jit.place())
    assert first["engine"] == jit.version()
    assert len([*Path(first["place"]).rglob("*.nbi")]) >= first["kernels"]
    assert not jit.cold()
    assert main(["warmup"]) == 0
    said = capsys.readouterr().out
    assert f"{first['kernels']} kernels" in said
    assert str(jit.place()) in said


def test_a_configuration_needs_some_of_them() -> None:
    config = Path(__file__).parents[2] / "zoo" / "turbofan" / "pipeline.toml"
    script = "from edgeseq.cli import main; import sys; sys.exit(main(['warmup', sys.argv[1], '--json']))"
    alone = subprocess.run([sys.executable, "-c", script, str(config)], capture_output=True, text=True, check=True)
    assert 0 < json.loads(alone.stdout)["kernels"] < len(jit.functions())


def test_where_nothing_can_be_kept_it_fails_and_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert main(["warmup"]) == 2
    said = capsys.readouterr()
    assert "Set EDGESEQ_CACHE to a folder that can be written" in said.err
    assert said.out == ""


def test_without_numba_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert main(["warmup"]) == 2
    assert "pip install 'numba>=0.60', or choose the backend 'ort'" in capsys.readouterr().err
