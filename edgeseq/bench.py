"""The latency of a bundle's step on this device. Each variant is measured in a process of its own.

So its load time starts from nothing, its memory is its own, and no library's threads or caches reach into the next.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseq.collector import frozen
from edgeseq.errors import EdgeseqError, ModelError
from edgeseq.machine import cpu, first_line
from edgeseq.types import Frames, StepModel

WARM_STEPS = 200
"""Steps before the counted ones, while caches and branch predictors settle."""
RUN_FRAMES = 1000
RUN_REPEATS = 9
PERMILLES = {"p50_us": 500, "p90_us": 900, "p95_us": 950, "p99_us": 990, "p999_us": 999}
SPIN_NS = 200_000
"""A paced step's last stretch of waiting is spun, for a sleep ends later than asked."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. rate_hz: one step every 1 / rate_hz seconds, as from a sensor; None for back to back."""

    bundle: str
    backend: str
    variant: str
    steps: int
    rate_hz: float | None = None


def measure(case: Case) -> dict[str, Any]:
    """Measure one variant in a fresh process and return its row of results. Raises ModelError."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeseq.bench"],
        input=msgspec.json.encode(case),
        capture_output=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise ModelError(f"{case.bundle}: measuring {case.variant} on {case.backend} failed: {last[0]}") from None
    if "error" in answer:
        raise ModelError(answer["error"])
    result: dict[str, Any] = answer
    return result


def device() -> dict[str, Any]:
    """Return what this machine is, as far as it matters to latency."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return {
        "machine": platform.machine(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mb": memory,
        "system": f"{platform.system()} {platform.release()}",
        "governor": first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def percentile_us(sorted_ns: NDArray[np.int64], permille: int) -> float | None:
    """Return a percentile in microseconds; None with fewer than 100 / (1 - p) samples behind it.

    sorted_ns: int64[n], ascending. With fewer, fewer than a hundred samples would lie beyond the percentile.
    """
    count = len(sorted_ns)
    if count * (1000 - permille) < 100 * 1000:
        return None
    rank = -(-count * permille // 1000)
    return float(sorted_ns[rank - 1]) / 1000


def run_case(case: Case) -> dict[str, Any]:
    """Measure in this process."""
    from edgeseq import backends, bundle  # noqa: PLC0415 - what loading costs is part of what is measured

    began = time.perf_counter_ns()
    opened = bundle.read(Path(case.bundle))
    model = backends.load(opened, backend=case.backend, variant=case.variant)
    load_ns = time.perf_counter_ns() - began
    graph = opened.graph()
    # Seeded noise of the spread that standardized features have: what a step costs does not hang on the values.
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((RUN_FRAMES * graph.frames_per_step, sum(graph.widths)), dtype=np.float32)
    for place, count in graph.tokens.items():
        rows[:, place] = rng.integers(0, count, len(rows))
    frames = rows if graph.frames_per_step == 1 else rows.reshape(RUN_FRAMES, graph.frames_per_step, -1)
    out = np.empty(sum(math.prod(tensor.shape) for tensor in graph.outputs), np.float32)
    first_ns = _time(model, frames[:1], out)[0]
    _time(model, frames[:WARM_STEPS], out)
    starts = np.empty(case.steps, np.int64)
    with frozen():  # as where it runs as a service
        durations = _time(model, frames, out, starts, _pace(case.rate_hz))
    durations_sorted = np.sort(durations)
    return {
        "bundle": case.bundle,
        "name": opened.manifest.name,
        "variant": case.variant,
        "backend": case.backend,
        "threads": 1,
        "steps": case.steps,
        **{name: percentile_us(durations_sorted, permille) for name, permille in PERMILLES.items()},
        "max_us": float(durations.max()) / 1000,
        "mean_us": float(durations.mean()) / 1000,
        "std_us": float(durations.std()) / 1000,
        "run_us_per_step": _run_us(model, rows),
        "first_step_us": float(first_ns) / 1000,
        "load_ms": load_ns / 1e6,
        "rss_mb": _rss_mb(),
        "rate_hz": case.rate_hz,
        "cpu": cpu(),
        "api": "step",
        "interval": None if case.rate_hz is None else _interval(starts),
    }


def _time(
    model: StepModel,
    frames: Frames,
    out: Frames,
    starts: NDArray[np.int64] | None = None,
    wait: Callable[[int], None] | None = None,
) -> NDArray[np.int64]:
    """Return what each step took in nanoseconds, int64[len(starts)]; the frames go round."""
    count = len(frames) if starts is None else len(starts)
    durations = np.empty(count, np.int64)
    now, step, length = time.perf_counter_ns, model.step, len(frames)
    for index in range(count):
        if wait is not None:
            wait(index)
        frame = frames[index % length]
        began = now()
        step(frame, out)
        durations[index] = now() - began
        if starts is not None:
            starts[index] = began
    return durations


def _pace(rate_hz: float | None) -> Callable[[int], None] | None:
    """Return what waits until step `index` is due; None where steps follow one another."""
    if rate_hz is None:
        return None
    origin = time.perf_counter_ns()
    period = 1e9 / rate_hz

    def wait(index: int) -> None:
        due = origin + int(index * period)
        left = due - time.perf_counter_ns() - SPIN_NS
        if left > 0:
            time.sleep(left / 1e9)
        while time.perf_counter_ns() < due:
            pass

    return wait


def _interval(starts: NDArray[np.int64]) -> dict[str, float | None]:
    """Return how evenly the paced steps came: percentiles of the time from start to start, in microseconds."""
    gaps = np.sort(np.diff(starts))
    largest = float(gaps[-1]) / 1000 if len(gaps) else None
    return {"p50_us": percentile_us(gaps, 500), "p99_us": percentile_us(gaps, 990), "max_us": largest}


def _run_us(model: StepModel, frames: Frames) -> float:
    """Return microseconds a step inside one call over many frames, the median of several such calls."""
    took = []
    for _ in range(RUN_REPEATS):
        began = time.perf_counter_ns()
        model.run(frames)
        took.append((time.perf_counter_ns() - began) * model.frames_per_step / len(frames) / 1000)
    return float(np.median(took))


def _rss_mb() -> float:
    """Return this process's resident memory in MiB: Python, NumPy, the backend's library and the model."""
    fields = first_line(Path("/proc/self/statm")).split()
    if len(fields) > 1:
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource  # noqa: PLC0415 - where there is no /proc

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _main() -> int:
    """Measure the case that stands on stdin and answer on stdout."""
    try:
        answer = run_case(msgspec.json.decode(sys.stdin.buffer.read(), type=Case))
    except EdgeseqError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
