"""Goldens are replayed before a variant first runs somewhere, and not again until something is another."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_bundle
from onnx import numpy_helper

import edgeseq
from edgeseq import backends, bundle, checksums, machine
from edgeseq.cli import main
from edgeseq.errors import ModelError
from edgeseq.verification import first_load, verdicts, verify


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESEQ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "verdicts"


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was judged."""
    judged: list[str] = []
    judge = verify.judge

    def counted(*args: Any) -> verify.Verdict:
        judged.append(args[1].variant)
        return judge(*args)

    monkeypatch.setattr(verify, "judge", counted)
    return judged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bundle.write(tmp_path / "b")


def wrong(folder: Path) -> Path:
    """Patch a weight, as a wrong kernel would compute, and make the sums anew."""
    path = folder / "step.float32.onnx"
    model = onnx.load(path)
    leak = model.graph.initializer[0]
    leak.CopyFrom(numpy_helper.from_array(np.array([0.6], np.float32), leak.name))
    onnx.save(model, path)
    names = sorted(file.name for file in folder.iterdir() if file.name != checksums.SUMS)
    (folder / checksums.SUMS).write_text("".join(f"{checksums.sha256(folder / name)}  {name}\n" for name in names))
    return folder


def test_goldens_are_replayed_once(folder: Path, cache: Path, replays: list[str]) -> None:
    for _ in range(3):
        model = edgeseq.load(folder)
    assert replays == ["float32"]
    assert model.step(np.ones(1, np.float32)) == 0.5
    (kept,) = cache.iterdir()
    content = json.loads(kept.read_text("utf-8"))
    assert content["passed"] is True
    assert content["subject"]["bundle"] == bundle.read(folder).digest
    assert content["subject"]["library"] == backends.library("ort")


def test_the_model_comes_freshly_reset(folder: Path) -> None:
    before, after = edgeseq.load(folder), edgeseq.load(folder)
    assert before.step(np.ones(1, np.float32)) == after.step(np.ones(1, np.float32)) == 0.5


def test_a_wrong_kernel_does_not_run_and_is_named(folder: Path, replays: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(
            ModelError, match=r"float32 on ort \(onnxruntime .*\) does not compute here what was"
        ) as told:
            edgeseq.load(wrong(folder))
        assert "its max error is 0." in str(told.value)
        assert "1e-05 is allowed" in str(told.value)
        assert "edgeseq verify" in str(told.value)
    assert len(replays) == 2  # a failure is tried again


@pytest.mark.parametrize("what", ["library", "edgeseq", "machine", "bundle", "nothing"])
def test_a_verdict_holds_for_nothing_else(
    what: str, folder: Path, replays: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    edgeseq.load(folder)
    if what == "library":
        monkeypatch.setattr(backends, "library", lambda _: "onnxruntime 99.0")
    elif what == "edgeseq":
        monkeypatch.setattr(edgeseq, "__version__", "99.0")
    elif what == "machine":
        monkeypatch.setattr(machine, "identity", lambda: "riscv64, another, 0")
    elif what == "bundle":
        folder = tiny_bundle.write(tmp_path / "other", leak=0.25)
    edgeseq.load(folder)
    assert len(replays) == (1 if what == "nothing" else 2)


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"\xff\xfe", b"[]", b'{"passed": true}', b'{"subject": 1, "passed": true}', b"[" * 9999]
)
def test_a_damaged_verdict_is_replaced(
    content: bytes, folder: Path, cache: Path, replays: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    edgeseq.load(folder)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(content)
    edgeseq.load(folder)
    assert len(replays) == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the goldens are replayed" in caplog.text
    assert kept.read_bytes() == whole
    assert list(cache.iterdir()) == [kept]


def test_a_cache_that_cannot_be_written_costs_one_line(
    folder: Path, replays: list[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("no folder")
    for number in (1, 2):
        edgeseq.load(folder)
        assert len(replays) == number
    assert len(caplog.records) == 1
    assert "cannot be kept there" in caplog.text


def test_a_disk_that_is_full_leaves_nothing_half_written(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    edgeseq.load(folder)
    assert list(cache.iterdir()) == []
    assert len(caplog.records) == 1
    assert f"{cache}: the verdict on the goldens cannot be kept there (No space left on device)" in caplog.text


def test_verify_always_replays_and_says_what_holds_now(folder: Path, replays: list[str]) -> None:
    edgeseq.load(folder)
    assert main(["verify", str(folder), "--json"]) == 0
    assert len(replays) == 2
    edgeseq.load(folder)
    assert len(replays) == 2


def test_verify_takes_a_verdict_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edgeseq.load(folder)
    opened = bundle.read(folder)
    monkeypatch.setattr(verify, "worst", lambda *_: verify.Worst(0, 1.0, 1.0, 1e-5, passed=False))
    assert main(["verify", str(folder), "--json"]) == 1
    with pytest.raises(ModelError, match="max error is 1, 1e-05 is allowed"):
        first_load.check(opened, backends.load(opened))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"EDGESEQ_CACHE": "/a", "CACHE_DIRECTORY": "/b", "STATE_DIRECTORY": "/c"}, "/a/verdicts"),
        ({"CACHE_DIRECTORY": "/b:/b2", "STATE_DIRECTORY": "/c", "XDG_CACHE_HOME": "/d"}, "/b/verdicts"),
        ({"STATE_DIRECTORY": "/c", "XDG_CACHE_HOME": "/d"}, "/c/verdicts"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/edgeseq/verdicts"),
        ({"XDG_CACHE_HOME": "not/absolute", "HOME": "/e"}, "/e/.cache/edgeseq/verdicts"),
        ({"HOME": "/e"}, "/e/.cache/edgeseq/verdicts"),
    ],
)
def test_where_verdicts_are_kept(settings: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGESEQ_CACHE", "CACHE_DIRECTORY", "STATE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert verdicts.place() == Path(expected)


def test_a_user_without_a_home_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    for name in ("EDGESEQ_CACHE", "CACHE_DIRECTORY", "STATE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    edgeseq.load(folder)
    assert len(caplog.records) == 1
    assert "EDGESEQ_CACHE" in caplog.text


CONFIG = """
name = "p"
[source]
type = "csv"
path = "x.csv"
[model]
bundle = "b"
"""


@pytest.mark.parametrize("command", ["run", "check", "replay"])
def test_every_command_that_runs_a_model_replays_first(
    command: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], replays: list[str]
) -> None:
    (tmp_path / "x.csv").write_text("life\n1\n2\n", "utf-8")
    (tmp_path / "p.toml").write_text(CONFIG, "utf-8")
    rest = ["--output", str(tmp_path / "y.jsonl")] if command == "replay" else []
    assert main([command, str(tmp_path / "p.toml"), *rest]) == 0
    assert replays == ["float32"]
    capsys.readouterr()
    wrong(folder)
    assert main([command, str(tmp_path / "p.toml"), *rest]) == 1
    assert "does not compute here what was exported" in capsys.readouterr().err


def test_another_bundle_of_the_same_content_is_known(folder: Path, tmp_path: Path, replays: list[str]) -> None:
    edgeseq.load(folder)
    edgeseq.load(shutil.copytree(folder, tmp_path / "copy"))
    assert len(replays) == 1


def test_verify_cuts_no_number_where_the_terminal_is_narrow(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert main(["verify", str(folder)]) == 0
    heading, row = capsys.readouterr().out.splitlines()[2:]
    assert heading.split() == ["variant", "backend", "steps", "max", "error", "rms", "error", "tolerance", "verdict"]
    assert row.split()[:2] == ["float32", "ort"]
    assert row.endswith("passed")
