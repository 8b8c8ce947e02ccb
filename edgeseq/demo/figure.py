"""The report's figures as inline SVG: a stream's predicted curve against the truth, and the last outputs together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from edgeseq.demo.story import Story, Track

WIDTH, HEIGHT = 360, 168
LEFT, RIGHT, TOP, BOTTOM = 30, 8, 8, 22
SIDE = 300
LABEL_WIDTH, LABEL_HEIGHT = 13, 9
MAX_POINTS = 400
"""A longer curve is thinned to this many points: the figure has no more pixels."""
KINDS = ("ok", "warning", "critical")
"""By severity; what is worse is drawn like the last."""


def curve(track: Track, story: Story) -> str:
    """Draw one track: the truth dashed, the prediction over it, the time at each level shaded, alerts as dots."""
    count = max(len(track.values), 2)
    high = max([story.high, *(value for value in track.values if value == value)])  # noqa: PLR0124 - not NaN
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(index: float, value: float) -> tuple[float, float]:
        return LEFT + index / (count - 1) * plot_width, TOP + (1 - max(value, 0) / high) * plot_height

    parts = [_grid(story, high, count, at(0, 0)[1], plot_height)]
    for first, last, severity in _spans(track):
        x, width = at(first, 0)[0], at(last, 0)[0] - at(first, 0)[0]
        parts.append(
            f'<rect class="{KINDS[severity]}-area" x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{plot_height}"/>'
        )
    if track.truth is not None:
        parts.append(_line("truth", (at(i, value) for i, value in _thinned(track.truth[:count].tolist()))))
    parts.append(_line("predicted", (at(i, value) for i, value in _thinned(track.values))))
    for news in track.news:
        x, y = at(min(news.index, count - 1), news.event.score)
        kind = "ok" if news.event.kind == "cleared" else KINDS[min(news.event.severity, len(KINDS) - 1)]
        words = escape(f"{story.sentence(news.event)} ({story.step} {news.index + 1})")
        parts.append(f'<circle class="{kind}-dot" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{words}</title></circle>')
    name = escape(f"{story.thing} {track.name}: {story.predicted}, {story.true}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(parts)}</svg>'


def scatter(ends: Sequence[tuple[str, float, float]], thing: str) -> str:
    """Draw predictions against the truth; a perfect one lies on the diagonal. ends: (name, predicted, true)."""
    high = max([10.0, *(max(predicted, true) for _, predicted, true in ends)]) * 1.12
    size = SIDE - LEFT - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + max(x, 0) / high * size, SIDE - BOTTOM - max(y, 0) / high * size

    parts = []
    for tick in _ticks(high):
        (x, y0), (x0, y) = at(tick, 0), at(0, tick)
        parts.append(f'<line class="grid" x1="{x0:.1f}" y1="{y:.1f}" x2="{LEFT + size}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 3:.1f}" text-anchor="end">{tick}</text>')
        parts.append(f'<text x="{x:.1f}" y="{y0 + 14:.1f}" text-anchor="middle">{tick}</text>')
    parts.append(_line("truth", (at(0, 0), at(high, high))))
    points = [at(true, predicted) for _, predicted, true in ends]
    for (name, predicted, true), (x, y), (label_x, label_y, anchor) in zip(ends, points, _labels(points), strict=True):
        words = escape(f"{thing} {name}: predicted {predicted:.1f}, true {true:.0f}")
        parts.append(f'<circle class="predicted-dot" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{words}</title></circle>')
        parts.append(f'<text x="{label_x:.1f}" y="{label_y:.1f}" text-anchor="{anchor}">{escape(name)}</text>')
    return f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="predicted against true">{"".join(parts)}</svg>'


def _labels(points: list[tuple[float, float]]) -> list[tuple[float, float, str]]:
    """Return (x, y, anchor) of each point's label: on the first side where no other point or label stands."""
    taken, labels = list(points), []
    for x, y in points:
        # Right, left, above, below: where the label goes, and where its middle is then.
        sides = [(7, 3, "start", 14, 0), (-7, 3, "end", -14, 0), (0, -8, "middle", 0, -11), (0, 15, "middle", 0, 11)]
        free = [side for side in sides if not any(_near(x + side[3], y + side[4], other) for other in taken)]
        right, down, anchor, middle_x, middle_y = (free or sides)[0]
        taken.append((x + middle_x, y + middle_y))
        labels.append((x + right, y + down, anchor))
    return labels


def _near(x: float, y: float, other: tuple[float, float]) -> bool:
    """Tell whether a label's middle is too near to a point or to another label's middle."""
    return abs(x - other[0]) < LABEL_WIDTH and abs(y - other[1]) < LABEL_HEIGHT


def _grid(story: Story, high: float, count: int, base: float, height: float) -> str:
    """Draw the horizontal lines with their values, and the first and last step."""
    parts = []
    for tick in _ticks(high):
        y = base - tick / high * height
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 3:.1f}" text-anchor="end">{tick}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">{escape(story.step)} 1</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{count}</text>')
    return "".join(parts)


def _ticks(high: float) -> range:
    """Return three to five round values from 0."""
    step = next(step for step in (5, 10, 25, 50, 100, 250, 500, 1000, 10**9) if high / step <= 4)  # noqa: PLR2004
    return range(0, int(high) + 1, step)


def _spans(track: Track) -> list[tuple[int, int, int]]:
    """Return (first, last, severity) of each time that an alert stood."""
    spans: list[tuple[int, int, int]] = []
    for index, severity in enumerate(track.severities):
        if spans and spans[-1][1] == index - 1 and spans[-1][2] == severity:
            spans[-1] = (spans[-1][0], index, severity)
        elif severity:
            # A level that takes over from another begins where that one ends, without a seam.
            first = spans[-1][1] if spans and spans[-1][1] == index - 1 else index
            spans.append((first, index, severity))
    return spans


def _thinned(values: list[float]) -> list[tuple[int, float]]:
    """Return (index, value) of at most MAX_POINTS values, the last one always among them."""
    stride = -(-len(values) // MAX_POINTS) or 1
    points = list(enumerate(values))
    return [*points[:-1:stride], *points[-1:]]


def _line(kind: str, points: Iterable[tuple[float, float]]) -> str:
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points if y == y)  # noqa: PLR0124 - not NaN
    return f'<polyline class="{kind}" points="{drawn}"/>'


def badge(severity: int, text: str) -> str:
    """Return a word in the colour of a severity."""
    return f'<i class="{KINDS[severity]}">{escape(text)}</i>'
