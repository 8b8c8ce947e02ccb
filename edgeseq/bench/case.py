"""One measurement: what is asked of the process that makes it, and what it answers."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

import msgspec

from edgeseq.errors import ModelError

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""NumPy's own products belong to the ceiling, which is one core's."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure, and how.

    steps: how many; duration_s: as many as that takes instead. rate_hz: one step every 1 / rate_hz seconds, as from a
    sensor; None for back to back. cpus: the cores to stay on; none for all. fifo_priority: of SCHED_FIFO, 1 to 99.
    rehearsal: load and step once, so that what has to be compiled is kept, and measure nothing.
    """

    bundle: str
    backend: str
    variant: str
    steps: int | None = None
    duration_s: float | None = None
    rate_hz: float | None = None
    threads: int = 1
    cpus: list[int] = []
    fifo_priority: int | None = None
    rehearsal: bool = False


class Microseconds(msgspec.Struct, frozen=True):
    """Durations counted by whole microseconds, as cyclictest counts them.

    counts: how many lie from i to i + 1 µs, as far as there are any. beyond: how many lie past the last countable one;
    beyond_at: which steps the first of those were, from 0.
    """

    counts: list[int]
    beyond: int
    beyond_at: list[int]
    min_ns: int
    mean_ns: float
    max_ns: int


class Measured(msgspec.Struct, frozen=True):
    """result: the row of the JSON document. microseconds: the same durations for cyclictest's file."""

    result: dict[str, Any]
    microseconds: Microseconds


class Rehearsed(msgspec.Struct, frozen=True):
    """Nothing was measured."""


class Failed(msgspec.Struct, frozen=True):
    """What the process says where it could not measure."""

    error: str


def measure(case: Case) -> Measured:
    """Measure in a fresh process. Raises ModelError."""
    if case.backend == "native":
        _rehearse(case.bundle, case.variant)
    answer = _ask(case)
    try:
        return msgspec.json.decode(answer, type=Measured)
    except msgspec.ValidationError:
        raise ModelError(msgspec.json.decode(answer, type=Failed).error) from None


@functools.cache
def _rehearse(bundle: str, variant: str) -> None:
    """Let the kernels of a native model be compiled, which happens once on a machine and is not part of a start."""
    _ask(Case(bundle=bundle, backend="native", variant=variant, rehearsal=True))


def _ask(case: Case) -> bytes:
    """Return the answer of a process. Raises ModelError where it gives none."""
    try:
        asked = msgspec.json.encode(case)
    except UnicodeEncodeError as cause:
        raise ModelError(f"{case.bundle}: its path is no UTF-8; give it another to measure it.") from cause
    done = subprocess.run(
        [sys.executable, "-m", "edgeseq.bench"],
        input=asked,
        capture_output=True,
        check=False,
        env={**os.environ, **ONE_THREAD},
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise ModelError(f"{case.bundle}: measuring {case.variant} on {case.backend} failed: {last[0]}")
    return done.stdout
