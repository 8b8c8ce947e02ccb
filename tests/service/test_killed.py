"""`edgeseq run` as a process that is killed and started again, against one that was let alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bundle

from edgeseq.service.checkpoint import decoded

KILLS = int(os.environ.get("EDGESEQ_KILLS", "2"))
RATE_HZ = 500
ROWS = 1000
CONFIG = """\
name = "wear"
device = "press-4"
[source]
type = "csv"
path = "data.csv"
stream_column = "unit"
missing = "hold"
pace = {pace}
[model]
bundle = "bundle"
[decider]
type = "hysteresis"
direction = "below"
warning = 40
warning_clear = 42
min_steps = 3
clear_steps = 2
[[sinks]]
type = "stdout"
format = "json"
outputs = true
{rest}
"""
CHECKPOINT = '[checkpoint]\npath = "state/checkpoint"\ninterval_s = 0.02\n'
STATE = Path("state", "checkpoint")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a bundle and the data of two machines, with holes."""
    features = [{"type": "ewma", "time_constant": 0.02}, {"type": "difference", "keep": True}]
    features.append({"type": "standardize", "channels": ["life.ewma"], "mean": [0.0], "std": [1.0]})
    path = tmp_path_factory.mktemp("killed")
    tiny_bundle.write(path / "bundle", 0.9, rate_hz=RATE_HZ, features=features)
    rng = np.random.default_rng(0)
    life = 41 + 4 * np.sin(np.arange(ROWS) / 40)[:, None] + rng.normal(0, 2, (ROWS, 2))
    cells = np.where(rng.random((ROWS, 2)) < 0.02, "", life.round(3).astype(str))
    rows = [f"{unit},{cells[row, place]}" for row in range(ROWS) for place, unit in enumerate("AB")]
    (path / "data.csv").write_text("\n".join(["unit,life", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[str]:
    """Give the lines of a process that was let alone, and keeps nothing."""
    process = start(folder, "alone")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return whole_lines(out)


def start(folder: Path, name: str, *, pace: str = '"fast"', rest: str = "", **more: Any) -> subprocess.Popen[str]:
    """Start a pipeline; its lines come through a pipe."""
    config = folder / f"{name}.toml"
    config.write_text(CONFIG.format(pace=pace, rest=rest))
    command = [sys.executable, "-m", "edgeseq", "run", str(config), "--verbose"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=folder, **more)


def whole_lines(text: str) -> list[str]:
    """Return lines; what a kill has cut off is none."""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def by_name(lines: Sequence[str]) -> dict[tuple[Any, ...], str]:
    """Return lines by what they tell of: those that tell it again must say the very same."""
    found: dict[tuple[Any, ...], str] = {}
    for line in lines:
        said = json.loads(line)
        name = (said["type"], said.get("event_id"), said["stream"], said["t_ns"])
        assert found.setdefault(name, line) == line
    return found


def test_killed_at_random_it_says_the_same(folder: Path, expected: list[str]) -> None:
    events = [line for line in expected if json.loads(line)["type"] == "event"]
    assert len(events) > 10
    rng = np.random.default_rng(0)
    lines: list[str] = []
    firsts: list[int] = []
    log = ""
    for kill in range(KILLS + 1):
        with start(folder, "wear", pace='"real-time"', rest=CHECKPOINT) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            read = []
            if kill < KILLS:
                read = [process.stdout.readline() for _ in range(int(rng.integers(1, 2 * ROWS // KILLS)))]
                process.kill()
            read += process.stdout.read().splitlines(keepends=True)
            log = process.stderr.read()
        told = whole_lines("".join(read))
        firsts += [json.loads(line)["t_ns"] for line in told[:1]]
        lines += told
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, log
    assert by_name(lines) == by_name(expected)
    assert max(firsts) > 0, "it went on where it was"
    assert "streams go on where they were" in log
    assert not [*(folder / STATE.parent).iterdir()], "at the end of the data there is nothing to go on with"


def test_stopped_and_started_it_says_everything_once(folder: Path, expected: list[str]) -> None:
    lines: list[str] = []
    for stop in (True, False):
        with start(folder, "wear", pace='"real-time"', rest=CHECKPOINT) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            read = []
            if stop:
                read = [process.stdout.readline() for _ in range(500)]
                process.terminate()
            # Not by communicate, which passes over what readline has read ahead.
            out, err = process.stdout.read(), process.stderr.read()
        assert process.returncode == 0, err
        lines += [*read, *whole_lines(out)]
    assert sorted(lines) == sorted(expected)
    for unit in "AB":
        mine = [[line for line in each if json.loads(line)["stream"] == unit] for each in (lines, expected)]
        assert mine[0] == mine[1]


def test_a_live_source_has_a_gap_where_the_service_was_down(tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle", 0.5, rate_hz=RATE_HZ, reset="gap")
    live = CONFIG.replace('path = "data.csv"\nstream_column = "unit"\nmissing = "hold"\npace = {pace}', 'start = "now"')
    config = tmp_path / "live.toml"
    config.write_text(live.replace('"csv"', '"text"').format(rest=CHECKPOINT))
    told, logs = [], []
    for text in ("dcba", "z"):
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "edgeseq", "run", str(config)]
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(text)
            process.stdin.flush()
            told.append([json.loads(process.stdout.readline()) for _ in text])
            if text == "dcba":
                wait_for_checkpoint(tmp_path / STATE, frames=len(text))
            process.kill()
            logs.append(process.stderr.read())
    assert "nothing was taken" not in logs[0]
    last, first = told[0][-1], told[1][0]
    between = " and ".join(
        (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=each["t_ns"] // 1000)).isoformat()
        for each in (last, first)
    )
    assert f"nothing was taken between {between}" in logs[1]
    assert "It is a gap." in logs[1]
    assert first["values"]["rul"] == ord("z") / 2, "the state was reset: nothing is left of what came before the gap"
    assert first["warming"]


def wait_for_checkpoint(path: Path, frames: int) -> None:
    """Wait until one tells of so many frames."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists():
            lanes = decoded(path.read_bytes())[0].lanes
            if "" in lanes and lanes[""].counts["seen"] == frames:
                return
        time.sleep(0.01)
    pytest.fail("no checkpoint was written")
