"""Which events there are, who is owed them, and what each key stands at: all of it in memory, no file is written here.

Of one thread at a time.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from edgeseq.outbox.record import Ack, Latest, Put
from edgeseq.outbox.segment import Segment, Tally, fingerprint

MAX_KEYS = 4096
"""Of how many keys the latest state is kept; beyond it that of the key longest silent is let go."""
FINGERPRINTS = 1 << 24

log = logging.getLogger(__name__)


class Index:
    """The segments in order, and the latest of each key. sinks: by name; each has a bit, all of them are the mask."""

    def __init__(self, sinks: Sequence[str]) -> None:
        self.sinks, self.mask = tuple(sinks), (1 << len(sinks)) - 1
        self.segments: list[Segment] = []
        self.latest: dict[str, Latest] = {}
        self.tally = Tally()
        # A bit for each fingerprint of an event_id that was ever noted: most are answered by it at once.
        self._noted = bytearray(FINGERPRINTS // 8)

    @property
    def events(self) -> int:
        """How many events are owed to anybody."""
        return self.tally.events

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    def bit(self, sink: str) -> int:
        """Return a sink's bit. Raises ValueError for one that the outbox was not opened for."""
        if sink not in self.sinks:
            raise ValueError(f"the outbox is open for {', '.join(self.sinks)}, not for '{sink}'")
        return 1 << self.sinks.index(sink)

    def pending(self, sink: str) -> int:
        """Return how many events a sink is owed."""
        bit = self.bit(sink)
        return sum(len(segment.owed(bit, 0, segment.last)) for segment in self.segments if segment.live)

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
            try:
                for _, event in segment.events(places) if len(places) else ():
                    if event and event.event_id == event_id and event.id > self._ended(event.key):
                        return event.id
            except OSError as cause:
                # An event that comes twice is one too many; one that does not come is lost.
                log.warning("%s cannot be read: whether %s was told is not known: %s", segment.path, event_id, cause)
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

    def settle(self, ack: Ack) -> None:
        """Take up an acknowledgement; one of a sink that is gone says nothing any more."""
        if ack.sink is not None and ack.sink not in self.sinks:
            return
        bits = self.mask if ack.sink is None else self.bit(ack.sink)
        for segment, place in filter(None, map(self.find, ack.ids)):
            segment.settle(place, bits)

    def names(self, mask: int) -> list[str]:
        """Return the sinks of a mask."""
        return [name for place, name in enumerate(self.sinks) if mask >> place & 1]
