"""The sink that no event is lost in: from the hot loop into the outbox, and out of it to the sinks behind."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from edgeseq.delivery.courier import Courier
from edgeseq.delivery.journal import Journal
from edgeseq.errors import SinkError
from edgeseq.outbox import Outbox
from edgeseq.pipeline.snapshot import Told
from edgeseq.sinks import _payload
from edgeseq.types import About, Delivering, Event, Output

log = logging.getLogger(__name__)


class Delivery:
    """All events to the sinks behind it, each at least once, and only once it is durable.

    The hot loop leaves its events in a queue and goes on. One thread writes them to the outbox; one thread a sink
    delivers from there, and notes what the receiver has.

    outbox: made when this is opened, with the sinks' names. drain_s: how long `close` goes on delivering; what is left
    is the next process's. summary: what the pipeline did so far, for sinks that report on its health.

    dropped: "outbox.queue_full" events that came faster than the disk takes them; "outbox.refused" that the outbox had
    no room for; what else it dropped, by its own reasons; and what the sinks behind dropped.
    """

    def __init__(
        self, outbox: Callable[[Sequence[str]], Outbox], sinks: Mapping[str, Delivering], *, drain_s: float = 5.0
    ) -> None:
        self.summary: Callable[[], Mapping[str, Any]] | None = None
        self._make, self._sinks, self._drain_s = outbox, sinks, drain_s
        self._about = About("", "")
        self._outbox: Outbox | None = None
        self._journal: Journal | None = None
        self._couriers: list[Courier] = []
        self._counted: Mapping[str, int] = {}

    @property
    def dropped(self) -> Mapping[str, int]:
        """What was not delivered and never will be, by reason."""
        counts = Counter(self._counted)
        if self._outbox is not None and self._journal is not None:
            for part in (self._journal.dropped.copy(), self._outbox.dropped):
                counts.update({f"outbox.{reason}": count for reason, count in part.items()})
        for name, sink in self._sinks.items():
            counts.update({f"{name}.{reason}": count for reason, count in dict(sink.dropped).items()})
        return counts

    def open(self, about: About) -> None:
        """Open the outbox and the sinks behind it. Raises SinkError."""
        self._about = about
        with ExitStack() as undo:
            outbox = self._make(tuple(self._sinks))
            undo.callback(outbox.close)
            for sink in self._sinks.values():
                sink.open(about)
                undo.callback(sink.close)
            undo.pop_all()
        waiting = outbox.stats()["events"]
        if waiting:
            log.info("%d events of before wait in the outbox", waiting)
        self._couriers = [Courier(name, sink, outbox, self._report) for name, sink in self._sinks.items()]
        self._journal, self._outbox = Journal(outbox, about, self._wake), outbox
        for thread in (self._journal, *self._couriers):
            thread.start()

    def told(self) -> Mapping[str, Told]:
        """Return what each stream stood at with its last event; asked once open, before the first event."""
        return self._journal.told() if self._journal is not None else {}

    def output(self, output: Output, level: str) -> None:
        """Pass an output on. Raises SinkError where a thread of ours has ended, which it must not."""
        self._expect_alive()
        for sink in self._sinks.values():
            sink.output(output, level)

    def event(self, event: Event) -> None:
        """Leave an event to be written; never waits. Raises SinkError as `output` does."""
        self._expect_alive()
        if self._journal is not None:
            self._journal.leave(event)

    def end(self, stream: str) -> None:
        """Pass it on, and forget what the stream stood at: if it begins anew, its events may be the same again."""
        if self._journal is not None:
            self._journal.leave(stream)
        for sink in self._sinks.values():
            sink.end(stream)

    def flush(self) -> None:
        """Return when all events so far are durable, or counted as dropped. Raises SinkError as `output` does."""
        self._expect_alive()
        if self._journal is not None:
            self._journal.flush()

    def close(self) -> None:
        """Write what is queued, deliver what can be delivered in time, and close the sinks and the outbox."""
        if self._outbox is None or self._journal is None:
            return
        self._journal.close()
        deadline = time.monotonic() + self._drain_s
        for courier in self._couriers:
            courier.finish(deadline)
        for courier in self._couriers:
            courier.join()
        for sink in self._sinks.values():
            sink.close()
        for courier in self._couriers:
            courier.last_notes()
        left = self._outbox.stats()["events"]
        if left:
            log.warning("%d events wait in the outbox for the next start", left)
        parts = (self._journal.dropped, self._outbox.dropped)
        self._counted = {f"outbox.{reason}": count for part in parts for reason, count in part.items()}
        self._outbox.close()
        self._outbox = None

    def _expect_alive(self) -> None:
        """Raise SinkError where a thread of ours has ended."""
        for thread in (self._journal, *self._couriers):
            if thread is not None and not thread.is_alive():
                raise SinkError(f"the thread '{thread.name}' that delivers events has ended; the log says why.")

    def _wake(self) -> None:
        for courier in self._couriers:
            courier.wake()

    def _report(self) -> dict[str, Any]:
        """Return what is said of the pipeline's health."""
        stats: Mapping[str, Any] = self._outbox.stats() if self._outbox else {"pending": {}, "bytes": 0}
        waiting = {f"outbox.{name}": count for name, count in stats["pending"].items()}
        report = {
            **(self.summary() if self.summary else {}),
            "queues": {"journal": self._journal.waiting if self._journal is not None else 0, **waiting},
            "outbox_bytes": stats["bytes"],
            "delivery_ms": {courier.name: courier.delay_ms for courier in self._couriers},
        }
        return _payload.health(self._about, time.time_ns(), report)
