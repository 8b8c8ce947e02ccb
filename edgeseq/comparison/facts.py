"""What is known of one result besides its percentiles, a sentence each; what its document lacks is left out."""

from __future__ import annotations

from edgeseq.comparison.documents import Board, Ceiling, Result
from edgeseq.comparison.words import factor, plain, us
from edgeseq.text import amount, size


def facts(result: Result) -> list[str]:
    """Return the sentences."""
    steps = f"{result.steps:,} steps" if result.steps is not None else "Steps not told"
    said = [steps + (f", the longest {us(result.max_us)} µs" if result.max_us is not None else "")]
    if result.rate_hz is not None and result.deadline_misses is not None:
        of = f" of {result.steps:,}" if result.steps is not None else ""
        said.append(f"{result.deadline_misses:,}{of} deadlines missed")
    if result.bytes_per_step is not None and result.macs_per_step is not None:
        said.append(f"{size(result.bytes_per_step)} and {amount(result.macs_per_step)} MACs a step")
    if result.ceiling is not None:
        said += _ceiling(result.ceiling)
    said += _board(result.board_before or Board(), result.board_after or Board())
    if result.p99_us is None:
        said.append("Too few steps for a p99")
    if result.histogram is None:
        said.append("No histogram: an older edgeseq measured this")
    elif not any(result.histogram.count):
        said.append("The histogram is empty")
    return said


def _ceiling(ceiling: Ceiling) -> list[str]:
    """Say how far the median is from the least that this machine allows."""
    if ceiling.bound_us is None or ceiling.distance is None:
        return []
    by = f"{plain(ceiling.bound_by)} alone takes" if ceiling.bound_by else "a step takes at least"
    return [f"p50 is {factor(ceiling.distance)} the {us(ceiling.bound_us)} µs that {by} here"]


def _board(before: Board, after: Board) -> list[str]:
    """Say how clock and temperature went."""
    changes = (
        _change(before.clock_mhz, after.clock_mhz, "MHz"),
        _change(before.temperature_c, after.temperature_c, "°C"),
    )
    said = [", ".join(filter(None, changes))]
    if before.throttled or after.throttled:
        said.append("The board throttled")
    return [line for line in said if line]


def _change(before: float | None, after: float | None, unit: str) -> str:
    """Return both values, one where they are the same, nothing where neither is known."""
    if before is None and after is None:
        return ""
    values = dict.fromkeys("?" if value is None else f"{value:,.0f}" for value in (before, after))
    return f"{' → '.join(values)} {unit}"
