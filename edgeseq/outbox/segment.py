"""One file of the log, and what memory knows of the events in it: 10 to 14 bytes each, for backlogs may be long."""

from __future__ import annotations

import os
import re
import secrets
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseq.outbox.record import OVERHEAD, SYNC_BYTES, Put, decode

MAX_SINKS = 8
"""A bit each in a byte."""
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.log")


class Tally:
    """How many events are owed to anybody, in all segments together."""

    events = 0


class Segment:
    """A file of records, ids ascending. Who is owed what lives here; what it means is the outbox's to know.

    first: a number below the id of every event in it and above those before. sync: what its records begin with. mask:
    the sinks that its events are for, a bit each. live: how many events are owed to anybody, by severity. newest_ns:
    when its newest event was put.
    """

    def __init__(self, path: Path, first: int, sync: bytes, mask: int, tally: Tally) -> None:
        self.path, self.first, self.sync, self.mask, self.tally = path, first, sync, mask, tally
        self.size = 0
        self.newest_ns = 0
        self.live: Counter[int] = Counter()
        # Ids count from `first`.
        self._ids: array[int] | range = array("I")
        self._offsets, self._hashes = array("I"), array("I")
        self._owed, self._severities = bytearray(), bytearray()

    @classmethod
    def new(cls, folder: Path, first: int, mask: int, tally: Tally) -> Segment:
        """Return a segment whose file does not exist yet."""
        sync = secrets.token_bytes(SYNC_BYTES)
        return cls(folder / f"{first:016x}-{sync.hex()}.log", first, sync, mask, tally)

    @classmethod
    def at(cls, path: Path, mask: int, tally: Tally) -> Segment | None:
        """Return the segment of a file, still empty; None where the file is none."""
        found = _NAME.fullmatch(path.name)
        return cls(path, int(found[1], 16), bytes.fromhex(found[2]), mask, tally) if found else None

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, event: Put, offset: int) -> None:
        """Note an event that stands at `offset`, owed to all sinks of the segment."""
        if isinstance(self._ids, range):
            self._ids = array("I", self._ids)
        self._ids.append(event.id - self.first)
        self._offsets.append(offset)
        self._hashes.append(fingerprint(event.event_id))
        self._owed.append(self.mask)
        self._severities.append(event.severity)
        self.newest_ns = max(self.newest_ns, event.at_ns)
        if self.mask:
            self._count(len(self._ids) - 1, 1)

    def seal(self) -> None:
        """Give back what is held in reserve for more events."""
        ids = self._ids
        if ids and ids[-1] - ids[0] == len(ids) - 1:
            self._ids = range(ids[0], ids[-1] + 1)
        self._offsets, self._hashes = self._offsets[:], self._hashes[:]
        self._owed, self._severities = bytearray(self._owed), bytearray(self._severities)

    def position(self, number: int) -> int | None:
        """Return where in the columns an event stands."""
        place = bisect_left(self._ids, number - self.first)
        return place if place < len(self._ids) and self.id_at(place) == number else None

    def settle(self, place: int, bits: int) -> int:
        """Owe an event to these sinks no more; return those bits of which that is news."""
        before = self._owed[place]
        self._owed[place] = before & ~bits
        if before and not self._owed[place]:
            self._count(place, -1)
        return before & bits

    def owe(self, place: int, bits: int) -> None:
        """Take a `settle` back."""
        if bits and not self._owed[place]:
            self._count(place, 1)
        self._owed[place] |= bits

    def _count(self, place: int, change: int) -> None:
        severity = self._severities[place]
        self.tally.events += change
        self.live[severity] += change
        if not self.live[severity]:
            del self.live[severity]

    def id_at(self, place: int) -> int:
        """Return the id of an event by its place."""
        return self.first + self._ids[place]

    @property
    def last(self) -> int:
        """The highest id in it, or `first`."""
        return self.id_at(-1) if self._ids else self.first

    def owed(self, bit: int, after: int, upto: int) -> NDArray[np.intp]:
        """Return the places of the events that a sink is owed, in order, of those with after < id <= upto."""
        begin, end = bisect_right(self._ids, after - self.first), bisect_right(self._ids, upto - self.first)
        return begin + np.flatnonzero(np.frombuffer(self._owed, np.uint8)[begin:end] & bit)

    def owed_to(self, place: int) -> int:
        """Return the bits of the sinks that an event is owed to."""
        return self._owed[place]

    def of_severity(self, severity: int) -> NDArray[np.intp]:
        """Return the places of the events of a severity that anybody is owed, in order."""
        owed = np.frombuffer(self._owed, np.uint8) != 0
        return np.flatnonzero(owed & (np.frombuffer(self._severities, np.uint8) == severity))

    def alike(self, hashed: int) -> NDArray[np.intp]:
        """Return the places of events whose event_id has this fingerprint."""
        return np.flatnonzero(np.frombuffer(self._hashes, np.uint32) == hashed)

    def events(self, places: Iterable[int]) -> Iterator[tuple[int, Put | None]]:
        """Read the events at these places; None for one that is damaged. Raises OSError."""
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for place in map(int, places):
                offset = self._offsets[place]
                head = os.pread(file, OVERHEAD, offset)
                # A length that was flipped since must not ask for more than there is.
                length = min(int.from_bytes(head[SYNC_BYTES : SYNC_BYTES + 4], "little"), self.size)
                found = decode(head + os.pread(file, length, offset + OVERHEAD), 0, self.sync)
                yield place, found[0] if found and isinstance(found[0], Put) else None
        finally:
            os.close(file)


def fingerprint(event_id: str) -> int:
    """Return 32 bits of an event's id; that two have the same is settled by reading them."""
    return zlib.crc32(event_id.encode("utf-8", "surrogatepass"))
