"""A comparison in the terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeseq.comparison import columns
from edgeseq.comparison.documents import Result
from edgeseq.comparison.runs import Row, Run, conditions, grouped, rows
from edgeseq.comparison.words import listed, paced
from edgeseq.text import table


def text(runs: Sequence[Run]) -> str:
    """Return the tables: under what the runs were measured, as far as it differs, and the results side by side."""
    told = [condition for condition in conditions(runs) if condition.differs or condition.what == "processor"]
    heading = "what differs" if len(runs) > 1 else "measured"
    parts = [table((heading, *(run.name for run in runs)), [(each.what, *each.values) for each in told], left=99)]
    groups = grouped(rows(runs))
    for group, of_group in groups.items():
        shown = columns.compared(of_group, runs) if len(runs) > 1 else columns.single(of_group)
        parts.append(f"{group.bundle}, {paced(group.rate_hz)}: µs a step")
        parts.append(table(shown.headings, shown.lines, left=2))
        parts += alone(of_group, runs)
    if not groups:
        parts.append("There is no result in any of these documents.")
    elif len(runs) > 1:
        parts.append(
            f"Faster and slower: than {runs[0].name}, by more than 2 %. –: too few steps, or nothing to compare."
        )
    return "\n\n".join(parts)


def alone(rows: Sequence[Row], runs: Sequence[Run]) -> list[str]:
    """Say which results only some of the runs have."""
    lacking: dict[str, list[str]] = {}
    for row in rows:
        having = [run.name for run, result in zip(runs, row.results, strict=True) if result is not None]
        if len(having) < len(runs):
            lacking.setdefault(listed(having), []).append(row.title)
    return [f"  Only in {having}: {', '.join(titles)}." for having, titles in lacking.items()]


def document(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the comparison for programs. A ratio is a run's duration over the first run's."""
    return {
        "runs": [{"run": run.name, "device": run.document.device} for run in runs],
        "conditions": [
            {"what": each.what, "values": list(each.values), "differs": each.differs} for each in conditions(runs)
        ],
        "results": [
            {
                "name": row.group.bundle,
                "backend": row.backend,
                "variant": row.variant,
                "rate_hz": row.group.rate_hz,
                "runs": [_numbers(result, row.results[0]) for result in row.results],
            }
            for row in rows(runs)
        ],
    }


def _numbers(result: Result | None, first: Result | None) -> dict[str, float | None] | None:
    if result is None:
        return None
    p50_ratio, p99_ratio = columns.ratios(result, first)
    return {
        "p50_us": result.p50_us,
        "p99_us": result.p99_us,
        "p50_ratio": p50_ratio,
        "p99_ratio": p99_ratio,
        "deadline_misses": result.deadline_misses,
        "distance": result.ceiling.distance if result.ceiling else None,
    }
