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


def size(count: float) -> str:
    """Return a number of bytes in the unit that it is read best in."""
    units = ("B", "KiB", "MiB", "GiB")
    power = next((power for power in range(len(units) - 1) if count < 1000 * 1024**power), len(units) - 1)
    return f"{count / 1024**power:.3g} {units[power]}"


def amount(count: float) -> str:
    """Return a count in three digits: 20960 is 21.0 k."""
    units = ("", " k", " M", " G", " T")
    power = next((power for power in range(len(units) - 1) if count < 999.5 * 1000**power), len(units) - 1)
    return f"{count:,.0f}" if not power else f"{count / 1000**power:#.3g}".rstrip(".") + units[power]
