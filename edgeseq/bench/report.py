"""What was measured, for people: a table for each cadence, what a step takes, and what stood in the way."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edgeseq.bench import scheduling
from edgeseq.comparison.words import factor, us
from edgeseq.text import amount, number, size, table

LATENCY = {
    "P50": "p50_us",
    "P90": "p90_us",
    "P95": "p95_us",
    "P99": "p99_us",
    "P999": "p999_us",
    "max": "max_us",
    "mean": "mean_us",
    "std": "std_us",
    "in run": "run_us_per_step",
}
TAKES = (
    "load ms",
    "first µs",
    "memory MB",
    "weights",
    "state",
    "bytes/step",
    "MACs/step",
    "least µs",
    "by",
    "P50/least",
)
CLOCK_CHANGE = 0.1
"""A clock that changes by more than this share is worth a word."""
Result = dict[str, Any]


def text(device: dict[str, Any], results: Sequence[Result]) -> str:
    """Return all of it. results: rows of the JSON document."""
    cores = f"{device['cores_usable']} of {device['cores']} cores"
    head = f"{device['cpu']}, {cores}, load {device['load_1min']}, Python {device['python']}, {device['system']}"
    parts = ["\n".join(filter(None, [head, _clock_and_heat(results)]))]
    for bundle in dict.fromkeys(result["bundle"] for result in results):
        parts += _bundle([result for result in results if result["bundle"] == bundle])
    notes = list(dict.fromkeys(_notes(results)))
    return "\n\n".join([*parts, "\n".join(notes)]) + "\n"


def _bundle(results: Sequence[Result]) -> Iterator[str]:
    """Give the parts about one bundle."""
    yield f"{results[0]['name']} ({results[0]['bundle']}){_settings(results[0])}"
    rates = dict.fromkeys(result["rate_hz"] for result in results)
    for rate in rates:
        mine = [result for result in results if result["rate_hz"] == rate]
        yield f"  µs a step, {_counted(mine)}{_cadence(rate)}"
        yield _latency(mine, paced=rate is not None)
    at_full_speed = [result for result in results if result["rate_hz"] is None]
    yield "  what each takes, and the least that a step can take on this core"
    takes = [[*_name(result), *_takes(result)] for result in at_full_speed]
    yield table(("variant", "backend", *TAKES), takes, left=2)
    heading = "as TFLite's benchmark_model says it"
    rows = [[*_name(result), _familiar(result)] for result in at_full_speed]
    yield table(("variant", "backend", heading), rows, left=3)


def _latency(results: Sequence[Result], *, paced: bool) -> str:
    """Return the table of durations, in microseconds a step."""
    headings = ["variant", "backend", *LATENCY, *(["missed"] if paced else [])]
    rows = [
        [
            *_name(result),
            *(us(result[key]) for key in LATENCY.values()),
            *([number(result["deadline_misses"], 0)] if paced else []),
        ]
        for result in results
    ]
    return table(headings, rows, left=2)


def _takes(result: Result) -> list[str]:
    """Return what a variant takes to load, in memory, and in work a step."""
    ceiling = result["ceiling"] or {}
    distance = ceiling.get("distance")
    return [
        number(result["load_ms"], 0),
        us(result["first_step_us"]),
        number(result["rss_mb"], 0),
        _known(result["weight_bytes"], size),
        size(result["state_bytes"]),
        _known(result["bytes_per_step"], size),
        _known(result["macs_per_step"], amount),
        us(ceiling.get("bound_us")),
        ceiling.get("bound_by") or "–",
        "–" if distance is None else factor(distance),
    ]


def _familiar(result: Result) -> str:
    """Return the line that TFLite's benchmark_model ends with."""
    init_us = 1000 * result["load_ms"]
    return (
        f"Inference timings in us: Init: {init_us:.0f}, First inference: {result['first_step_us']:.0f}, "
        f"Warmup (avg): {result['warm_up_us']:.6g}, Inference (avg): {result['mean_us']:.6g}"
    )


def _notes(results: Sequence[Result]) -> Iterator[str]:
    """Give what has to be known to read the numbers right, and what went wrong with the board."""
    for result in results:
        yield from _board(result)
    if any(result[key] is None for result in results for key in LATENCY.values()):
        yield "–: not known, or too few steps lie beyond that percentile: a longer run gives it."
    share = scheduling.share_for_others()
    if share is not None and any(result["fifo_priority"] is not None for result in results):
        yield (
            f"The kernel keeps {share:.0%} of each core from SCHED_FIFO (kernel.sched_rt_runtime_us): back to back, "
            "that interrupts steps."
        )
    overhead = statistics.median(result["timer_overhead_ns"] for result in results)
    yield f"Reading the clock takes {overhead:.0f} ns; every step's time holds that much, nothing is subtracted."


def _clock_and_heat(results: Sequence[Result]) -> str:
    """Say how clock and temperature went from the first measurement to the last, where the board tells."""
    said = []
    for key, unit in (("clock_mhz", "MHz"), ("temperature_c", "°C")):
        ends = [results[0]["board_before"][key], results[-1]["board_after"][key]]
        values = dict.fromkeys(f"{value:,.0f}" for value in ends if value is not None)
        said += [f"{' → '.join(values)} {unit}"] if values else []
    return ", ".join(said)


def _board(result: Result) -> Iterator[str]:
    """Warn of a board that slowed itself down, or whose clock changed, while this was measured."""
    before, after = result["board_before"], result["board_after"]
    what = " on ".join(_name(result))
    if after["throttled"]:
        heat = "" if after["temperature_c"] is None else f", at {after['temperature_c']:.0f} °C"
        yield f"Warning: the board throttled while {what} was measured{heat}: cool it or power it better."
    clocks = before["clock_mhz"], after["clock_mhz"]
    if None not in clocks and abs(clocks[1] - clocks[0]) > CLOCK_CHANGE * max(clocks):
        yield (
            f"Warning: the clock went from {clocks[0]:,.0f} to {clocks[1]:,.0f} MHz while {what} was measured; the "
            "governor `performance` holds it."
        )


def _settings(result: Result) -> str:
    """Say what was asked for besides the defaults; it is the same for all."""
    said = [
        "one thread" if result["threads"] == 1 else f"{result['threads']} threads",
        *([f"on core {'+'.join(map(str, result['cpu_affinity']))}"] if result["cpu_affinity"] else []),
        *([f"SCHED_FIFO {result['fifo_priority']}"] if result["fifo_priority"] is not None else []),
    ]
    return ": " + ", ".join(said)


def _counted(results: Sequence[Result]) -> str:
    """Say how many steps were measured of each."""
    counts = sorted({result["steps"] for result in results})
    ends = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    lasting = results[0]["duration_s"]
    return f"{ends} steps" + ("" if lasting is None else f" in {lasting:g} s")


def _cadence(rate_hz: float | None) -> str:
    return " back to back" if rate_hz is None else f", one every {1000 / rate_hz:g} ms"


def _name(result: Result) -> tuple[str, str]:
    return result["variant"], result["backend"]


def _known(value: int | None, words: Callable[[float], str]) -> str:
    return "–" if value is None else words(value)
