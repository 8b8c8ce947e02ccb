"""The transforms and what stands around them on processors with other vectors than this one's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CALLED = re.compile(r"^(edgeseq\.[\w.<>$]+|\"edgeseq\.[^\"]+\"):$(.*?)^\.Lfunc_end", re.MULTILINE | re.DOTALL)
KERNELS = ("_fft._of_twos_and_fives", "_spectra.windows")
ARITHMETIC = re.compile(r"^\s(?:fadd|fsub|fmul|fnmul|fdiv|fmla|fmls|fmadd|fmsub|fnmadd|fnmsub)\s(\w)", re.MULTILINE)


def environment(folder: Path) -> dict[str, str]:
    # The cache would hand this code to the next process that compiles for any processor.
    return {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}


def test_with_the_least_vectors_they_compute_the_same(tmp_path: Path) -> None:
    names = ("test_fft.py", "test_banks.py", "test_logarithm.py", "test_stft.py", "test_log_mel.py", "test_mfcc.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            *(str(HERE / name) for name in names),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=environment(tmp_path),
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a76"])
def test_on_arm_it_is_vector_code(cpu: str, tmp_path: Path) -> None:
    program = ROOT / "tests" / "backends" / "aarch64.py"
    done = subprocess.run(
        [sys.executable, str(program), cpu, *KERNELS],
        capture_output=True,
        text=True,
        check=False,
        env=environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    kernels = json.loads(done.stdout)
    assert {*kernels} == {*KERNELS}
    found = {}
    for text in kernels.values():
        for name, body in CALLED.findall(text):
            found[name] = ARITHMETIC.findall(body)
    # Butterflies of the first pass, and of three radices in later ones and the last; two ways on from there, two back;
    # total, weighted, levels, and sums over bands.
    assert len(found) == 7 + 4 + 4
    for name, registers in found.items():
        assert registers, name
        assert {*registers} == {"v"}, name
