"""A histogram as a picture: nothing leaves it, nothing changes places."""

import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from edgeseq.comparison import axis, strip
from edgeseq.comparison.documents import Histogram, Result


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - we drew it


def histograms() -> st.SearchStrategy[Histogram]:
    edges = st.lists(st.floats(0, 1e15), min_size=1, max_size=60, unique=True).map(sorted)
    counts = st.integers(1, 10**9)
    return edges.flatmap(
        lambda of: st.lists(counts, min_size=len(of), max_size=len(of)).map(lambda c: Histogram(of, c))
    )


def corners(path: str) -> Iterator[tuple[float, float]]:
    """Follow the path's commands M, H and V."""
    x = y = 0.0
    for command, number, second in re.findall(r"([MHV])([\d.]+)(?:,([\d.]+))?", path):
        x, y = (
            (float(number), y)
            if command == "H"
            else (x, float(number))
            if command == "V"
            else (float(number), float(second))
        )
        yield x, y


@given(histograms())
def test_a_histogram_keeps_its_order_and_its_box(histogram: Histogram) -> None:
    of = Result("v", "b", histogram=histogram)
    scale = axis.around([of])
    assert scale is not None
    assert 1 < scale.columns <= 2 * axis.MAX_COLUMNS
    columns = [scale.column(edge) for edge in histogram.le_us]
    assert columns == sorted(columns)
    counts = scale.counts(histogram)
    assert sum(counts) == sum(histogram.count)
    for column, edge in zip(columns, histogram.le_us, strict=True):
        # An edge lies at its column, of which it is the upper end or a point within.
        assert column - 1e-6 <= scale.at(edge) * scale.columns <= column + 1 + 1e-6
    points = list(corners(strip.area(counts, strip.HALF / sum(counts))))
    assert all(0 <= x <= strip.BOX and 0 <= y <= strip.BOX for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    least = strip.HALF / (sum(counts) + 1)
    drawn = parsed(strip.strip(of, scale, least, 0, "x"))
    assert within(drawn)


def within(drawn: ET.Element) -> bool:
    """Tell whether every position lies in the picture."""
    across = [float(e.attrib[k].rstrip("%")) for e in drawn.iter() for k in ("x1", "x2") if k in e.attrib]
    down = [float(e.attrib[k]) for e in drawn.iter() for k in ("y1", "y2") if k in e.attrib]
    return all(0 <= x <= 100 for x in across) and all(0 <= y <= strip.HEIGHT for y in down)


@given(st.floats(1e-3, 1e14), st.floats(1, 1e15))
def test_ticks_are_few_and_in_order(low: float, span: float) -> None:
    scale = axis.around([Result("v", "b", p50_us=low, p99_us=min(low * span, 1e15))])
    assert scale is not None
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= axis.MAX_TICKS
    assert ticks == sorted(ticks)
    assert all(-1e-9 <= scale.at(tick) <= 1 + 1e-9 for tick in ticks)


@given(st.lists(st.floats(1, 1e4), min_size=3, max_size=3))
def test_labels_of_marks_never_meet(values: Sequence[float]) -> None:
    p50, p99, p999 = sorted(values)
    of = Result("v", "b", p50_us=p50, p99_us=p99, p999_us=p999, rate_hz=1000.0)
    scale = axis.around([of])
    assert scale is not None
    labels = parsed(strip.strip(of, scale, 1e-5, 0, "x")).findall("text[@dx]")
    rows = [float(label.attrib["y"]) for label in labels]
    assert all(after - before >= strip.LINE for before, after in pairwise(rows))
    assert all(math.isfinite(row) and row < strip.PLOT for row in rows)
