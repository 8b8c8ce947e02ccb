"""Where machine code is kept, and what becomes of a cache that is damaged or cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeseq import jit

ROOT = Path(__file__).parents[1]

PROGRAM = """
import numpy as np
from edgeseq.backends.native.kernels import moving
from edgeseq import jit
a, b = np.arange(8, dtype=np.int32), np.zeros(8, np.int32)
row = np.array([0, 1, 1, 1, 8, b.ctypes.data, 0, 0, 0, 4, a.ctypes.data, 0, 0, 0, 4, *[0] * 9])
moving.copy4.compiled.ctypes(row.ctypes.data_as(moving.copy4.compiled.ctypes.argtypes[0]))
assert (a == b).all()
print(jit.cold(), moving.copy4.kept)
"""


def run(cache: Path) -> tuple[str, str]:
    """Compile a kernel, or load it, in a process of its own; return what it printed, and what it was told."""
    environment = {**os.environ, "EDGESEQ_CACHE": str(cache)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_a_kernel_is_compiled_once_and_again_where_its_file_is_damaged(tmp_path: Path) -> None:
    assert run(tmp_path) == ("False False", "")
    assert run(tmp_path) == ("False True", "")
    for damage in (b"", b"no pickle"):
        for file in tmp_path.rglob("*.nb?"):
            file.write_bytes(damage)
        said, told = run(tmp_path)
        assert said == "False False"
        assert "machine code that cannot be read is compiled anew" in told
        assert run(tmp_path) == ("False True", "")


def test_where_nothing_can_be_kept_kernels_are_compiled_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    said, told = run(tmp_path / "file")
    assert said == "True False"
    assert told.count("no machine code can be kept there") == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"NUMBA_CACHE_DIR": "/n", "EDGESEQ_CACHE": "/a", "CACHE_DIRECTORY": "/b"}, "/n/kernels"),
        ({"EDGESEQ_CACHE": "/a", "CACHE_DIRECTORY": "/b", "STATE_DIRECTORY": "/c"}, "/a/kernels"),
        ({"CACHE_DIRECTORY": "/b:/b2", "STATE_DIRECTORY": "/c", "XDG_CACHE_HOME": "/d"}, "/b/kernels"),
        ({"STATE_DIRECTORY": "/c", "XDG_CACHE_HOME": "/d"}, "/c/kernels"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/edgeseq/kernels"),
        ({"XDG_CACHE_HOME": "not/absolute", "HOME": "/e"}, "/e/.cache/edgeseq/kernels"),
    ],
)
def test_the_place(settings: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMBA_CACHE_DIR", "EDGESEQ_CACHE", "CACHE_DIRECTORY", "STATE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert jit.place() == Path(expected) / jit.version()


def test_a_user_without_a_home_has_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    for name in ("NUMBA_CACHE_DIR", "EDGESEQ_CACHE", "CACHE_DIRECTORY", "STATE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert jit.place() is None
    assert jit.cold()


@pytest.mark.parametrize(
    "arguments",
    [["verify", "zoo/turbofan/bundle"], ["check", "zoo/turbofan/pipeline.toml"], ["warmup"]],
    ids=lambda each: each[0],
)
def test_without_the_compiler_nothing_begins(arguments: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "EDGESEQ_CACHE": str(tmp_path), "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "edgeseq", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT, timeout=120)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("edgeseq: NUMBA_DISABLE_JIT is set")
    assert "Traceback" not in done.stderr
