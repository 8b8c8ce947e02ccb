"""Python's garbage collector in a device's process: how long it pauses, as it is and with what was loaded frozen.

python -m benchmarks.collector
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks import command, models
from benchmarks.report import write
from edgeseq import backends, bench
from edgeseq.errors import ModelError
from edgeseq.text import number, table

NAME = "GRU 32/64"


def measure(options: command.Options) -> None:
    """Measure in a process of its own for each backend."""
    path = models.bundle(NAME, options.models).path
    found = {}
    for backend in backends.FORMATS:
        if backends.absence(backend) is None:
            found[backend] = started(str(path), backend)
    rows = [
        [backend, f"{each['containers']:,}", number(each["full_us"]), number(each["frozen_us"]),
         f"{each['collections']:,}"]
        for backend, each in found.items()
    ]  # fmt: skip
    steps = next(iter(found.values()))["steps"]
    headings = ("", "containers", "full collection, µs", "frozen, µs", f"collections in {steps:,} steps")
    sys.stdout.write(f"{NAME}: Python's garbage collector\n\n{table(headings, rows)}\n")
    write(options.json, {"benchmark": "collector", "device": bench.device(), "measured": found})


def started(path: str, backend: str) -> dict[str, float]:
    """Return what a fresh process measures. Raises ModelError where it fails."""
    call = [sys.executable, "-m", "benchmarks.pauses", path, backend]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ModelError(f"measuring on {backend} failed: {done.stderr.strip().splitlines()[-1]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    sys.exit(command.main(__doc__, measure))
