"""How a comparison says things: durations, ratios, rates; one wording for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence

SAME = 1.02
"""Medians that are nearer than this are called the same: a histogram's buckets are 1.6 % wide."""


def us(value: float | None) -> str:
    """Return microseconds in three digits, without the unit: '0.432', '5.31', '11.9', '132', '2,140', or a dash."""
    if value is None:
        return "–"
    digits = next((digits for digits, below in ((3, 0.9995), (2, 9.995), (1, 99.95)) if value < below), 0)
    return f"{value:,.{digits}f}"


def duration(value: float) -> str:
    """Return microseconds in the unit they are read best in: '200 ns', '5 µs', '1.5 ms', '20 s'."""
    for factor, unit in ((1e-3, "ns"), (1.0, "µs"), (1e3, "ms")):
        if value < 999.5 * factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e6:,.3g} s" if value < 999.5e6 else f"{value / 1e6:,.0f} s"  # noqa: PLR2004 - seconds


def ratio(value: float | None, first: float | None) -> float | None:
    """Return how many times the first a duration is; None where either is unknown."""
    return value / first if value is not None and first else None


def against(times: float | None) -> str:
    """Return a ratio of durations in words: '2.95× slower', '1.40× faster', 'the same', or a dash."""
    if not times:
        return "–"
    if 1 / SAME < times < SAME:
        return "the same"
    return f"{factor(times)} slower" if times > 1 else f"{factor(1 / times)} faster"


def factor(times: float) -> str:
    """Return a factor in three digits: '1.40×', '12.3×', '1,200×'."""
    return f"{us(times)}×"


def paced(rate_hz: float | None) -> str:
    """Return how the steps came."""
    return "back to back" if rate_hz is None else f"one step every {duration(1e6 / rate_hz)}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: 'a', 'a and b', 'a, b and c'."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def plain(text: str) -> str:
    """Return text from outside without what would steer a terminal or does not belong into a page."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
