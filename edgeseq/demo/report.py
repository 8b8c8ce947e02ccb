"""The report: one HTML file that needs nothing beside it. No scripts, no fonts, no references to anywhere."""

from __future__ import annotations

import string
from html import escape
from importlib.resources import files

from edgeseq.demo.figure import KINDS, curve, scatter
from edgeseq.demo.result import Result
from edgeseq.demo.scene import Scene
from edgeseq.demo.watch import News, Track, Watch
from edgeseq.demo.words import microseconds, sentence, signed, tail


def page(scene: Scene, watch: Watch, result: Result, facts: list[tuple[str, str]]) -> str:
    """Return the report. facts: what else to say about how it was made, as pairs of words."""
    template = string.Template(files("edgeseq.demo").joinpath("report.html").read_text("utf-8"))
    tracks = list(watch.tracks.values())
    return template.substitute(
        title=escape(scene.title),
        about=escape(scene.about),
        tiles="".join(_tile(*tile) for tile in _tiles(scene, result)),
        curves="".join(_card(track, scene) for track in tracks),
        scatter=scatter(tracks, scene),
        rows="".join(_row(track) for track in tracks),
        thing=escape(scene.thing),
        step=escape(scene.step),
        unit=escape(scene.unit),
        cap=f"{scene.cap:.0f}",
        alerts="".join(_alert(news, watch, scene) for news in watch.news),
        facts="".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts),
    )


def _tiles(scene: Scene, result: Result) -> list[tuple[str, str, str]]:
    """Return (number, what it is, what stands behind it)."""
    tiles = [
        (f"{result.streams}", scene.things, f"{result.frames:,} frames in {result.seconds:.1f} s"),
        (f"{result.alerts}", "alerts raised", f"{result.delivered} of {result.sent} messages arrived over MQTT"),
        (microseconds(result.step_us["p50"]), "a model step, median", tail(result.step_us)),
    ]
    if result.rmse is not None:
        tiles.append((f"{result.rmse:.1f}", f"{scene.unit} RMSE", f"at the last {scene.step}, against the truth"))
    return tiles


def _tile(number: str, name: str, behind: str) -> str:
    return f"<div><b>{escape(number)}</b><span>{escape(name)}</span><small>{escape(behind)}</small></div>"


def _card(track: Track, scene: Scene) -> str:
    last = f"{track.values[-1]:.0f} left" if track.values else "no output"
    true = f", true {track.true_last:.0f}" if track.error is not None else ""
    return (
        f"<figure><figcaption><b>{escape(scene.thing)} {escape(track.stream)}</b>"
        f"{_badge(track.severity, track.level)}<span>{last}{true}</span></figcaption>{curve(track, scene)}</figure>"
    )


def _row(track: Track) -> str:
    last = f"{track.values[-1]:.1f}" if track.values else "–"
    true = f"{track.true_last:.0f}" if track.true_last is not None else "–"
    return (
        f"<tr><td>{escape(track.stream)}</td><td>{len(track.values)}</td><td>{last}</td><td>{true}</td>"
        f"<td>{signed(track.error)}</td><td>{_badge(track.severity, track.level)}</td></tr>"
    )


def _alert(news: News, watch: Watch, scene: Scene) -> str:
    event = news.event
    return (
        f"<tr><td>{news.seconds:.1f} s</td><td>{news.index + 1}</td>"
        f"<td>{_badge(watch.severity(event), event.kind)}</td><td>{escape(sentence(scene, event))}</td></tr>"
    )


def _badge(severity: int, text: str) -> str:
    return f'<i class="{KINDS[severity]}">{escape(text)}</i>'
