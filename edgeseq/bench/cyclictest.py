"""Histograms in the layout of `cyclictest --histofile`, which real-time people's plotting scripts read.

Rows of whole microseconds, a column for each case where cyclictest has one for each thread; then totals, least, mean
and largest, and what lay beyond the last row. Source: rt-tests, cyclictest.c, print_hist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeseq.bench.case import Microseconds


def text(columns: Sequence[Microseconds]) -> str:
    """Return the file's text. The rows end with the largest duration that is counted in any column."""
    rows = max((len(column.counts) for column in columns), default=0)
    counts = [column.counts + [0] * (rows - len(column.counts)) for column in columns]

    def footer(name: str, digits: int, of: Callable[[Microseconds], float]) -> str:
        return f"# {name}:" + "".join(f" {int(of(column)):0{digits}}" for column in columns)

    lines = [
        "# Histogram",
        *(f"{us:06} " + "\t".join(f"{count:06}" for count in row) for us, row in enumerate(zip(*counts, strict=True))),
        footer("Total", 9, lambda column: sum(column.counts)),
        footer("Min Latencies", 5, lambda column: column.min_ns // 1000),
        footer("Avg Latencies", 5, lambda column: column.mean_ns // 1000),
        footer("Max Latencies", 5, lambda column: column.max_ns // 1000),
        footer("Histogram Overflows", 5, lambda column: column.beyond),
        "# Histogram Overflow at cycle number:",
        *(f"# Thread {index}:{_beyond(column)}" for index, column in enumerate(columns)),
        "",
    ]
    return "\n".join(lines) + "\n"


def _beyond(column: Microseconds) -> str:
    """Name the steps beyond the last row, and count those that are not named."""
    others = column.beyond - len(column.beyond_at)
    return "".join(f" {at:05}" for at in column.beyond_at) + (f" # {others:05} others" if others else "")
