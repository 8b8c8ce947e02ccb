"""Plain tables for commands: columns lined up, nothing drawn."""

from __future__ import annotations

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "  ", left: int = 1) -> str:
    """Return lines under headings. The first `left` columns are words and stand left, the others are numbers."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        indent
        + "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def number(value: float | None, digits: int = 1) -> str:
    """Return a number with thousands separated, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"
