"""What kinds of demo differ in: which curves there are, what an event means, and how it went against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseq.types import Event, Output


@dataclass(frozen=True)
class News:
    """An event that changed a level: seconds since the start, and the output it came with, from 0."""

    seconds: float
    index: int
    event: Event


@dataclass
class Track:
    """One curve, and what it has shown so far. Values and severities hold one entry a model output.

    frames: how many outputs are expected in all, 0 where unknown. truth: what each of them should be, if known.
    """

    name: str
    frames: int = 0
    truth: NDArray[np.float64] | None = None
    values: list[float] = field(default_factory=list)
    severities: list[int] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    warm: int = 0
    """Index of the first value that no longer leans on padding."""
    level: str = "ok"
    severity: int = 0
    ended: bool = False


@dataclass(frozen=True)
class Score:
    """How a demo went against the truth: numbers by name, for programs, and the same as a tile for people."""

    numbers: Mapping[str, float]
    tile: tuple[str, str, str]
    """The number, what it is, what stands behind it."""


class Story(Protocol):
    """One kind of demo, with the data of one.

    tracks: the curves by name, with what is known of them beforehand. frames: of all streams together. thing, things:
    what a track is. step: what one output is called. high: where the curves' scale ends. predicted, true: what the two
    curves are, for the report's key. heading, columns: over the live view's curves, and over the two numbers beside
    each.
    """

    tracks: dict[str, Track]
    frames: int
    thing: str
    things: str
    step: str
    high: float
    predicted: str
    true: str
    heading: str
    columns: tuple[str, str]

    def values(self, output: Output, level: str, score: int) -> Iterable[tuple[str, float, str]]:
        """Return track, value and level for each track that an output goes on; score: the value that is judged."""
        ...

    def track(self, event: Event) -> str:
        """Return the name of the track that an event is about."""
        ...

    def sentence(self, event: Event) -> str:
        """Return an event as a person says it; nothing for one that nobody would mention."""
        ...

    def numbers(self, track: Track) -> tuple[str, str]:
        """Return the two numbers beside a curve, a dash for one that is not known yet."""
        ...

    def caption(self, track: Track) -> str:
        """Return what stands over a curve in the report."""
        ...

    def score(self, tracks: Iterable[Track]) -> Score | None:
        """Return how it went; None where no truth is known."""
        ...

    def section(self, tracks: Iterable[Track]) -> str:
        """Return the report's part between curves and alerts, as HTML."""
        ...
