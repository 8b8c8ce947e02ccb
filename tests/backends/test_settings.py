"""Settings reach the runtimes: threads, and no telemetry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeseq import backends
from edgeseq import bundle as bundles
from edgeseq.errors import ModelError

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "zoo" / "turbofan" / "bundle"
TASKS = Path("/proc/self/task")
# Instead of the library, what tells how the switch stood when it was loaded.
STAND_IN = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("telemetry off:", os.environ.get("ORT_DISABLE_TELEMETRY"))
            sys.exit()
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.skipif(not TASKS.exists(), reason="counts threads in /proc, which is not there")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("backend", ["ort", "litert"])
def test_as_many_threads_as_asked_for(backend: str, threads: int) -> None:
    if backends.absence(backend):
        pytest.skip("needs the extra 'tflite': pip install 'edgeseq[tflite]'")
    before = set(TASKS.iterdir())
    model = backends.load(BUNDLE, backend, "float32", threads=threads)
    model.run(np.zeros((20, model.features), np.float32))
    # The caller is one of them.
    assert len(set(TASKS.iterdir()) - before) == threads - 1


def test_native_takes_one_thread_and_says_why() -> None:
    with pytest.raises(ModelError, match=r"one thread, not 2: .*Leave threads at 1.*'ort' or 'litert'\.") as caught:
        open_nothing("native", threads=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["ort", "native"])
def test_no_thread_is_refused(backend: str) -> None:
    with pytest.raises(ModelError, match="one thread or more, not 0"):
        open_nothing(backend, threads=0)


def open_nothing(backend: str, threads: int) -> None:
    bundle = bundles.read(BUNDLE)
    backends.open_file(Path("none"), backend, bundle.graph(), bundle.file("float32", "onnx"), threads=threads)


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("import edgeseq.backends.ort", "1"),
        ("from pathlib import Path; from edgeseq.stages.onnx import Onnx; Onnx(**Onnx.example())", "1"),
        ("import export", "1"),
        ("import benchmarks.peers.ort", "1"),
        ("import os; os.environ['ORT_DISABLE_TELEMETRY'] = '0'; import edgeseq.backends.ort", "0"),
    ],
)
def test_telemetry_is_off_before_onnxruntime_loads(command: str, found: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", f"{STAND_IN}\n{command}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=clean,
    )
    assert done.stdout.splitlines() == [f"telemetry off: {found}"], done.stderr
