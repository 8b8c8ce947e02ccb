"""The report: one HTML file that needs nothing beside it. No scripts, no fonts, no references to anywhere."""

from __future__ import annotations

import string
from html import escape
from importlib.resources import files

from edgeseq.demo.figure import badge, curve
from edgeseq.demo.result import Result
from edgeseq.demo.scene import Scene
from edgeseq.demo.story import News, Story, Track
from edgeseq.demo.watch import Watch
from edgeseq.demo.words import microseconds, tail


def page(scene: Scene, watch: Watch, result: Result, facts: list[tuple[str, str]]) -> str:
    """Return the report. facts: what else to say about how it was made, as pairs of words."""
    template = string.Template(files("edgeseq.demo").joinpath("report.html").read_text("utf-8"))
    story, tracks = scene.story, list(watch.tracks.values())
    return template.substitute(
        title=escape(scene.title),
        about=escape(scene.about),
        tiles="".join(_tile(*tile) for tile in _tiles(result)),
        curves="".join(_card(track, story) for track in tracks),
        section=story.section(tracks),
        step=escape(story.step),
        predicted=escape(story.predicted),
        true=escape(story.true),
        alerts="".join(_alert(news, watch, story) for news in watch.news),
        facts="".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts),
    )


def _tiles(result: Result) -> list[tuple[str, str, str]]:
    """Return (number, what it is, what stands behind it)."""
    tiles = [
        (
            f"{result.streams}",
            f"stream{'s' * (result.streams != 1)}",
            f"{result.frames:,} frames in {result.seconds:.1f} s",
        ),
        (f"{result.alerts}", "alerts raised", f"{result.delivered} of {result.sent} messages arrived over MQTT"),
        (microseconds(result.step_us["p50"]), "a model step, median", tail(result.step_us)),
    ]
    return tiles if result.score is None else [*tiles, result.score.tile]


def _tile(number: str, name: str, behind: str) -> str:
    return f"<div><b>{escape(number)}</b><span>{escape(name)}</span><small>{escape(behind)}</small></div>"


def _card(track: Track, story: Story) -> str:
    return (
        f"<figure><figcaption><b>{escape(story.thing)} {escape(track.name)}</b>"
        f"{badge(track.severity, track.level)}<span>{escape(story.caption(track))}</span></figcaption>"
        f"{curve(track, story)}</figure>"
    )


def _alert(news: News, watch: Watch, story: Story) -> str:
    event = news.event
    return (
        f"<tr><td>{news.seconds:.1f} s</td><td>{news.index + 1}</td>"
        f"<td>{badge(watch.severity(event), event.kind)}</td><td>{escape(story.sentence(event))}</td></tr>"
    )
