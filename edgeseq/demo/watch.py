"""The sink that watches: it keeps every stream's outputs and events for the live view, the lines and the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeseq.types import About, Event, Output

OK, WORST = 0, 2


@dataclass(frozen=True)
class News:
    """An event that changed a stream's level: seconds since the start, and the output it came with, from 0."""

    seconds: float
    index: int
    event: Event


@dataclass
class Track:
    """What one stream has shown so far. Values and severities hold one entry a model output.

    frames: how many outputs are expected in all, 0 where unknown. true_last: the truth at the last of them.
    """

    stream: str
    frames: int = 0
    true_last: float | None = None
    values: list[float] = field(default_factory=list)
    severities: list[int] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    warm: int = 0
    """Index of the first value that no longer leans on padding."""
    level: str = "ok"
    severity: int = OK
    ended: bool = False

    def truth(self, cap: float) -> NDArray[np.float64] | None:
        """Return the true remaining life at each value so far, at most `cap`: one less at every step.

        None where the truth at the last step, or how many steps there are, is unknown.
        """
        total = len(self.values) if self.ended else self.frames
        if self.true_last is None or not total:
            return None
        return np.minimum(self.true_last + total - 1 - np.arange(len(self.values), dtype=np.float64), cap)

    @property
    def error(self) -> float | None:
        """Prediction minus truth at the last step; None before the stream has ended."""
        if not self.ended or self.true_last is None or not self.values:
            return None
        return self.values[-1] - self.true_last


class Watch:
    """Collects what sinks are told.

    changed: called after every output. told: called with every event that changed a level.
    """

    def __init__(self, tracks: Mapping[str, Track], changed: Callable[[], None], told: Callable[[Event], None]) -> None:
        self.tracks = dict(tracks)
        self.about = About(device="", pipeline="")
        self.news: list[News] = []
        self.sent: set[str] = set()
        """The ids of all events, those that changed no level included."""
        self.frames = 0
        self.dropped: Mapping[str, int] = {}
        self.started = time.perf_counter()
        self._changed = changed
        self._told = told
        self._severity = {"ok": OK}

    def open(self, about: About) -> None:
        """Start the clock."""
        self.about = about
        self.started = time.perf_counter()

    def output(self, output: Output, level: str) -> None:
        """Keep one output of the model with the level that stands after it."""
        track = self._track(output.stream)
        track.level, track.severity = level, self._severity.get(level, OK)
        track.values.append(float(output.values[self.about.score]))
        track.severities.append(track.severity)
        track.warm += output.warming
        self.frames += 1
        self._changed()

    def event(self, event: Event) -> None:
        """Keep an event, and learn from it how severe its level is."""
        self.sent.add(event.event_id)
        if event.kind != "cleared":
            self._severity.setdefault(event.level, min(event.severity, WORST))
        track = self._track(event.stream)
        if event.kind == "updated" and track.news and track.news[-1].event.level == event.level:
            return
        news = News(self.seconds, len(track.values), event)
        track.news.append(news)
        self.news.append(news)
        self._told(event)

    def end(self, stream: str) -> None:
        """Mark a stream as ended."""
        self._track(stream).ended = True
        self._changed()

    def close(self) -> None:
        """Mark everything as ended."""
        for track in self.tracks.values():
            track.ended = track.ended or bool(track.values)

    @property
    def seconds(self) -> float:
        """Seconds since the pipeline opened its sinks."""
        return time.perf_counter() - self.started

    @property
    def raised(self) -> int:
        """How many alerts were raised."""
        return sum(news.event.kind == "raised" for news in self.news)

    @property
    def rmse(self) -> float | None:
        """Root mean square error at the last step over the streams whose truth is known, the task's own score."""
        errors = [track.error for track in self.tracks.values() if track.error is not None]
        return float(np.sqrt(np.mean(np.square(errors)))) if errors else None

    def severity(self, event: Event) -> int:
        """Return an event's severity, at most WORST; a cleared alert is OK."""
        return OK if event.kind == "cleared" else min(event.severity, WORST)

    def _track(self, stream: str) -> Track:
        return self.tracks.setdefault(stream, Track(stream))
