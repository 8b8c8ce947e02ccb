"""What the process of one case does: load, first step, warm-up, the steps, and what is known only here."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import msgspec
import numpy as np

from edgeseq import backends, bundle
from edgeseq.bench import board, ceiling, durations, work
from edgeseq.bench.case import Case, Measured, Rehearsed
from edgeseq.bench.pace import Pace, clock
from edgeseq.bench.timed import MAX_STEPS, Timed, overhead_ns, timed
from edgeseq.collector import frozen
from edgeseq.machine import cpu, first_line
from edgeseq.types import Frames, StepModel

WARM_STEPS = 200
"""Steps before the counted ones, while caches and branch predictors settle."""
RUN_FRAMES = 1000
RUN_REPEATS = 9


def rehearse(case: Case) -> Rehearsed:
    """Load the model and step once, so that whatever has to be compiled for it has been."""
    opened = bundle.read(Path(case.bundle))
    model = backends.load(opened, backend=case.backend, variant=case.variant)
    rows = _frames(opened.graph(), 1)
    timed(model, _by_step(rows, model), _room(opened.graph()), steps=1)
    return Rehearsed()


def run(case: Case) -> Measured:
    """Measure in this process."""
    began = clock()
    opened = bundle.read(Path(case.bundle))
    model = backends.load(opened, backend=case.backend, variant=case.variant, threads=case.threads)
    load_ns = clock() - began
    rows, out = _frames(opened.graph(), RUN_FRAMES), _room(opened.graph())
    frames = _by_step(rows, model)
    at_most = _at_most(opened.graph())
    first = timed(model, frames[:1], out, steps=1, at_most=at_most)
    warm = timed(model, frames, out, steps=WARM_STEPS, at_most=at_most)
    rss_mb = _rss_mb()
    before = board.read(_cores())
    measured, pace = _steps(case, model, frames, out, at_most)
    after = board.read(_cores())
    numbers = durations.numbers(measured.durations)
    done = work.of(opened, opened.file(case.variant, backends.FORMATS[case.backend]))
    run_us = _run_us(model, rows[: opened.graph().max_steps])
    # One core's: what several do together is not measured.
    least = ceiling.measure(done, numbers["p50_us"]) if case.threads == 1 else None
    result = {
        "bundle": case.bundle,
        "name": opened.manifest.name,
        "variant": case.variant,
        "backend": case.backend,
        "threads": case.threads,
        "steps": len(measured.durations),
        "duration_s": case.duration_s,
        **numbers,
        "run_us_per_step": run_us,
        "first_step_us": float(first.durations[0]) / 1000,
        "warm_up_us": float(warm.durations.mean()) / 1000,
        "load_ms": load_ns / 1e6,
        "rss_mb": rss_mb,
        "rate_hz": case.rate_hz,
        "deadline_misses": None if pace is None else pace.misses(*measured),
        "interval": None if pace is None else _interval(measured),
        "cpu": cpu(),
        "cpu_affinity": case.cpus or None,
        "fifo_priority": case.fifo_priority,
        "api": "step",
        "weight_bytes": done.weight_bytes,
        "state_bytes": done.state_bytes,
        "bytes_per_step": done.bytes_per_step,
        "macs_per_step": done.macs,
        "timer_overhead_ns": overhead_ns(),
        "ceiling": None if least is None else msgspec.to_builtins(least),
        "board_before": before.document(),
        "board_after": after.document(before),
        "histogram": durations.histogram(measured.durations),
    }
    return Measured(result, durations.by_microseconds(measured.durations))


def _at_most(graph: bundle.Graph) -> int | None:
    """Return how many steps from a reset a model is made for; None: any number."""
    return None if graph.max_steps is None else graph.max_steps // graph.frames_per_step


def _steps(case: Case, model: StepModel, frames: Frames, out: Frames, at_most: int | None) -> tuple[Timed, Pace | None]:
    """Time the steps that count."""
    limit = MAX_STEPS if case.steps is None else case.steps
    with frozen():  # as where it runs as a service
        pace = None if case.rate_hz is None else Pace(case.rate_hz)
        steps = timed(model, frames, out, steps=limit, duration_s=case.duration_s, pace=pace, at_most=at_most)
        return steps, pace


def _frames(graph: bundle.Graph, steps: int) -> Frames:
    """Return frames for so many steps, [frames, features].

    Seeded noise of the spread that standardized features have: what a step costs does not hang on the values.
    """
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((steps * graph.frames_per_step, sum(graph.widths)), dtype=np.float32)
    for place, count in graph.tokens.items():
        rows[:, place] = rng.integers(0, count, len(rows))
    return rows


def _by_step(rows: Frames, model: StepModel) -> Frames:
    """Return them as one entry a step: [steps, features], or [steps, frames_per_step, features]."""
    each = model.frames_per_step
    return rows if each == 1 else rows.reshape(len(rows) // each, each, -1)


def _room(graph: bundle.Graph) -> Frames:
    return np.empty(sum(math.prod(tensor.shape) for tensor in graph.outputs), np.float32)


def _interval(measured: Timed) -> dict[str, float | None]:
    """Return how evenly the paced steps came: percentiles of the time from start to start, in microseconds."""
    gaps = np.sort(np.diff(measured.starts))
    p50, p99 = (durations.percentile_us(gaps, permille) for permille in (500, 990))
    return {"p50_us": p50, "p99_us": p99, "max_us": float(gaps[-1]) / 1000 if len(gaps) else None}


def _run_us(model: StepModel, rows: Frames) -> float:
    """Return microseconds a step inside one call over many frames, the median of several such calls."""
    took = []
    for _ in range(RUN_REPEATS):
        model.reset()
        began = clock()
        model.run(rows)
        took.append((clock() - began) * model.frames_per_step / len(rows) / 1000)
    return float(np.median(took))


def _cores() -> set[int]:
    """Return the cores that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _rss_mb() -> float:
    """Return this process's resident memory in MiB: Python, NumPy, the backend's library and the model."""
    fields = first_line(Path("/proc/self/statm")).split()
    if len(fields) > 1:
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource  # noqa: PLC0415 - where there is no /proc

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
