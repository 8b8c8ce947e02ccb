"""A million steps: whether memory is allocated, and whether slow steps are the machine's or the step's own.

python -m benchmarks.steadiness
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial

import numpy as np

import edgeseq
from benchmarks import command, memory, models, tails
from benchmarks.report import VERDICTS, write
from edgeseq import bench
from edgeseq.text import table

STEPS = 1_000_000
NAME = "GRU 32/64"
MAX_MORE = 1 << 10
"""So much more than with a function that does nothing may be left: a thousandth of a byte or block a step."""
MAX_TAIL = 1.5


def measure(options: command.Options) -> None:
    """Measure memory, then tails."""
    model = edgeseq.load(models.bundle(NAME, options.models), options.backend, "float32")
    x = models.rows(NAME, 1)[0].copy()
    y = np.array(model.step(x))
    grown = memory.growth(model.step, (x, y), STEPS)
    nothing = memory.growth(lambda _x, _y: None, (x, y), STEPS)
    found = tails.measure(partial(model.step, x, y), options.blocks)
    sys.stdout.write(
        f"{NAME}, {model.backend}: what {STEPS:,} steps with out= leave behind\n\n{_memory(grown, nothing)}\n\n"
        f"{found.step.size:,} steps and as many spin loops, in turn: µs\n\n{_tails(found)}\n"
    )
    result = {"benchmark": "steadiness", "device": bench.device(), "steps": STEPS, "growth": grown, "nothing": nothing}
    write(options.json, result | found.json())


def _memory(grown: Mapping[str, int], nothing: Mapping[str, int]) -> str:
    rows = []
    for name, count in grown.items():
        limit = max(nothing[name], 0) + MAX_MORE
        rows.append([name, f"{count:,}", f"{nothing[name]:,}", f"≤ {limit:,}", VERDICTS[count <= limit]])
    return table(("", "more", "with nothing", "target", "met"), rows)


def _tails(found: tails.Tails) -> str:
    rows = [
        [what, f"{usual / 1000:.2f}", f"{slow / 1000:.2f}", f"{(slow - usual) / 1000:.2f}"]
        for what, (usual, slow) in (("step", tails.points(found.step)), ("spin loop", tails.points(found.spin)))
    ]
    ratio = found.ratio
    # The lower the better here: the target is met where the whole interval lies below it.
    met = True if ratio.high <= MAX_TAIL else False if ratio.low > MAX_TAIL else None
    return (
        f"{table(('', 'p50', 'p99.9', 'p99.9 - p50'), rows)}\n\n"
        f"The step's tail is {ratio.value:.2f} times the spin loop's, 95 % interval {ratio.low:.2f} to "
        f"{ratio.high:.2f}; at most {MAX_TAIL} is wanted: {VERDICTS[met]}."
    )


if __name__ == "__main__":
    sys.exit(command.main(__doc__, measure))
