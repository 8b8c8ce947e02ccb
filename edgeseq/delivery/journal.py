"""Writes events to the outbox, off the hot loop: behind a bounded queue, all that wait with one sync."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from edgeseq.delivery.worker import Worker
from edgeseq.errors import SinkError
from edgeseq.outbox import New, Outbox, OutboxFull
from edgeseq.pipeline.snapshot import Told
from edgeseq.sinks import _payload
from edgeseq.types import About, Event

MAX_QUEUED = 1000
"""Events between the hot loop and the disk."""
MAX_STREAMS = 4096
"""Of so many streams, those heard last, it is known what they stand at."""
MAX_SEVERITY = 255
ALIVE_S = 1.0
"""Who waits for the thread looks this often whether it is there."""

log = logging.getLogger(__name__)


class _Stands(msgspec.Struct, omit_defaults=True):
    """What is kept of a stream with each of its events: its number, and `Event.state` of this one and those before."""

    number: int = 0
    decider: dict[str, Any] | None = None
    last_ns: int = 0
    silent_ns: int | None = None


class Journal(Worker):
    """A thread that puts what it is left with into the outbox, in order. written: called when something is there.

    dropped: "queue_full" events that came faster than the disk takes them; "not_text", of streams whose name is none.
    """

    def __init__(self, outbox: Outbox, about: About, written: Callable[[], None]) -> None:
        super().__init__("journal")
        self.dropped: Counter[str] = Counter()
        self._outbox, self._about, self._tell = outbox, about, written
        # Guards queue, counts and flags.
        self._changed = threading.Condition()
        self._queue: deque[Event | str] = deque()
        self._missed: Counter[str] = Counter()
        self._taken = self._written = 0
        self._closing = False
        self._stands = {stream: _decoded(stream, state) for stream, state in outbox.states().items()}

    @property
    def waiting(self) -> int:
        """How many are queued."""
        return len(self._queue)

    def told(self) -> Mapping[str, Told]:
        """Return what each stream stood at with its last event; before the first is left here."""
        return {stream: Told(each.decider, each.last_ns, each.silent_ns) for stream, each in self._stands.items()}

    def leave(self, item: Event | str) -> None:
        """Leave an event, or the name of a stream that has ended; never waits."""
        with self._changed:
            if isinstance(item, Event) and len(self._queue) >= MAX_QUEUED:
                self.dropped["queue_full"] += 1
                self._missed[item.stream] += 1
                return
            self._taken += 1
            self._queue.append(item)
            self._changed.notify_all()

    def flush(self) -> None:
        """Return when all that was left so far is durable or counted as dropped. Raises SinkError where it never is."""
        with self._changed:
            taken = self._taken
            while self._written < taken:
                if not self.is_alive():
                    raise SinkError("the thread that writes events to the outbox has ended; the log says why.")
                self._changed.wait(ALIVE_S)

    def close(self) -> None:
        """Write what is queued, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.join()

    def work(self) -> None:
        """Write until closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                items, missed = list(self._queue), self._missed
                self._queue.clear()
                self._missed = Counter()
            if not items:
                return
            # An event that was not even queued has its number all the same, so that subscribers see what they miss.
            for stream, count in missed.items():
                self._stand(stream).number += count
            self._put(items)
            with self._changed:
                self._written += len(items)
                self._changed.notify_all()
            self._tell()

    def _put(self, items: Sequence[Event | str]) -> None:
        """Put events, and note the ends of streams, as many of a kind as stand together with one sync."""
        for ends, group in itertools.groupby(items, key=lambda item: isinstance(item, str)):
            try:
                if ends:
                    self._end([item for item in group if isinstance(item, str)])
                else:
                    self._events([item for item in group if isinstance(item, Event)])
            except OutboxFull as cause:
                log.error("the end of streams was not noted: %s", cause)  # noqa: TRY400 - a sentence

    def _events(self, events: Sequence[Event]) -> None:
        # One that is there already, or comes twice, takes no number.
        news: dict[str, New] = {}
        for event in events:
            if event.event_id in news or self._outbox.known(event.event_id, event.stream):
                log.info("event %s was told before", event.event_id)
                continue
            try:
                news[event.event_id] = self._new(event)
            except UnicodeError as cause:
                self.dropped["not_text"] += 1
                log.error("an event of stream %r cannot be sent: %s", event.stream, cause)  # noqa: TRY400 - a sentence
        refused = [result for result in self._outbox.put_all(news.values()) if isinstance(result, OutboxFull)]
        if refused:
            log.error("%d events are lost: %s", len(refused), refused[0])

    def _new(self, event: Event) -> New:
        stands = self._stand(event.stream)
        stands.number += 1
        for name, value in event.state.items():
            setattr(stands, name, value)
        payload = _payload.encode(_payload.event(self._about, event, stands.number))
        state = msgspec.json.encode(stands)
        return New(payload, event.stream, max(0, min(event.severity, MAX_SEVERITY)), event.event_id, state)

    def _end(self, streams: Sequence[str]) -> None:
        ended = {stream: _Stands(self._stands[stream].number) for stream in streams if stream in self._stands}
        self._stands.update(ended)
        self._outbox.end({stream: msgspec.json.encode(stands) for stream, stands in ended.items()})

    def _stand(self, stream: str) -> _Stands:
        stands = self._stands.pop(stream, None) or _Stands()
        self._stands[stream] = stands
        if len(self._stands) > MAX_STREAMS:
            del self._stands[next(iter(self._stands))]
        return stands


def _decoded(stream: str, state: bytes) -> _Stands:
    """Return what a stream stood at; a state of another version of edgeseq is told and left."""
    try:
        return msgspec.json.decode(state, type=_Stands)
    except msgspec.MsgspecError as cause:
        log.warning("what stream '%s' stood at is not understood: %s", stream, cause)
        return _Stands()
