"""The page: one HTML file that needs nothing beside it. No scripts, no fonts, no references to anywhere."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

import edgeseq
from edgeseq.comparison import columns
from edgeseq.comparison.axis import Axis, around
from edgeseq.comparison.documents import Result
from edgeseq.comparison.facts import facts
from edgeseq.comparison.runs import DEVICE, Group, Row, Run, conditions, grouped, rows
from edgeseq.comparison.strip import HALF, strip
from edgeseq.comparison.words import listed, paced

COLOURS = 6
ABOUT = (
    "A step is one call: one frame in, one output out. The histograms show how many of the steps took how long; both "
    "scales are logarithmic, so that the rare slow steps are seen beside the many. p50, p99 and p99.9: half, "
    "99 % and 99.9 % of the steps took no longer. A percentile stands only where 100 steps lie beyond it."
)


def page(runs: Sequence[Run]) -> str:
    """Return the page of one run, or of several against one another."""
    template = string.Template(files("edgeseq.comparison").joinpath("page.html").read_text("utf-8"))
    several = len(runs) > 1
    groups = grouped(rows(runs))
    where = next((each.values[0] for each in conditions(runs) if each.what == DEVICE["cpu"]), runs[0].name)
    title = f"Step latency: {listed([run.name for run in runs])}" if several else f"Step latency on {where}"
    return template.substitute(
        title=escape(title),
        about=escape(ABOUT),
        measured="How they were measured" if several else "How it was measured",
        conditions=_conditions(runs),
        groups="".join(_group(group, of_group, runs) for group, of_group in groups.items())
        or "<p>There is no result in it.</p>",
        made=escape(f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by edgeseq {edgeseq.__version__}."),
    )


def _conditions(runs: Sequence[Run]) -> str:
    """Tell device and circumstances of each run; what differs stands out."""
    told = conditions(runs)
    if len(runs) == 1:
        pairs = (f"<div><dt>{escape(each.what)}</dt><dd>{escape(each.values[0])}</dd></div>" for each in told)
        return f"<dl>{''.join(pairs)}</dl>"
    lines = [(each.what, *each.values) for each in told]
    kinds = ["differs" if each.differs else "" for each in told]
    note = "<p>What differs between the runs is set in bold.</p>" if any(kinds) else ""
    return note + _table("words", ("", *(run.name for run in runs)), lines, kinds)


def _group(group: Group, of_group: Sequence[Row], runs: Sequence[Run]) -> str:
    """Show one bundle at one rate: the table, then every histogram on the same axis."""
    shown = columns.compared(of_group, runs) if len(runs) > 1 else columns.single(of_group)
    results = [result for row in of_group for result in row.results if result is not None]
    axis = around(results)
    # A single step of the longest run still stands clear of the foot.
    least = HALF / max([2, *(sum(result.histogram.count) for result in results if result.histogram)])
    figures = _compared(of_group, runs, axis, least) if len(runs) > 1 else _single(of_group, axis, least)
    title = escape(f"{group.bundle}, {paced(group.rate_hz)}")
    return f"<h2>{title}</h2><p>Microseconds a step.</p>{_table('numbers', shown.headings, shown.lines)}{figures}"


def _single(of_group: Sequence[Row], axis: Axis | None, least: float) -> str:
    """Draw the variants of one run, each backend in its colour."""
    backends = list(dict.fromkeys(row.backend for row in of_group))
    figures = [_figure(row.title, row.results[0], axis, least, backends.index(row.backend)) for row in of_group]
    return f"<h3>Histograms</h3>{''.join(figures)}"


def _compared(of_group: Sequence[Row], runs: Sequence[Run], axis: Axis | None, least: float) -> str:
    """Draw each variant as the runs have it, each run in its colour."""
    parts = []
    for row in of_group:
        parts.append(f"<h3>{escape(row.title)}</h3>")
        parts += [
            _figure(run.name, result, axis, least, index)
            for index, (run, result) in enumerate(zip(runs, row.results, strict=True))
        ]
    return "".join(parts)


def _figure(name: str, result: Result | None, axis: Axis | None, least: float, index: int) -> str:
    """Draw one result with what else is known of it."""
    colour = index % COLOURS
    said = ["Not in this run."] if result is None else facts(result)
    caption = f'<b class="c{colour}">{escape(name)}</b>' + "".join(f"<span>{escape(line)}</span>" for line in said)
    drawn = strip(result, axis, least, colour, f"latency of {name}") if result is not None and axis is not None else ""
    return f'<figure><figcaption>{caption}</figcaption><div class="plot">{drawn}</div></figure>'


def _table(kind: str, headings: Sequence[str], lines: Iterable[Sequence[str]], kinds: Sequence[str] = ()) -> str:
    """Return a table that scrolls by itself where the screen is narrow. kinds: the lines' classes."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        f'<tr class="{kinds[index] if kinds else ""}">{"".join(map(_cell, line))}</tr>'
        for index, line in enumerate(lines)
    )
    head = f"<thead><tr>{head}</tr></thead>"
    return f'<div class="scroll" tabindex="0"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    last = text.rpartition(" ")[2]
    kind = last if last in ("slower", "faster", "missing") else ""
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"
