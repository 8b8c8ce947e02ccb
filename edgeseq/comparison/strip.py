"""One histogram as inline SVG. Positions across are percentages, so that text keeps its size on any screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from edgeseq.comparison.axis import Axis
from edgeseq.comparison.documents import Result
from edgeseq.comparison.words import duration, us

HEIGHT, FOOT = 124, 20
"""Pixels of the whole, and of its foot with the axis' labels."""
PLOT = HEIGHT - FOOT
LINE = 14
"""Pixels from one mark's label to the next one's below it."""
BOX = 100
"""The view box of the filled area is as high as wide; it is stretched to the plot."""
HALF = 0.5


class Mark(NamedTuple):
    """A duration that is marked by a line. kind: its class in the page's style."""

    name: str
    us: float
    kind: str


def marks(result: Result) -> list[Mark]:
    """Return what is marked in a result's histogram."""
    known = [("p50", result.p50_us), ("p99", result.p99_us), ("p99.9", result.p999_us)]
    found = [Mark(name, value, "mark") for name, value in known if value is not None]
    if result.rate_hz:
        found.append(Mark("deadline", 1e6 / result.rate_hz, "deadline"))
    return found


def strip(result: Result, axis: Axis, least: float, colour: int, title: str) -> str:
    """Draw one result. least: the share of steps at the foot of the logarithmic height; colour: which of the page's."""
    parts = [_grid(axis, least)]
    if result.histogram is not None:
        parts.append(
            f'<svg width="100%" height="{PLOT}" viewBox="0 0 {BOX} {BOX}" preserveAspectRatio="none">'
            f'<path class="area c{colour}" d="{area(axis.counts(result.histogram), least)}"/></svg>'
        )
    parts.append(_marks([mark for mark in marks(result) if 0 <= axis.at(mark.us) <= 1], axis))
    name = escape(title, quote=True)
    return f'<svg class="strip" width="100%" height="{HEIGHT}" role="img" aria-label="{name}">{"".join(parts)}</svg>'


def area(counts: Sequence[int], least: float) -> str:
    """Return the path of the filled area: one step for each column, its height the logarithm of its share."""
    total = sum(counts)
    path, before = [f"M0,{BOX}"], BOX * 1.0
    for column, count in enumerate(counts):
        y = BOX * (1 - height(count / total, least)) if count else BOX * 1.0
        if y != before:
            path.append(f"H{column / len(counts) * BOX:.2f}V{y:.1f}")
        before = y
    return "".join([*path, f"H{BOX}V{BOX}Z"])


def height(share: float, least: float) -> float:
    """Return how high a share of the steps stands: 0 for the least, 1 for all."""
    return min(max(1 - math.log(share) / math.log(least), 0.0), 1.0)


def _grid(axis: Axis, least: float) -> str:
    """Draw a line with its label for each round duration, and for each tenth, hundredth … of the steps."""
    parts = [f'<line class="base" x1="0" x2="100%" y1="{PLOT}" y2="{PLOT}"/>']
    power = 0
    while 10.0**-power > least:
        y = PLOT * (1 - height(10.0**-power, least))
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        # Every other one where they stand close.
        if power % (1 + (least < 1e-5)) == 0:  # noqa: PLR2004 - five powers of ten have room
            parts.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{_percent(10.0**-power)}</text>')
        power += 1
    for tick in axis.ticks():
        at = 100 * axis.at(tick)
        parts.append(f'<line class="grid" x1="{at:.2f}%" x2="{at:.2f}%" y1="0" y2="{PLOT + 4}"/>')
        anchor = "start" if at < 4 else "end" if at > 96 else "middle"  # noqa: PLR2004 - half a label's width
        parts.append(f'<text x="{at:.2f}%" y="{HEIGHT - 5}" text-anchor="{anchor}">{duration(tick)}</text>')
    return "".join(parts)


def _percent(share: float) -> str:
    return f"{100 * share:.10f}".rstrip("0").rstrip(".") + " %"


def _marks(found: Sequence[Mark], axis: Axis) -> str:
    """Draw the marks from left to right, the label of each a line below that of the one before: none can meet."""
    parts = []
    for index, mark in enumerate(sorted(found, key=lambda mark: mark.us)):
        at, top = 100 * axis.at(mark.us), 2 + index * LINE
        parts.append(f'<line class="{mark.kind}" x1="{at:.2f}%" x2="{at:.2f}%" y1="{top}" y2="{PLOT}"/>')
        # A label stands on the side that has room for it.
        anchor, shift = ("start", 4) if axis.at(mark.us) < HALF else ("end", -4)
        value = duration(mark.us) if mark.kind == "deadline" else us(mark.us)
        parts.append(
            f'<text class="{mark.kind}" x="{at:.2f}%" y="{top + 10}" dx="{shift}" text-anchor="{anchor}">'
            f"{mark.name} {value}</text>"
        )
    return "".join(parts)
