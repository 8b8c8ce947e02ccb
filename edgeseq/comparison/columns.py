"""The columns of a table of results, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgeseq.comparison.documents import Result
from edgeseq.comparison.runs import Row, Run
from edgeseq.comparison.words import against, factor, ratio, us
from edgeseq.text import number

MISSING = "missing"


class Columns(NamedTuple):
    """A table's headings and lines; the first two columns are words, the others numbers."""

    headings: list[str]
    lines: list[list[str]]


MEASURES: dict[str, Callable[[Result], str]] = {
    "p50": lambda result: us(result.p50_us),
    "p90": lambda result: us(result.p90_us),
    "p99": lambda result: us(result.p99_us),
    "p99.9": lambda result: us(result.p999_us),
    "max": lambda result: us(result.max_us),
    "in run": lambda result: us(result.run_us_per_step),
    "first": lambda result: us(result.first_step_us),
    "load ms": lambda result: number(result.load_ms, 0),
    "memory MB": lambda result: number(result.rss_mb, 0),
    "missed": lambda result: number(result.deadline_misses if result.rate_hz else None, 0),
    "× least": lambda result: factor(result.ceiling.distance) if result.ceiling and result.ceiling.distance else "–",
}

BESIDES = ("missed", "× least")
"""What a comparison shows besides p50 and p99: whether it was in time, and how far from what the core could do."""


def single(rows: Sequence[Row]) -> Columns:
    """Return everything that one run measured; a column in which nothing is known is left out."""
    results = [result for row in rows for result in row.results if result is not None]
    shown = [name for name, of in MEASURES.items() if any(of(result) != "–" for result in results)]
    lines = [
        [row.variant, row.backend, *(MEASURES[name](result) for name in shown)]
        for row, result in zip(rows, results, strict=True)
    ]
    return Columns(["variant", "backend", *shown], lines)


def compared(rows: Sequence[Row], runs: Sequence[Run]) -> Columns:
    """Return each run's p50 and p99, how they stand to the first run's, and what else is known in any of them."""
    results = [result for row in rows for result in row.results if result is not None]
    shown = ["p50", "p99", *(name for name in BESIDES if any(MEASURES[name](result) != "–" for result in results))]
    headings = ["variant", "backend"]
    for index, run in enumerate(runs):
        headings += [f"{run.name} p50", *shown[1:], *(("p50 is", "p99 is") if index else ())]
    return Columns(headings, [_line(row, shown) for row in rows])


def ratios(result: Result | None, first: Result | None) -> tuple[float | None, float | None]:
    """Return how many times the first run's p50 and p99 these are; None where there is nothing to set against."""
    if result is None or first is None:
        return None, None
    return ratio(result.p50_us, first.p50_us), ratio(result.p99_us, first.p99_us)


def _line(row: Row, shown: Sequence[str]) -> list[str]:
    line = [row.variant, row.backend]
    for index, result in enumerate(row.results):
        line += [MISSING if result is None else MEASURES[name](result) for name in shown]
        if index:
            line += [against(times) for times in ratios(result, row.results[0])]
    return line
