"""The files of the log: how they are read, written, and made smaller. For one thread at a time.

The folder holds `lock` and the segments, whose names begin with the lowest id in them. Only the newest is written to;
one that was not closed properly is never written to again, so that nothing stands behind a torn record.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeseq.errors import SinkError
from edgeseq.outbox.disk import make_folder, sync_folder, write
from edgeseq.outbox.index import Index
from edgeseq.outbox.record import VERSION, Ack, Damage, Head, Latest, Put, Record, encode, scan
from edgeseq.outbox.segment import Segment, Tally

MAX_SEGMENT_BYTES = 4 << 20
HISTORY = 64
"""So many segments that nobody is owed are kept, up to an eighth of max_bytes: their event ids are still known."""
SAID = 10
"""Damaged places told one by one; of more, only how many."""

log = logging.getLogger(__name__)


class Store:
    """What is in the folder, and the index of it. Raises SinkError where it cannot be used, or another process uses it.

    dropped: "full", "expired" and "damaged" events. damage: bytes that were no records when the folder was read, by
    segment.
    """

    def __init__(self, folder: Path, sinks: Sequence[str], max_bytes: int) -> None:
        self.folder, self.max_bytes, self.index = folder, max_bytes, Index(sinks)
        self.segment_bytes = min(MAX_SEGMENT_BYTES, max_bytes // 16)
        self.dropped: Counter[str] = Counter()
        self.damage: dict[str, list[Damage]] = {}
        self.next_id = 1
        self._active: Segment | None = None
        self._file = -1
        self._lock = -1
        try:
            make_folder(folder)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load()
        except BaseException as cause:
            if self._lock >= 0:
                os.close(self._lock)
            if isinstance(cause, BlockingIOError):
                raise SinkError(
                    f"the outbox {folder} is in use by another process. Stop that one, or give each pipeline a path of "
                    "its own in [outbox]."
                ) from cause
            if isinstance(cause, OSError):
                raise SinkError(
                    f"the outbox {folder} cannot be used: {cause.strerror or cause}. Set [outbox] path to a folder "
                    "that this user may write to."
                ) from cause
            raise

    def close(self) -> None:
        """Let the folder go."""
        self._seal()
        os.close(self._lock)

    def number(self) -> int:
        """Return an id that was never given, for the segment that is written next."""
        self.writable()
        return self._next()

    def _next(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    # Writing.

    def writable(self) -> tuple[Segment, bytes]:
        """Return the segment that is written next, and what must stand before the next record: nothing, or its head."""
        if self._active is not None and self._active.size >= self.segment_bytes:
            self._seal()
            self._tidy()
        if self._active is None:
            self._active = Segment.new(self.folder, self._next(), self.index.mask, self.index.tally)
        if self._active.size:
            return self._active, b""
        return self._active, encode(Head(VERSION, list(self.index.sinks)), self._active.sync)

    def append(self, segment: Segment, data: bytes | bytearray) -> None:
        """Write records to the segment that `writable` gave; they are durable afterwards. Raises OSError.

        After a failure none of them is there, and where the disk may have lost more than these, another segment is
        begun: after a failed sync nothing says what a second one would mean.
        """
        created = self._file < 0
        if created:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(segment.path, flags, 0o600)
        try:
            write(self._file, data)
            os.fdatasync(self._file)
            if created:
                # The records are safe only when the file's name is.
                sync_folder(self.folder)
        except OSError:
            self._give_up(segment)
            raise
        if created:
            self.index.segments.append(segment)
        segment.size += len(data)

    def _give_up(self, segment: Segment) -> None:
        """Take back what a failed write left, and write to this segment no more."""
        try:
            if segment.size:
                os.ftruncate(self._file, segment.size)
            else:
                segment.path.unlink()
        except OSError as cause:
            log.warning("the end of %s is left as a failed write left it: %s", segment.path.name, cause)
        self._seal()

    def _seal(self) -> None:
        if self._active is not None:
            self._active.seal()
        if self._file >= 0:
            os.close(self._file)
        self._file, self._active = -1, None

    # Making room.

    def room_for(self, count: int, severity: int, *, numbered: bool) -> bool:
        """See that so many bytes more stay within max_bytes, with room to rewrite a segment. Raises OSError.

        What nobody is owed goes first; then, a segment's worth at a time, the oldest events of the lowest severity.
        numbered: events have ids for the segment that is being written, so that no other may take its place now.
        """
        limit = self.max_bytes - self.segment_bytes - count
        if self.index.size <= limit:
            return True
        for segment in [segment for segment in self.index.segments if 2 * segment.live.total() <= len(segment)]:
            if self.index.size > limit and segment is not self._active:
                self._shrink(segment)
        while self.index.size > limit:
            found = self.index.victim(severity)
            if found is None:
                return False
            segment, _ = found
            if segment is self._active:
                if numbered:
                    return False
                self._seal()
            lowest = min(segment.live)
            places = segment.of_severity(lowest).tolist()
            settled = [(place, segment.settle(place, self.index.mask)) for place in places]
            try:
                self._shrink(segment)
            except OSError:
                for place, bits in settled:
                    segment.owe(place, bits)
                raise
            self.dropped["full"] += len(settled)
            log.warning("the outbox is full: its %d oldest events of severity %d were dropped", len(settled), lowest)
        return True

    def free(self) -> bool:
        """Remove all that nobody is owed, for a disk that is full; return whether that made room."""
        before = self.index.size
        self._remove([segment for segment in self.index.segments if not segment.live])
        return self.index.size < before

    def _tidy(self) -> None:
        """Remove what nobody is owed, but for the newest of it."""
        dead = [segment for segment in self.index.segments if not segment.live]
        kept, used = 0, 0
        for segment in reversed(dead):
            used += segment.size
            if kept == HISTORY or used > self.max_bytes // 8 or self.index.size > self.max_bytes - self.segment_bytes:
                break
            kept += 1
        self._remove(dead[: len(dead) - kept])

    def _remove(self, segments: Sequence[Segment]) -> None:
        # The oldest first: what settled their events stands behind them, and goes when they are gone.
        for segment in segments:
            if segment is self._active:
                continue
            try:
                self._shrink(segment)
            except OSError as cause:
                log.warning("%s could not be removed: %s", segment.path.name, cause)

    def _shrink(self, segment: Segment) -> None:
        """Rewrite a segment without what nobody needs any more, or remove it. Raises OSError; then it is as it was."""
        slim = Segment(segment.path, segment.first, segment.sync, segment.mask, Tally())
        data = bytearray(encode(Head(VERSION, self.index.names(segment.mask)), segment.sync))
        empty = len(data)
        for record in self._needed(segment):
            if isinstance(record, Put):
                slim.add(record, len(data))
                place = segment.position(record.id)
                slim.settle(len(slim) - 1, slim.mask & ~segment.owed_to(place or 0))
            data += encode(record, segment.sync)
        if len(data) == empty:
            segment.path.unlink()
            self.index.segments.remove(segment)
        elif len(data) < segment.size:
            slim.size = len(data)
            aside = segment.path.with_suffix(".new")
            file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                write(file, data)
                os.fdatasync(file)
            except OSError:
                aside.unlink()
                raise
            finally:
                os.close(file)
            aside.rename(segment.path)
            # The same events are owed as before.
            slim.tally = self.index.tally
            self.index.segments[self.index.segments.index(segment)] = slim
        # In this order on the disk, too: an acknowledgement that is left out next needs its event to be gone.
        sync_folder(self.folder)

    def _needed(self, segment: Segment) -> Iterator[Record]:
        """Yield what must outlive a segment: events still owed, latest states, and what was settled elsewhere."""
        for found in scan(segment.path.read_bytes(), segment.sync):
            record = None if isinstance(found, Damage) else found[1]
            if isinstance(record, Put):
                place = segment.position(record.id)
                latest = self.index.latest.get(record.key)
                if place is not None and segment.owed_to(place):
                    yield record
                elif latest is not None and latest.id == record.id and record.state is not None:
                    yield latest
            elif isinstance(record, Latest):
                latest = self.index.latest.get(record.key)
                if latest is not None and (record == latest or (record.ended and record.ended == latest.ended)):
                    yield record
            elif isinstance(record, Ack):
                ids = [number for number in record.ids if self._outlives(number, segment)]
                if ids:
                    yield Ack(ids, record.sink)

    def _outlives(self, number: int, segment: Segment) -> bool:
        found = self.index.find(number)
        return found is not None and (found[0] is not segment or bool(segment.owed_to(found[1])))

    # Reading what is there.

    def _load(self) -> None:
        for path in self.folder.glob("*.new"):
            path.unlink()
        for path in sorted(self.folder.glob("*.log")):
            segment = Segment.at(path, self.index.mask, self.index.tally)
            if segment is None:
                continue
            self._skip(segment.first)
            try:
                data = path.read_bytes()
            except PermissionError:
                raise
            except OSError as cause:
                # A disk that is going bad: what else is on it can still be saved.
                log.error("%s cannot be read, its events are lost: %s", path, cause)  # noqa: TRY400 - a sentence
                self.damage[path.name] = [Damage(0, path.stat().st_size)]
                continue
            self.index.segments.append(segment)
            self._read(segment, data)
            segment.seal()
        self._tell()
        self._tidy()

    def _read(self, segment: Segment, data: bytes) -> None:
        """Take up a segment's records."""
        segment.size = len(data)
        for found in scan(data, segment.sync):
            if isinstance(found, Damage):
                self.damage.setdefault(segment.path.name, []).append(found)
                continue
            offset, record = found
            match record:
                case Head():
                    self._check(record, segment)
                case Put():
                    self._skip(record.id)
                    self.index.note(segment, record, offset)
                case Ack():
                    self._skip(*record.ids)
                    self.index.settle(record)
                case Latest():
                    self._skip(record.id)
                    self.index.keep(record)
        damage = self.damage.get(segment.path.name)
        if damage and damage[-1].offset + damage[-1].length == len(data):
            # An end that is no record is cut off, so that it is told of once.
            segment.size = damage[-1].offset
            os.truncate(segment.path, segment.size)

    def _skip(self, *ids: int) -> None:
        self.next_id = max(self.next_id, *(number + 1 for number in ids))

    def _check(self, head: Head, segment: Segment) -> None:
        if head.version != VERSION:
            raise SinkError(
                f"{segment.path} is of version {head.version} of the outbox, this edgeseq knows {VERSION}. Update "
                "edgeseq, or move the folder away; its undelivered events stay in it."
            )
        segment.mask = sum(self.index.bit(sink) for sink in set(head.sinks) & set(self.index.sinks))

    def _tell(self) -> None:
        """Say what was damaged."""
        places = [
            (segment, damage) for segment in self.index.segments for damage in self.damage.get(segment.path.name, ())
        ]
        for segment, damage in places[:SAID]:
            log.warning(
                "the outbox lost %d bytes of %s, from byte %d on: %s",
                damage.length,
                segment.path.name,
                damage.offset,
                "the last write was cut short, or is damaged"
                if damage.offset == segment.size
                else "they are damaged; all around is whole",
            )
        if len(places) > SAID:
            log.warning("the outbox is damaged at %d more places", len(places) - SAID)
