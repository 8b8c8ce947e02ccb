"""Steps one by one, each between two readings of the clock."""

from __future__ import annotations

from array import array
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeseq.bench.pace import Pace, clock
from edgeseq.types import Frames, StepModel

MAX_STEPS = 100_000_000
"""Each is kept until the end, in 16 bytes."""
READINGS = 10_001


class Timed(NamedTuple):
    """When each step began and how long it took, in nanoseconds: int64[steps]."""

    starts: NDArray[np.int64]
    durations: NDArray[np.int64]


def timed(
    model: StepModel,
    frames: Frames,
    out: Frames,
    *,
    steps: int,
    duration_s: float | None = None,
    pace: Pace | None = None,
    at_most: int | None = None,
) -> Timed:
    """Time steps; the frames go round.

    frames: one entry a step. out: takes each output. steps: how many at most; duration_s: when to stop before that.
    at_most: the steps from a reset that the model is made for, after which it is reset; None: any number.
    """
    # An array grows in place; what that costs falls between two steps.
    starts, durations = array("q"), array("q")
    step, length = model.step, len(frames)
    end = None if duration_s is None else clock() + int(duration_s * 1e9)
    for index in range(steps):
        if at_most is not None and index % at_most == 0:
            model.reset()
        if pace is not None:
            pace.wait(index)
        frame = frames[index % length]
        began = clock()
        step(frame, out)
        ended = clock()
        starts.append(began)
        durations.append(ended - began)
        if end is not None and ended >= end:
            break
    return Timed(np.frombuffer(starts, np.int64), np.frombuffer(durations, np.int64))


def overhead_ns() -> float:
    """Return what lies between two readings of the clock with nothing between them: the median, in nanoseconds."""
    readings = [clock() for _ in range(READINGS)]
    return float(np.median(np.diff(readings)))
