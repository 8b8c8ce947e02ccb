"""The segments in a folder: which events they hold, who is owed them, and how room is made. For one thread at a time.

The folder holds `lock` and the segments, whose names begin with the lowest id in them. Only the newest is written to;
one that was not closed properly is never written to again, so that nothing stands behind a torn record.
"""

from __future__ import annotations

import fcntl
import logging
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeseq.errors import SinkError
from edgeseq.outbox.disk import sync_folder, write
from edgeseq.outbox.record import VERSION, Ack, Damage, Head, Latest, Put, Record, encode, scan
from edgeseq.outbox.segment import Segment, Tally, fingerprint

MAX_SEGMENT_BYTES = 4 << 20
MAX_KEYS = 4096
"""Of how many keys the latest state is kept; beyond it that of the key longest silent is let go."""
FINGERPRINTS = 1 << 24
HISTORY = 8
"""So many segments that nobody is owed are kept, up to an eighth of max_bytes: their event ids are still known."""
SAID = 10
"""Damaged places told one by one; of more, only how many."""

log = logging.getLogger(__name__)


class Store:
    """What is in the folder. Raises SinkError where it cannot be used, or another process uses it.

    events: how many are owed to anybody. size: bytes of all segments. dropped: "full", "expired" and "damaged" events.
    damage: bytes that were no records when the folder was read, by segment.
    """

    def __init__(self, folder: Path, sinks: Sequence[str], max_bytes: int) -> None:
        self.folder, self.sinks, self.max_bytes = folder, tuple(sinks), max_bytes
        self.segment_bytes = min(MAX_SEGMENT_BYTES, max_bytes // 16)
        self.mask = (1 << len(sinks)) - 1
        self.segments: list[Segment] = []
        self.latest: dict[str, Latest] = {}
        self.dropped: Counter[str] = Counter()
        self.damage: dict[str, list[Damage]] = {}
        self.next_id = 1
        self._tally = Tally()
        # A bit for each fingerprint of an event_id that was ever noted: most are answered by it at once.
        self._noted = bytearray(FINGERPRINTS // 8)
        self._active: Segment | None = None
        self._file = -1
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            # The folder's own name must be durable, too.
            sync_folder(folder.parent)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take_lock()
            self._load()
        except OSError as cause:
            raise SinkError(
                f"the outbox {folder} cannot be used: {cause.strerror or cause}. Set [outbox] path to a folder that "
                "this user may write to."
            ) from cause

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            os.close(self._lock)
            raise SinkError(
                f"the outbox {self.folder} is in use by another process. Stop that one, or give each pipeline a path "
                "of its own in [outbox]."
            ) from cause

    def close(self) -> None:
        """Let the folder go."""
        self._seal()
        os.close(self._lock)

    @property
    def events(self) -> int:
        """How many events are owed to anybody."""
        return self._tally.events

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    def bit(self, sink: str) -> int:
        """Return a sink's bit. Raises ValueError for one that the outbox was not opened for."""
        if sink not in self.sinks:
            raise ValueError(f"the outbox is open for {', '.join(self.sinks)}, not for '{sink}'")
        return 1 << self.sinks.index(sink)

    def find(self, number: int) -> tuple[Segment, int] | None:
        """Return where an event is noted, by its id."""
        behind = bisect_right(self.segments, number, key=lambda segment: segment.first)
        if not behind:
            return None
        place = self.segments[behind - 1].position(number)
        return None if place is None else (self.segments[behind - 1], place)

    def known(self, event_id: str, key: str) -> int | None:
        """Return the id of the event that was put under this event_id, of a stream that has not ended since."""
        hashed = fingerprint(event_id)
        byte, bit = divmod(hashed % FINGERPRINTS, 8)
        for segment in reversed(self.segments) if self._noted[byte] >> bit & 1 else ():
            places = segment.alike(hashed)
            for _, event in segment.events(places) if len(places) else ():
                if event and event.event_id == event_id and event.id > self._ended(event.key):
                    return event.id
        latest = self.latest.get(key)
        return latest.id if latest is not None and latest.event_id == event_id else None

    def _ended(self, key: str) -> int:
        return self.latest[key].ended if key in self.latest else 0

    def keep(self, latest: Latest) -> None:
        """Note what a key stands at; what is newer stays."""
        if latest.key in self.latest and self.latest[latest.key].id > latest.id:
            return
        self.latest.pop(latest.key, None)
        self.latest[latest.key] = latest
        if len(self.latest) > MAX_KEYS:
            del self.latest[next(iter(self.latest))]

    def note(self, segment: Segment, event: Put, offset: int) -> None:
        """Take up an event that stands in the log."""
        segment.add(event, offset)
        byte, bit = divmod(fingerprint(event.event_id) % FINGERPRINTS, 8)
        self._noted[byte] |= 1 << bit
        if event.state is not None:
            self.keep(Latest(event.id, event.key, event.event_id, event.state, self._ended(event.key)))

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
            self._active = Segment.new(self.folder, self._next(), self.mask, self._tally)
        if self._active.size:
            return self._active, b""
        return self._active, encode(Head(VERSION, list(self.sinks)), self._active.sync)

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
            self.segments.append(segment)
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

    def victim(self, severity: int) -> tuple[Segment, int] | None:
        """Return the oldest event of the lowest severity there is, if that is not above `severity`."""
        lowest = min((least for segment in self.segments for least in segment.live), default=severity + 1)
        if lowest > severity:
            return None
        segment = next(segment for segment in self.segments if segment.live[lowest])
        return segment, int(segment.of_severity(lowest)[0])

    def expired(self, before_ns: int) -> Iterator[tuple[Segment, int]]:
        """Yield the events of segments in which all are older than that."""
        for segment in self.segments:
            if segment.live and segment.newest_ns < before_ns:
                yield from ((segment, place) for place in range(len(segment)) if segment.owed_to(place))

    def room_for(self, count: int, severity: int, *, numbered: bool) -> bool:
        """See that so many bytes more stay within max_bytes, with room to rewrite a segment. Raises OSError.

        What nobody is owed goes first; then, a segment's worth at a time, the oldest events of the lowest severity.
        numbered: events have ids for the segment that is being written, so that no other may take its place now.
        """
        limit = self.max_bytes - self.segment_bytes - count
        if self.size <= limit:
            return True
        for segment in [segment for segment in self.segments if 2 * segment.live.total() <= len(segment)]:
            if self.size > limit and segment is not self._active:
                self._shrink(segment)
        while self.size > limit:
            found = self.victim(severity)
            if found is None:
                return False
            segment, _ = found
            if segment is self._active:
                if numbered:
                    return False
                self._seal()
            lowest = min(segment.live)
            settled = [(place, segment.settle(place, self.mask)) for place in segment.of_severity(lowest).tolist()]
            try:
                self._shrink(segment)
            except OSError:
                for place, bits in settled:
                    segment.owe(place, bits)
                raise
            self.dropped["full"] += len(settled)
            log.warning("the outbox is full: its %d oldest events of severity %d were dropped", len(settled), lowest)
        return True

    def _tidy(self) -> None:
        """Remove what nobody is owed, but for the newest of it."""
        kept, used = 0, 0
        for segment in reversed([segment for segment in self.segments if not segment.live]):
            kept, used = kept + 1, used + segment.size
            if kept > HISTORY or used > self.max_bytes // 8 or self.size > self.max_bytes - self.segment_bytes:
                try:
                    self._shrink(segment)
                except OSError as cause:
                    log.warning("%s could not be removed: %s", segment.path.name, cause)

    def _shrink(self, segment: Segment) -> None:
        """Rewrite a segment without what nobody needs any more, or remove it. Raises OSError; then it is as it was."""
        slim = Segment(segment.path, segment.first, segment.sync, segment.mask, Tally())
        data = bytearray(encode(Head(VERSION, self._names(segment.mask)), segment.sync))
        empty = len(data)
        for record in self._needed(segment):
            if isinstance(record, Put):
                slim.add(record, len(data))
                place = segment.position(record.id)
                slim.settle(len(slim) - 1, slim.mask & ~segment.owed_to(place or 0))
            data += encode(record, segment.sync)
        if len(data) == empty:
            segment.path.unlink()
            self.segments.remove(segment)
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
            slim.tally = self._tally
            self.segments[self.segments.index(segment)] = slim
        # In this order on the disk, too: an acknowledgement that is left out next needs its event to be gone.
        sync_folder(self.folder)

    def _needed(self, segment: Segment) -> Iterator[Record]:
        """Yield what must outlive a segment: events still owed, latest states, and what was settled elsewhere."""
        for found in scan(segment.path.read_bytes(), segment.sync):
            record = None if isinstance(found, Damage) else found[1]
            if isinstance(record, Put):
                place = segment.position(record.id)
                latest = self.latest.get(record.key)
                if place is not None and segment.owed_to(place):
                    yield record
                elif latest is not None and latest.id == record.id and record.state is not None:
                    yield latest
            elif isinstance(record, Latest):
                latest = self.latest.get(record.key)
                if latest is not None and (record == latest or (record.ended and record.ended == latest.ended)):
                    yield record
            elif isinstance(record, Ack):
                ids = [number for number in record.ids if self._outlives(number, segment)]
                if ids:
                    yield Ack(ids, record.sink)

    def _outlives(self, number: int, segment: Segment) -> bool:
        found = self.find(number)
        return found is not None and (found[0] is not segment or bool(segment.owed_to(found[1])))

    def _names(self, mask: int) -> list[str]:
        return [name for place, name in enumerate(self.sinks) if mask >> place & 1]

    # Reading what is there.

    def _load(self) -> None:
        for path in self.folder.glob("*.new"):
            path.unlink()
        for path in sorted(self.folder.glob("*.log")):
            segment = Segment.at(path, self.mask, self._tally)
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
            self.segments.append(segment)
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
                    self.note(segment, record, offset)
                case Ack():
                    self._skip(*record.ids)
                    self._settle(record)
                case Latest():
                    self._skip(record.id)
                    self.keep(record)

    def _skip(self, *ids: int) -> None:
        self.next_id = max(self.next_id, *(number + 1 for number in ids))

    def _check(self, head: Head, segment: Segment) -> None:
        if head.version != VERSION:
            raise SinkError(
                f"{segment.path} is of version {head.version} of the outbox, this edgeseq knows {VERSION}. Update "
                "edgeseq, or move the folder away; its undelivered events stay in it."
            )
        segment.mask = sum(self.bit(sink) for sink in set(head.sinks) & set(self.sinks))

    def _settle(self, ack: Ack) -> None:
        if ack.sink is not None and ack.sink not in self.sinks:
            return
        bits = self.mask if ack.sink is None else self.bit(ack.sink)
        for segment, place in filter(None, map(self.find, ack.ids)):
            segment.settle(place, bits)

    def _tell(self) -> None:
        """Say what was damaged."""
        places = [(segment, damage) for segment in self.segments for damage in self.damage.get(segment.path.name, ())]
        for segment, damage in places[:SAID]:
            log.warning(
                "the outbox lost %d bytes of %s, from byte %d on: %s",
                damage.length,
                segment.path.name,
                damage.offset,
                "the last write was cut short, or is damaged"
                if damage.offset + damage.length == segment.size
                else "they are damaged; all around is whole",
            )
        if len(places) > SAID:
            log.warning("the outbox is damaged at %d more places", len(places) - SAID)
