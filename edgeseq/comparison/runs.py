"""Runs side by side: the rows that they have in common or alone, and under which conditions each was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgeseq.comparison.documents import Board, Document, Result
from edgeseq.comparison.words import plain

MAX_NAME = 20
UNKNOWN = "not told"
DEVICE = {
    "cpu": "processor",
    "machine": "architecture",
    "cores": "cores",
    "cores_usable": "cores usable",
    "memory_mb": "memory, MB",
    "system": "system",
    "governor": "governor",
    "load_1min": "load",
    "python": "Python",
    "numpy": "NumPy",
}
"""What a document's device says, in the order in which people ask for it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One document under the short name that columns have room for."""

    name: str
    document: Document


class Group(NamedTuple):
    """What stands in one table: results of one bundle at one rate."""

    bundle: str
    rate_hz: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One variant on one backend. results: one for each run, None where the run has none."""

    group: Group
    backend: str
    variant: str
    results: tuple[Result | None, ...]

    @property
    def title(self) -> str:
        """What was measured."""
        return f"{self.variant} on {self.backend}"


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that latency hangs on. values: in words, one for each run."""

    what: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs were measured under different ones."""
        return len(set(self.values)) > 1


def named(documents: Sequence[tuple[str, Document]]) -> list[Run]:
    """Name each run shortly, so that no two share a name."""
    runs: list[Run] = []
    for title, document in documents:
        stem = plain(title)
        stem = stem if len(stem) <= MAX_NAME else f"{stem[: MAX_NAME - 1]}…"
        taken = {run.name for run in runs}
        name = next(name for name in (stem, *(f"{stem} {n}" for n in range(2, len(runs) + 3))) if name not in taken)
        runs.append(Run(name, document))
    return runs


def rows(runs: Sequence[Run]) -> list[Row]:
    """Return what any run measured, in the order of first appearance, with every run's result beside it."""
    found: dict[tuple[Group, str, str], list[Result | None]] = {}
    for index, run in enumerate(runs):
        seen: Counter[tuple[str, float | None, str, str]] = Counter()
        for result in run.document.results:
            same = (result.title, result.rate_hz, result.backend, result.variant)
            seen[same] += 1
            # Two folders may hold bundles of one name: the second of one run is compared with the second of the others.
            title = plain(result.title) + (f" ({seen[same]})" if seen[same] > 1 else "")
            key = (Group(title, result.rate_hz), plain(result.backend), plain(result.variant))
            found.setdefault(key, [None] * len(runs))[index] = result
    return [Row(group, backend, variant, tuple(results)) for (group, backend, variant), results in found.items()]


def grouped(rows: Iterable[Row]) -> dict[Group, list[Row]]:
    """Return the rows of each table."""
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return groups


def conditions(runs: Sequence[Run]) -> list[Condition]:
    """Return what is known of how each run was measured."""
    told = [{**_device(run.document.device), **_circumstances(run.document.results)} for run in runs]
    names = dict.fromkeys(name for facts in told for name in facts)
    return [Condition(name, tuple(facts.get(name, UNKNOWN) for facts in told)) for name in names]


def _device(device: dict[str, Any]) -> dict[str, str]:
    """Return what a machine is in words; what an edgeseq of another time says of it is told under its own name."""
    names = [*DEVICE, *(key for key in device if key not in DEVICE)]
    return {
        DEVICE.get(key, plain(key).replace("_", " ")): _scalar(device.get(key))
        for key in names
        if not isinstance(device.get(key), (dict, list))
    }


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return plain(str(value))[:200] if value not in (None, "") else UNKNOWN


def _circumstances(results: Sequence[Result]) -> dict[str, str]:
    """Return how the results of one run were measured: each value that occurs, or from the least to the largest."""
    boards = [board for result in results for board in (result.board_before, result.board_after) if board]
    return {
        "steps": _each(_steps(result) for result in results if result.steps is not None),
        "threads": _each(str(result.threads) for result in results if result.threads is not None),
        "pinned to core": _each(_cores(result.cpu_affinity) for result in results),
        "real-time priority": _each(str(result.fifo_priority or "none") for result in results),
        "timer, ns": _range([result.timer_overhead_ns for result in results]),
        "clock rate, MHz": _range([board.clock_mhz for board in boards]),
        "temperature, °C": _range([board.temperature_c for board in boards]),
        "throttled": _throttled(boards),
    }


def _steps(result: Result) -> str:
    """Return how many, or in which time as many as there could be."""
    return f"{result.steps:,}" if result.duration_s is None else f"in {result.duration_s:g} s"


def _cores(affinity: list[int] | None) -> str:
    return "+".join(map(str, affinity)) if affinity else "none"


def _each(values: Iterable[str]) -> str:
    """Return the values that occur; a few of many, since a table has no room for more."""
    known = list(dict.fromkeys(values))
    return ", ".join(known[:4]) + (" …" if len(known) > 4 else "") if known else UNKNOWN  # noqa: PLR2004


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    ends = dict.fromkeys(f"{value:,.0f}" for value in (min(known), max(known))) if known else ()
    return " to ".join(ends) or UNKNOWN


def _throttled(boards: Sequence[Board]) -> str:
    known = [board.throttled for board in boards if board.throttled is not None]
    return ("yes" if any(known) else "no") if known else UNKNOWN
