"""The power is cut while checkpoints are written: one that was written is there, or a newer one.

EDGESEQ_KILLS: how many cuts each of these makes; `make test-crash` sets more.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest
from power import compile_layer

CUT = Path(__file__).with_name("cut.py")
CUTS = int(os.environ.get("EDGESEQ_KILLS", "20"))


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if which("gcc") is None:
        pytest.skip("gcc is not installed; apt-get install gcc libc6-dev")
    return compile_layer(tmp_path_factory.mktemp("layer"))


def outcome(layer: Path, folder: Path, cuts: int, *options: str) -> dict[str, int]:
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(CUT), "--cuts", str(cuts), *options, str(folder)],
        env={**os.environ, "LD_PRELOAD": str(layer), "PYTHONPATH": f"{tests.parent}:{tests}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    assert found["written"] > cuts
    return found


@pytest.mark.parametrize("power", ["drop", "tear"])
def test_what_was_written_is_there(layer: Path, tmp_path: Path, power: str) -> None:
    assert outcome(layer, tmp_path, CUTS, "--power", power)["lost"] == 0


@pytest.mark.parametrize("power", ["drop", "tear"])
def test_without_a_sync_it_is_not(layer: Path, tmp_path: Path, power: str) -> None:
    assert outcome(layer, tmp_path, 20, "--power", power, "--without", "fsync")["lost"] > 0
