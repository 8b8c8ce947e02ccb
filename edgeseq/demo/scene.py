"""What a demo shows: zoo/<name>/demo.toml, with the pipeline, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

import edgeseq
from edgeseq import tables
from edgeseq.demo.life import Life, LifeTable
from edgeseq.demo.spoken import Spoken, SpokenTable
from edgeseq.demo.story import Story, Track
from edgeseq.errors import ConfigError

FILE = "demo.toml"


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """demo.toml. Paths are relative to it."""

    title: str
    about: str
    source: str
    """Whose data it is: one line of credit."""
    pipeline: str
    life: LifeTable | None = None
    spoken: SpokenTable | None = None
    """One of the two: what kind of demo it is."""


@dataclass(frozen=True)
class Scene:
    """A demo as read."""

    name: str
    title: str
    about: str
    source: str
    pipeline: Path
    story: Story

    @property
    def tracks(self) -> dict[str, Track]:
        """Name -> what is known of a track beforehand."""
        return self.story.tracks

    @property
    def frames(self) -> int:
        """How many frames all streams have together."""
        return self.story.frames


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
        story=_story(document, table, folder),
    )


def _story(document: tables.Document, table: _Table, folder: Path) -> Story:
    if table.life is not None and table.spoken is None:
        return Life(table.life, folder)
    if table.spoken is not None and table.life is None:
        return Spoken(table.spoken, folder)
    raise document.fail("a demo is told by one of the tables [life] and [spoken].")


def _zoo() -> Path:
    """Return where the reference models lie: beside the runtime, in a checkout as in an installation."""
    return Path(edgeseq.__file__).resolve().parents[1] / "zoo"
