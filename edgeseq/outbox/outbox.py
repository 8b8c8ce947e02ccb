"""Events in, durable when `put` returns; out to each sink, until it has acknowledged them.

Group commit: calls of several threads that come together share one write and one fdatasync. The first of them to find
the disk idle writes for all that wait by then; the others wait for it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from edgeseq.errors import ConfigError, SinkError
from edgeseq.outbox.record import Ack, Latest, Put, Record, encode
from edgeseq.outbox.segment import MAX_SINKS, Segment
from edgeseq.outbox.store import Store

MIN_BYTES = 4096
MAX_SEVERITY = 255
MOST = 1024
"""Calls in one write."""
ROOM = 128
"""Bytes of a record besides its key, event_id, state and payload, at most."""


class OutboxFull(SinkError):  # noqa: N818 - a state of things, as queue.Full is
    """No room for an event: the disk is full, or all that waits is more severe."""


@dataclass(frozen=True, slots=True)
class New:
    """An event to be put. payload: what sinks deliver. key: its stream. severity: 0 to 255, the lowest dropped first.

    event_id: the same event put twice is there once; None for one that is like no other. state: what the stream stands
    at from this event on; None as before.
    """

    payload: bytes
    key: str
    severity: int = 0
    event_id: str | None = None
    state: bytes | None = None


@dataclass(slots=True)
class _Call:
    """What a thread waits for. size: of an event, its bytes; result: its id. again: it must wait for the next write."""

    prepare: Callable[[_Call, _Batch], None]
    size: int = 0
    result: int = 0
    error: str = ""
    done: bool = False
    again: bool = False


@dataclass(slots=True)
class _Batch:
    """What one write brings: records, and for each what holds once it is durable."""

    records: list[tuple[Record, Callable[[Segment, int], None]]] = field(default_factory=list)
    size: int = 0
    added: dict[str, _Call] = field(default_factory=dict)
    settled: list[tuple[Segment, int, int]] = field(default_factory=list)
    settled_ids: list[int] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


class Outbox:
    """An append-only log in a folder, for one process; every method may be called from any thread.

    path: the folder; it is made. sinks: names of at most 8 to whom every event is owed; an event put before a sink had
    its name here is not owed to it. max_events: how many may be owed. max_bytes: of all files. max_age_s: events older
    than that, by the wall clock, are dropped, by whole segments (a sixteenth of max_bytes, at most 4 MiB); None: never.

    Where there are too many, the oldest of the lowest severity make room, of those no more severe than the new one:
    beyond max_events one by one, beyond max_bytes a segment's worth at a time.

    A damaged record costs itself; the log says where and how much. Raises SinkError where the folder cannot be used.
    """

    def __init__(
        self,
        path: Path | str,
        sinks: Sequence[str] = ("mqtt",),
        *,
        max_events: int = 1_000_000,
        max_bytes: int = 1 << 30,
        max_age_s: float | None = None,
    ) -> None:
        if max_events < 1 or max_bytes < MIN_BYTES:
            raise ConfigError(f"max_events must be at least 1, max_bytes at least {MIN_BYTES}.")
        if max_age_s is not None and not 0 < max_age_s < float("inf"):
            raise ConfigError("max_age_s must be above 0.")
        if len(sinks) > MAX_SINKS or len(set(sinks)) < len(sinks):
            raise ConfigError(f"an outbox serves up to {MAX_SINKS} sinks of different names.")
        self._max_events, self._max_age_s = max_events, max_age_s
        self._changed = threading.Condition()
        self._waiting: list[_Call] = []
        self._most = MOST
        self._leading = self._closed = False
        self._refused = self._syncs = 0
        self._store = Store(Path(path), sinks, max_bytes)

    def put(
        self,
        payload: bytes,
        *,
        key: str,
        severity: int = 0,
        event_id: str | None = None,
        state: bytes | None = None,
    ) -> int:
        """Keep an event; it is durable when this returns its id. Ids ascend in the order of the log.

        An event whose event_id is known is not put again: its id then is the first one's. Arguments: see New. Raises
        OutboxFull; the event then is not there, and never will be.
        """
        (result,) = self.put_all([New(payload, key, severity, event_id, state)])
        if isinstance(result, OutboxFull):
            raise result
        return result

    def put_all(self, events: Iterable[New]) -> list[int | OutboxFull]:
        """Keep several, with one fdatasync; return the id of each, or why it was refused."""
        calls = []
        for event in events:
            if not 0 <= event.severity <= MAX_SEVERITY:
                raise ValueError(f"severity must lie between 0 and {MAX_SEVERITY}, not {event.severity}")
            strings = len(event.key.encode()) + len((event.event_id or "").encode())
            size = ROOM + strings + len(event.state or b"") + len(event.payload)
            calls.append(_Call(partial(self._prepare_put, event), size))
        self._commit(calls)
        return [OutboxFull(call.error) if call.error else call.result for call in calls]

    def ack(self, ids: Iterable[int], sink: str) -> None:
        """Note that a sink has these events; durable when it returns, so that they are not delivered once more.

        Ids that it is not owed are passed over. Raises ValueError for an unknown sink, OutboxFull where the disk has no
        room for it: the events then are still pending.
        """
        bit, numbers = self._store.index.bit(sink), list(ids)
        call = _Call(partial(self._prepare_ack, numbers, bit, sink))
        self._commit([call])
        if call.error:
            raise OutboxFull(call.error)

    def end(self, states: Mapping[str, bytes]) -> None:
        """Note that streams have ended: what each stands at from here on; their event_ids are not known any more.

        Raises OutboxFull.
        """
        calls = [_Call(partial(self._prepare_end, key, state)) for key, state in states.items()]
        self._commit(calls)
        for call in calls:
            if call.error:
                raise OutboxFull(call.error)

    def pending(
        self, limit: int, sink: str, *, after: int = 0, upto: int | None = None
    ) -> list[tuple[int, str, bytes]]:
        """Return (id, key, payload) of events that a sink is owed, the oldest first, of those with after < id <= upto.

        Raises ValueError for an unknown sink, SinkError where the disk does not read.
        """
        bit = self._store.index.bit(sink)
        found: list[tuple[int, str, bytes]] = []
        with self._changed:
            self._expect_open()
            for segment in self._store.index.segments:
                if segment.last <= after or not segment.live or len(found) >= limit:
                    continue
                places = segment.owed(bit, after, segment.last if upto is None else upto)[: limit - len(found)]
                try:
                    for place, event in segment.events(places) if len(places) else ():
                        if event is None:
                            segment.settle(place, self._store.index.mask)
                            self._store.dropped["damaged"] += 1
                        else:
                            found.append((event.id, event.key, event.payload))
                except OSError as cause:
                    raise SinkError(f"the outbox cannot be read: {segment.path}: {cause.strerror}.") from cause
        return found

    def known(self, event_id: str, key: str) -> bool:
        """Return whether an event was put under this event_id, of a stream that has not ended since."""
        with self._changed:
            return self._store.index.known(event_id, key) is not None

    def states(self) -> dict[str, bytes]:
        """Return what each key stands at since its latest event that had a state."""
        with self._changed:
            return {key: latest.state for key, latest in self._store.index.latest.items()}

    @property
    def last_id(self) -> int:
        """The highest id given so far, or a higher one."""
        with self._changed:
            return self._store.next_id - 1

    @property
    def dropped(self) -> dict[str, int]:
        """What was dropped since the start, by reason; see `stats`. Never waits for the disk."""
        counts = self._store.dropped.copy()
        counts.update({"refused": self._refused} if self._refused else {})
        return dict(counts)

    def stats(self) -> dict[str, Any]:
        """Return counts.

        events: owed to anybody. pending: by sink. bytes, segments: on the disk. syncs: fdatasyncs of put and ack.
        dropped: since the start, "full" (made room for others), "refused" (OutboxFull), "expired", "damaged" (found so
        when read). damage: what the start found: places and bytes.
        """
        with self._changed:
            store, index = self._store, self._store.index
            damage = [found.length for places in store.damage.values() for found in places]
            return {
                "events": index.events,
                "pending": {sink: index.pending(sink) for sink in index.sinks},
                "bytes": index.size,
                "segments": len(index.segments),
                "syncs": self._syncs,
                "dropped": self.dropped,
                "damage": {"places": len(damage), "bytes": sum(damage)},
            }

    def close(self) -> None:
        """Let the folder go. What was put is there the next time. Later calls but this one raise ValueError."""
        with self._changed:
            self._changed.wait_for(lambda: not self._leading and not self._waiting)
            if not self._closed:
                self._closed = True
                self._store.close()

    def _expect_open(self) -> None:
        if self._closed:
            raise ValueError("the outbox is closed")

    # The group commit.

    def _commit(self, calls: Sequence[_Call]) -> None:
        """Return when all calls are durable or refused."""
        with self._changed:
            self._expect_open()
            self._waiting += calls
            while not all(call.done for call in calls):
                if self._leading:
                    self._changed.wait()
                else:
                    self._lead()

    def _lead(self) -> None:
        """Write for all that wait. The lock is let go while the disk works; `_leading` keeps others from writing."""
        calls, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        self._leading = True
        batch = _Batch()
        error, retry = "the write was given up", False
        try:
            self._expire(batch)
            for place, call in enumerate(calls):
                call.error, call.again = "", False
                call.prepare(call, batch)
                if call.again:
                    calls, self._waiting = calls[:place], calls[place:] + self._waiting
                    break
            self._write(batch)
            error = ""
        except OSError as cause:
            error = f"the outbox cannot be written: {cause.strerror or cause}. Make room on its disk, or mend it."
            # Where there is no room for all there may be for some, or there is when what was delivered is removed.
            retry = self._store.free() or len(calls) > 1
        finally:
            if error:
                for segment, place, bits in batch.settled:
                    segment.owe(place, bits)
            else:
                self._store.dropped.update(batch.dropped)
            self._most = max(1, len(calls) // 2) if error else min(MOST, 2 * self._most)
            if retry:
                calls, self._waiting = [], calls + self._waiting
            for call in calls:
                call.error, call.done = call.error or error, True
                self._refused += bool(call.error and call.size)
            self._leading = False
            self._changed.notify_all()

    def _write(self, batch: _Batch) -> None:
        """Append a batch's records and note what they mean. Raises OSError; then nothing has changed."""
        if batch.settled_ids:
            batch.records.append((Ack(batch.settled_ids, None), lambda _segment, _offset: None))
        if not batch.records:
            return
        segment, head = self._store.writable()
        data, offsets = bytearray(head), []
        for record, _ in batch.records:
            offsets.append(segment.size + len(data))
            data += encode(record, segment.sync)
        self._changed.release()
        try:
            self._store.append(segment, data)
        finally:
            self._changed.acquire()
        self._syncs += 1
        for (_, holds), offset in zip(batch.records, offsets, strict=True):
            holds(segment, offset)

    def _prepare_put(self, event: New, call: _Call, batch: _Batch) -> None:
        event_id = event.event_id or uuid.uuid4().hex
        twin = batch.added.get(event_id)
        known = twin.result if twin else event.event_id and self._store.index.known(event_id, event.key)
        if known:
            call.result = known
            return
        if not self._room(event, call, batch):
            return
        call.result = self._store.number()
        batch.size += call.size
        batch.added[event_id] = call
        put = Put(call.result, time.time_ns(), event.severity, event.key, event_id, event.state, event.payload)
        batch.records.append((put, lambda segment, offset: self._store.index.note(segment, put, offset)))

    def _room(self, event: New, call: _Call, batch: _Batch) -> bool:
        """Make room for an event, or say why there is none, or that it must wait for those before it."""
        if call.size > self._store.max_bytes // 4:
            call.error = f"an event of {call.size} bytes is too large for an outbox of {self._store.max_bytes}."
            return False
        while self._store.index.events + len(batch.added) >= self._max_events:
            found = self._store.index.victim(event.severity)
            if found is None:
                return self._no_room(call, batch)
            self._settle(batch, *found, "full")
        if not self._store.room_for(batch.size + call.size, event.severity, numbered=bool(batch.added)):
            return self._no_room(call, batch)
        return True

    def _no_room(self, call: _Call, batch: _Batch) -> bool:
        if batch.added:
            # Those before it may be what makes room, once they are there.
            call.again = True
        else:
            call.error = "the outbox is full, and all that waits in it is more severe. Raise max_events or max_bytes."
        return False

    def _settle(self, batch: _Batch, segment: Segment, place: int, reason: str) -> None:
        """Drop an event."""
        batch.settled.append((segment, place, segment.settle(place, self._store.index.mask)))
        batch.settled_ids.append(segment.id_at(place))
        batch.dropped[reason] = batch.dropped.get(reason, 0) + 1

    def _expire(self, batch: _Batch) -> None:
        if self._max_age_s is not None:
            for segment, place in self._store.index.expired(time.time_ns() - int(self._max_age_s * 1e9)):
                self._settle(batch, segment, place, "expired")

    def _prepare_ack(self, ids: Sequence[int], bit: int, sink: str, _call: _Call, batch: _Batch) -> None:
        owed = []
        for number in ids:
            found = self._store.index.find(number)
            if found is not None and found[0].owed_to(found[1]) & bit:
                owed.append(number)
        if owed:
            batch.records.append((Ack(owed, sink), lambda _segment, _offset: self._acked(owed, bit)))

    def _acked(self, ids: Sequence[int], bit: int) -> None:
        for number in ids:
            found = self._store.index.find(number)
            if found is not None:
                found[0].settle(found[1], bit)

    def _prepare_end(self, key: str, state: bytes, _call: _Call, batch: _Batch) -> None:
        number = self._store.number()
        latest = Latest(number, key, "", state, number)
        batch.records.append((latest, lambda _segment, _offset: self._store.index.keep(latest)))
