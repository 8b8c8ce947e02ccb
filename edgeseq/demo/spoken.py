"""A story of words: how likely the model finds each while somebody speaks, which it tells, and what was said."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from html import escape
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.demo.story import Score, Track
from edgeseq.errors import SourceError
from edgeseq.types import Event, Output

LATEST_S = 0.75
"""Seconds after a word's end until which it counts as found."""


class SpokenTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[spoken] of a demo.toml."""

    truth: str
    """A CSV file: begin and end in seconds, word."""
    words: dict[str, int]
    """Word -> which of the model's outputs is its own, from 0."""
    logits: bool = False
    """Outputs are logits, whose softmax is shown; else they are probabilities."""
    rate_hz: float
    """Frames a second."""
    frames: int


class Spoken:
    """What `Story` says, of words: one stream, and in it a track for each word, in percent."""

    thing, things, step = "word", "words", "frame"
    high = 100.0
    predicted, true = "how likely it was just said, %", "when it was said"
    heading = "how likely it was just said, %"
    columns = ("now", "told")

    def __init__(self, table: SpokenTable, folder: Path) -> None:
        self._places = table.words
        self._logits = table.logits
        self._rate_hz = table.rate_hz
        self.frames = table.frames
        self._said = _truth(folder / table.truth)
        at = np.arange(1, table.frames + 1) / table.rate_hz
        truth = {word: np.zeros(table.frames) for word in table.words}
        for begin, end, word in self._said:
            if word in truth:
                truth[word][(begin <= at) & (at <= end)] = self.high
        self.tracks = {word: Track(word, table.frames, truth[word]) for word in table.words}

    def values(self, output: Output, level: str, score: int) -> list[tuple[str, float, str]]:  # noqa: ARG002 - all are
        """Return every word's track; a level stands on the one that it is of."""
        shares = output.values.astype(np.float64)
        if self._logits:
            weights = np.exp(shares - shares.max())
            shares = weights / weights.sum()
        return [
            (word, self.high * float(shares[place]), level if level == word else "ok")
            for word, place in self._places.items()
        ]

    def track(self, event: Event) -> str:
        """Return the word."""
        return str(event.evidence["class"])

    def sentence(self, event: Event) -> str:
        """Return an event as a person says it: 'heard "yes", 93 % sure'."""
        return "" if event.kind == "cleared" else f'heard "{event.level}", {self.high * event.score:.0f} % sure'

    def numbers(self, track: Track) -> tuple[str, str]:
        """Return how likely the word is now, and how often it was told."""
        return f"{track.values[-1]:.0f}" if track.values else "–", f"{len(track.news)}"

    def caption(self, track: Track) -> str:
        """Return how often the word was said and told."""
        found, wrong = self._found(track)
        return f"said {len(self._times(track.name))}, found {found}" + (f", wrongly told {wrong}" if wrong else "")

    def score(self, tracks: Iterable[Track]) -> Score:
        """Return how many of the words that were said were told, and how many were told that were not said."""
        tracks = list(tracks)
        said = sum(len(self._times(track.name)) for track in tracks)
        found, wrong = (sum(column) for column in zip(*(self._found(track) for track in tracks), strict=True))
        return Score(
            {"said": said, "found": found, "wrong": wrong},
            (f"{found} of {said}", "words found", f"{wrong} told that were not said"),
        )

    def section(self, tracks: Iterable[Track]) -> str:
        """Return what was said and told of each word, as a table."""
        rows = "".join(
            f"<tr><td>{escape(track.name)}</td><td>{len(self._times(track.name))}</td><td>{found}</td><td>{wrong}</td>"
            "<td></td><td></td></tr>"
            for track in tracks
            for found, wrong in [self._found(track)]
        )
        head = "".join(f"<th>{text}</th>" for text in ("word", "said", "found", "told wrongly", "", ""))
        return (
            f'<h2>Word by word</h2>\n<table class="numbers">\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>{rows}</tbody>\n</table>"
        )

    def _times(self, word: str) -> list[tuple[float, float]]:
        return [(begin, end) for begin, end, one in self._said if one == word]

    def _found(self, track: Track) -> tuple[int, int]:
        """Return how many of a word's occurrences were told, each once, and how often it was told besides."""
        open_, found = self._times(track.name), 0
        for news in track.news:
            at = (news.index + 1) / self._rate_hz
            meant = [(begin, end) for begin, end in open_ if begin <= at <= end + LATEST_S]
            if meant:
                open_.remove(meant[0])
                found += 1
        return found, len(track.news) - found


def _truth(path: Path) -> list[tuple[float, float, str]]:
    """Read the truth: columns begin, end, word."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [(float(row["begin"]), float(row["end"]), row["word"]) for row in rows]
    except (OSError, KeyError, ValueError) as cause:
        raise SourceError(f"{path}: must be a CSV file with the columns begin, end, word ({cause}).") from cause
