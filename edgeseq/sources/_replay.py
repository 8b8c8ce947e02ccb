"""A file taken up again where it was left: the same file gives the same chunks, so they are counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgeseq.errors import StateError
from edgeseq.sources._pace import Pace
from edgeseq.states import plain
from edgeseq.types import Chunk, Plain


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """How many chunks were given, of a file of how many bytes, whose first sample has what time."""

    chunks: int
    bytes: int
    start_ns: int


class Replay:
    """Marks each chunk with where the source then stands, and goes back there.

    What was given before is read once more, as fast as it goes, and left out: all that a reader remembers, such as the
    last good values of each stream and what was dropped, is then as it was. path: None for what is not read twice.
    start_ns: time of the first sample; what "now" was stays so.
    """

    def __init__(self, path: Path | None, start_ns: int, pace: Pace) -> None:
        self._path, self._pace = path, pace
        self.start_ns = start_ns
        self._given = 0

    def marked(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Yield those of all chunks that were not given before, each with its state."""
        size = _size(self._path) if self._path else 0
        self._pace.hurried = self._given > 0
        for number, chunk in enumerate(chunks, start=1):
            # It holds for the chunk that comes next.
            self._pace.hurried = number < self._given
            if self._path is None:
                yield chunk
            elif number > self._given:
                yield dataclasses.replace(chunk, state={"chunks": number, "bytes": size, "start_ns": self.start_ns})

    def set_state(self, state: Plain) -> None:
        """Begin behind the chunk that had this state. Raises StateError where the file is another by now."""
        if self._path is None:
            raise StateError("standard input is not read twice.")
        held, size = plain(state, _State), _size(self._path)
        if held.bytes != size:
            raise StateError(f"{self._path} has {size:,} bytes and had {held.bytes:,}: it is another file.")
        self._given, self.start_ns = held.chunks, held.start_ns


def _size(path: Path) -> int:
    """Return a file's bytes, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0
