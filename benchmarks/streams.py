"""A thousand streams in one process: one call for all of them, against onnxruntime one by one and in its own batch.

python -m benchmarks.streams
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeseq
from benchmarks import command, gru_op, models
from benchmarks.measure import Contender, agree, fastest, interleave
from benchmarks.peers import ort
from benchmarks.report import Report
from edgeseq.types import Frames

STREAMS, STEPS = 1000, 4
NAME = "GRU 32/64"
OURS, ONE_BY_ONE, BATCH = "edgeseq step(x)", "onnxruntime, one by one", "onnxruntime, its batch"
TARGETS = {ONE_BY_ONE: 15.0, BATCH: 1.0}


class OneByOne:
    """A session for all, a state for each: what a process does whose runtime knows nothing of streams."""

    def __init__(self, run: Any, initial: Frames) -> None:
        self._run, self._initial, self._fetch = run, initial, ["h_out"]
        self._states = [initial] * STREAMS

    def reset(self) -> None:
        """Forget everything."""
        self._states = [self._initial] * STREAMS

    def step(self, *frames: Frames) -> NDArray[Any]:
        """Make a step of every stream."""
        run, fetch = self._run, self._fetch
        self._states = [run(fetch, {"x": x, "h": h})[0] for x, h in zip(frames, self._states, strict=True)]
        return np.concatenate(self._states)


def measure(options: command.Options) -> None:
    """Measure one step of all streams."""
    report = Report("streams", options.blocks, options.seed, options.cpu_time, unit=f"step of {STREAMS:,} streams")
    contenders = field(options)
    agree(contenders)
    report.measured[NAME] = interleave(contenders, options.blocks, options.seed, cpu_time=options.cpu_time)
    for against, target in TARGETS.items():
        report.compare(NAME, OURS, (against,), target)
    report.show(options.json)


def field(options: command.Options) -> list[Contender]:
    """Return the three."""
    inputs, _ = models.GRUS[NAME]
    # Every stream has frames of its own, float32[STEPS, STREAMS, inputs].
    x = models.rows(NAME, STEPS * STREAMS).reshape(STREAMS, STEPS, inputs).transpose(1, 0, 2).copy()
    gru = models.gru(NAME)
    single = gru_op.write(gru, options.scratch / "single.onnx")
    batch = gru_op.write(gru, options.scratch / "batch.onnx", batch=STREAMS)
    model = edgeseq.load(models.bundle(NAME, options.models), options.backend, "float32", streams=STREAMS)
    alone = [tuple(row[None, None].copy() for row in frames) for frames in x]
    together = [(frames[None],) for frames in x]
    found = [Contender(OURS, model.step, [(frames,) for frames in x], model.reset, settings=options.backend)]
    candidates: dict[str, list[Contender]] = {ONE_BY_ONE: [], BATCH: []}
    for arena, settings in ort.ARENA.items():
        each = OneByOne(ort.session(single, arena=arena).run, single.states[0].initial)
        every = ort.BareRun(batch, arena=arena)
        made = partial(Contender, settings=settings)
        candidates[ONE_BY_ONE].append(made(ONE_BY_ONE, each.step, alone, each.reset))
        candidates[BATCH].append(made(BATCH, every.step, together, every.reset))
    return found + [fastest(ways) for ways in candidates.values()]


if __name__ == "__main__":
    sys.exit(command.main(__doc__, measure))
