"""How long `edgeseq run` takes to its first output, from the start of its process.

python -m benchmarks.start
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import command, models
from benchmarks.report import VERDICTS, write
from edgeseq import bench
from edgeseq.errors import ModelError

STARTS = 15
TARGET_S = 2.0
NAME = "GRU 64/256"
FRAMES = 20


def measure(options: command.Options) -> None:
    """Start once, which fills the caches, then some more times."""
    config = configuration(options)
    first = started(config)
    took = [started(config) for _ in range(STARTS)]
    median, slowest = float(np.median(took)), max(took)
    sys.stdout.write(
        f"{NAME}, {options.backend}: seconds from the start of `edgeseq run` to its first output\n\n"
        f"  first start    {first:.2f}   (it proves the bundle on this machine, unless an earlier one did)\n"
        f"  {STARTS} more, each {min(took):.2f} to {slowest:.2f}, median {median:.2f}\n\n"
        f"At most {TARGET_S:g} s with a warm cache is wanted: {VERDICTS[slowest <= TARGET_S]}.\n"
    )
    result = {"benchmark": "start", "device": bench.device(), "first_s": first, "took_s": took, "target_s": TARGET_S}
    write(options.json, result)


def configuration(options: command.Options) -> Path:
    """Write a recording and a pipeline over it that prints its outputs."""
    bundle = models.bundle(NAME, options.models)
    names = [channel.name for channel in bundle.manifest.stream.channels]
    lines = [",".join(names), *(",".join(f"{value:.6g}" for value in row) for row in models.rows(NAME, FRAMES))]
    (options.scratch / "frames.csv").write_text("\n".join(lines) + "\n", "utf-8")
    config = options.scratch / "start.toml"
    config.write_text(
        f"""\
name = "start"
[source]
type = "csv"
path = "frames.csv"
[model]
bundle = {json.dumps(str(bundle.path.resolve()))}
backend = {json.dumps(options.backend)}
variant = "float32"
[[sinks]]
type = "stdout"
outputs = true
""",
        "utf-8",
    )
    return config


def started(config: Path) -> float:
    """Return the seconds to the first line of output. Raises ModelError where there is none."""
    began = time.perf_counter()
    command_line = [sys.executable, "-m", "edgeseq", "run", str(config)]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if process.stdout is None or process.stderr is None:
            raise ModelError("`edgeseq run` has no output to read.")
        line = process.stdout.readline()
        took = time.perf_counter() - began
        _, errors = process.communicate()
    if not line:
        raise ModelError(f"`edgeseq run` gave no output: {errors.strip()}")
    return took


if __name__ == "__main__":
    sys.exit(command.main(__doc__, measure))
