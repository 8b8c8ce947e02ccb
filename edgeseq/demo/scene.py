"""What a demo shows: zoo/<name>/demo.toml, with the pipeline, the truth to hold it against, and the words."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import msgspec

import edgeseq
from edgeseq import tables
from edgeseq.demo.watch import Track
from edgeseq.errors import ConfigError, SourceError

FILE = "demo.toml"


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """demo.toml. Paths are relative to it."""

    title: str
    about: str
    source: str
    """Whose data it is: one line of credit."""
    pipeline: str
    truth: str
    """A CSV file: stream, frames, and the true value at the last frame."""
    thing: str
    things: str
    step: str
    """What one frame is called: a cycle."""
    unit: str
    cap: float
    """The model was trained on targets of at most this."""


@dataclass(frozen=True)
class Scene:
    """A demo as read. tracks: stream -> what is known of it beforehand."""

    name: str
    title: str
    about: str
    source: str
    pipeline: Path
    thing: str
    things: str
    step: str
    unit: str
    cap: float
    tracks: dict[str, Track]

    @property
    def frames(self) -> int:
        """How many frames all streams have together."""
        return sum(track.frames for track in self.tracks.values())


def known() -> list[str]:
    """Return the names of the demos there are."""
    return sorted(path.parent.name for path in _zoo().glob(f"*/{FILE}"))


def read(name: str) -> Scene:
    """Read a demo by name. Raises ConfigError that offers the right name, SourceError for a damaged truth file."""
    folder = _zoo() / name
    if name not in known():
        raise ConfigError(f"there is no demo '{name}'. {tables.suggest(name, known())}")
    document = tables.read(folder / FILE)
    table = tables.convert(document, document.table, _Table)
    return Scene(
        name=name,
        title=table.title,
        about=table.about,
        source=table.source,
        pipeline=folder / table.pipeline,
        thing=table.thing,
        things=table.things,
        step=table.step,
        unit=table.unit,
        cap=table.cap,
        tracks=_truth(folder / table.truth),
    )


def _zoo() -> Path:
    """Return where the reference models lie: beside the runtime, in a checkout as in an installation."""
    return Path(edgeseq.__file__).resolve().parents[1] / "zoo"


def _truth(path: Path) -> dict[str, Track]:
    """Read the truth: columns stream, frames, rul."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {row["stream"]: Track(row["stream"], int(row["frames"]), float(row["rul"])) for row in rows}
    except (OSError, KeyError, ValueError) as cause:
        raise SourceError(f"{path}: must be a CSV file with the columns stream, frames, rul ({cause}).") from cause
