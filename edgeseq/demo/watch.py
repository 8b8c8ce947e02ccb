"""The sink that watches: it keeps every track's outputs and events for the live view, the lines and the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edgeseq.demo.story import News, Story, Track
from edgeseq.types import About, Event, Output

OK, WORST = 0, 2


class Watch:
    """Collects what sinks are told.

    changed: called after every output. told: called with every event that changed a level.
    """

    def __init__(self, story: Story, changed: Callable[[], None], told: Callable[[Event], None]) -> None:
        self.tracks = dict(story.tracks)
        self.about = About(device="", pipeline="")
        self.news: list[News] = []
        self.sent: set[str] = set()
        """The ids of all events, those that changed no level included."""
        self.frames = 0
        self.dropped: Mapping[str, int] = {}
        self.started = time.perf_counter()
        self._story = story
        self._changed = changed
        self._told = told
        self._severity = {"ok": OK}

    def open(self, about: About) -> None:
        """Start the clock."""
        self.about = about
        self.started = time.perf_counter()

    def output(self, output: Output, level: str) -> None:
        """Keep one output of the model with the level that stands after it."""
        for name, value, standing in self._story.values(output, level, self.about.score):
            track = self._track(name)
            track.level, track.severity = standing, self._severity.get(standing, OK)
            track.values.append(value)
            track.severities.append(track.severity)
            track.warm += output.warming
        self.frames += 1
        self._changed()

    def event(self, event: Event) -> None:
        """Keep an event, and learn from it how severe its level is."""
        self.sent.add(event.event_id)
        if event.kind != "cleared":
            self._severity.setdefault(event.level, min(event.severity, WORST))
        track = self._track(self._story.track(event))
        if not self._story.sentence(event):
            return
        if event.kind == "updated" and track.news and track.news[-1].event.level == event.level:
            return
        news = News(self.seconds, len(track.values), event)
        track.news.append(news)
        self.news.append(news)
        self._told(event)

    def end(self, stream: str) -> None:
        """Mark the track of a stream as ended, where it has one."""
        if stream in self.tracks:
            self.tracks[stream].ended = True
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

    def severity(self, event: Event) -> int:
        """Return an event's severity, at most WORST; a cleared alert is OK."""
        return OK if event.kind == "cleared" else min(event.severity, WORST)

    def _track(self, name: str) -> Track:
        return self.tracks.setdefault(name, Track(name))
