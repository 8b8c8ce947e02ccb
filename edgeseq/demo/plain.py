"""The same as lines, where there is no terminal to draw on: pipes, log files, screen readers."""

from __future__ import annotations

from typing import TextIO

from edgeseq.demo.result import Result
from edgeseq.demo.scene import Scene
from edgeseq.demo.stage import Latency
from edgeseq.demo.watch import Watch
from edgeseq.types import Event

TENTHS = 10


class Plain:
    """One line an alert, and one for every tenth of the frames."""

    def __init__(self, out: TextIO, scene: Scene) -> None:
        self._out = out
        self._scene = scene
        self._tenth = 0

    def opened(self, watch: Watch, listen: str, latency: Latency) -> None:
        """Say what comes, and how anyone can listen in."""
        self._watch, self._latency = watch, latency
        scene = self._scene
        self._line(f"{scene.title}: {len(scene.tracks)} {scene.story.things}, {scene.frames:,} frames")
        self._line(f"listen in with any MQTT client: {listen}")

    def changed(self) -> None:
        """Say how far it is."""
        watch, total = self._watch, self._scene.frames
        tenth = watch.frames * TENTHS // total if total else 0
        if tenth > self._tenth:
            self._tenth = tenth
            self._line(f"{watch.frames:,} of {total:,} frames, {watch.raised} alerts, {watch.seconds:.1f} s")

    def told(self, event: Event) -> None:
        """Say what happened."""
        self._line(f"  {self._scene.story.sentence(event)}")

    def ended(self, result: Result) -> None:
        """Say what it came to."""
        for name, text in result.rows():
            self._line(f"{name:>8}  {text}")

    def _line(self, text: str) -> None:
        """Write a line at once, also into a pipe."""
        print(text, file=self._out, flush=True)
