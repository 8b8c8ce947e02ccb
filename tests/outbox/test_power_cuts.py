"""Processes really killed, and the power really cut under them: nothing that was put is lost, little comes twice.

EDGESEQ_KILLS: how many kills each of these makes; `make test-crash` sets 1,000.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from power import compile_layer

KILLED = Path(__file__).with_name("killed.py")
KILLS = int(os.environ.get("EDGESEQ_KILLS", "20"))


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if which("gcc") is None:
        pytest.skip("gcc is not installed; apt-get install gcc libc6-dev")
    return compile_layer(tmp_path_factory.mktemp("layer"))


def outcome(layer: Path, folder: Path, kills: int, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(KILLED), "--kills", str(kills), *options, str(folder)],
        env={
            **os.environ,
            "LD_PRELOAD": str(layer),
            "PYTHONPATH": f"{Path(__file__).parents[2]}:{Path(__file__).parents[1]}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("power", [(), ("--power", "drop"), ("--power", "tear")], ids=["kill", "drop", "tear"])
def test_nothing_that_was_put_is_lost(layer: Path, folder: Path, power: tuple[str, ...]) -> None:
    # The two kinds of cuts share the kills between them.
    kills = KILLS // 2 if power else KILLS
    found = outcome(layer, folder, kills, *power)
    assert found["put"] > kills
    assert found["lost"] == 0
    assert found["states_behind"] == 0
    assert found["dropped"] == 0
    assert found["most_twice_after_a_kill"] <= found["window"]
    assert found["twice_though_acknowledged"] == 0


@pytest.mark.parametrize(("power", "call"), [("drop", "fdatasync"), ("tear", "fdatasync"), ("drop", "fsync")])
def test_without_a_sync_the_same_loses_events(layer: Path, folder: Path, power: str, call: str) -> None:
    found = outcome(layer, folder, 15, "--power", power, "--without", call)
    assert found["lost"] > 0
