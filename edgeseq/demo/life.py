"""A story of machines that wear out: each stream's remaining life, predicted and true."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from html import escape
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.demo.figure import badge, scatter
from edgeseq.demo.story import Score, Track
from edgeseq.errors import SourceError
from edgeseq.types import Event, Output


class LifeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[life] of a demo.toml."""

    truth: str
    """A CSV file: stream, frames, and the true value at the last frame."""
    thing: str
    things: str
    step: str
    """What one frame is called: a cycle."""
    unit: str
    cap: float
    """The model was trained on targets of at most this."""


class Life:
    """What `Story` says, of remaining life."""

    columns = ("left", "true")

    def __init__(self, table: LifeTable, folder: Path) -> None:
        self.thing, self.things, self.step = table.thing, table.things, table.step
        self.high = table.cap
        self.predicted, self.true = f"predicted {table.unit} left", f"truth, at most {table.cap:.0f}"
        self.heading = f"{table.unit} left, of {table.cap:.0f}"
        self._unit = table.unit
        self._true_last = _truth(folder / table.truth)
        self.tracks = {
            stream: Track(stream, frames, np.minimum(last + frames - 1.0 - np.arange(frames), table.cap))
            for stream, (frames, last) in self._true_last.items()
        }
        self.frames = sum(track.frames for track in self.tracks.values())

    def values(self, output: Output, level: str, score: int) -> list[tuple[str, float, str]]:
        """Return the stream's own track."""
        return [(output.stream, float(output.values[score]), level)]

    def track(self, event: Event) -> str:
        """Return the stream's name."""
        return event.stream

    def sentence(self, event: Event) -> str:
        """Return an event as a person says it: 'engine 24: critical, 18 cycles left'."""
        who, left = f"{self.thing} {event.stream}".strip(), f"{event.score:.0f} {self._unit} left"
        return f"{who}: {event.level} cleared, {left}" if event.kind == "cleared" else f"{who}: {event.level}, {left}"

    def numbers(self, track: Track) -> tuple[str, str]:
        """Return what is left and what truly is, at most the cap."""
        known = track.truth is not None and 0 < len(track.values) <= len(track.truth)
        now = f"{track.values[-1]:.0f}" if track.values else "–"
        return now, f"{track.truth[len(track.values) - 1]:.0f}" if known and track.truth is not None else "–"

    def caption(self, track: Track) -> str:
        """Return what was left at the end, and what truly was."""
        last = f"{track.values[-1]:.0f} left" if track.values else "no output"
        return last if self._error(track) is None else f"{last}, true {self._true_last[track.name][1]:.0f}"

    def score(self, tracks: Iterable[Track]) -> Score | None:
        """Return the root mean square error at the last step, the task's own score."""
        errors = [error for track in tracks if (error := self._error(track)) is not None]
        if not errors:
            return None
        rmse = float(np.sqrt(np.mean(np.square(errors))))
        return Score(
            {"rmse": rmse}, (f"{rmse:.1f}", f"{self._unit} RMSE", f"at the last {self.step}, against the truth")
        )

    def section(self, tracks: Iterable[Track]) -> str:
        """Return the last outputs, as a table and drawn over the truth."""
        tracks = list(tracks)
        ends = [(t.name, t.values[-1], self._true_last[t.name][1]) for t in tracks if self._error(t) is not None]
        head = "".join(f"<th>{escape(text)}</th>" for text in (self.thing, f"{self.step}s seen"))
        return (
            f'<h2>The last {escape(self.step)}</h2>\n<section class="two">\n<table class="numbers">\n<thead><tr>{head}'
            "<th>predicted</th><th>true</th><th>error</th><th>level</th></tr></thead>\n"
            f"<tbody>{''.join(map(self._row, tracks))}</tbody>\n</table>\n"
            f'<figure class="scatter"><figcaption><b>Predicted over true</b><span>{escape(self._unit)} left</span>'
            f"</figcaption>{scatter(ends, self.thing)}</figure>\n</section>"
        )

    def _row(self, track: Track) -> str:
        last = f"{track.values[-1]:.1f}" if track.values else "–"
        true = f"{self._true_last[track.name][1]:.0f}" if track.name in self._true_last else "–"
        return (
            f"<tr><td>{escape(track.name)}</td><td>{len(track.values)}</td><td>{last}</td><td>{true}</td>"
            f"<td>{_signed(self._error(track))}</td><td>{badge(track.severity, track.level)}</td></tr>"
        )

    def _error(self, track: Track) -> float | None:
        """Prediction minus truth at the last step; None before the stream has ended."""
        known = track.ended and track.values and track.name in self._true_last
        return track.values[-1] - self._true_last[track.name][1] if known else None


def _truth(path: Path) -> dict[str, tuple[int, float]]:
    """Read the truth: columns stream, frames, rul."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {row["stream"]: (int(row["frames"]), float(row["rul"])) for row in rows}
    except (OSError, KeyError, ValueError) as cause:
        raise SourceError(f"{path}: must be a CSV file with the columns stream, frames, rul ({cause}).") from cause


def _signed(value: float | None) -> str:
    """Return an error with its sign: '+3', '−12', or a dash."""
    if value is None:
        return "–"
    return f"{'−' if round(value) < 0 else '+'}{abs(round(value))}"
