"""Takes events from the outbox to one sink, in two lanes: the newest at once, what piled up behind them beside."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from edgeseq.delivery.worker import Worker
from edgeseq.errors import SinkError
from edgeseq.outbox import Outbox, OutboxFull
from edgeseq.types import Delivering, Pending, Reporting

LIVE = 100
"""Of the events that wait, so many of the newest go before all others."""
BACKLOG_IN_FLIGHT = 50
"""Older events that are under way at a time: those that come meanwhile find room beside them."""
HEALTH_S = 1.0
POLL_S = 0.2
"""A sink is asked this often whether its receiver is back."""

log = logging.getLogger(__name__)


class Courier(Worker):
    """Delivers to one sink. delay_ms: from a live event's coming to its acknowledgement, the longest lately."""

    def __init__(self, name: str, sink: Delivering, outbox: Outbox, report: Callable[[], dict[str, Any]]) -> None:
        super().__init__(name)
        self.delay_ms = 0.0
        self._sink, self._outbox, self._report = sink, outbox, report
        self._changed = threading.Condition()
        self._awake = False
        self._deadline: float | None = None
        # Numbers of what the sink has and its receiver not yet, and whether it is of the backlog; when it was given.
        self._flying: dict[int, tuple[bool, float]] = {}
        self._done: list[int] = []
        # Events up to `_live` are backlog; of that, what comes up to `_behind` was given to the sink before.
        self._live, self._behind = outbox.last_id, 0
        # By the first time the sink may have found its receiver.
        self._health_due = time.monotonic() + HEALTH_S
        self._failing = ""

    def wake(self) -> None:
        """Say that something has come."""
        with self._changed:
            self._awake = True
            self._changed.notify_all()

    def finish(self, deadline: float) -> None:
        """End when everything is delivered, or at this time on the monotonic clock."""
        self._deadline = deadline
        self.wake()

    def work(self) -> None:
        """Deliver until told to finish."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._awake, POLL_S)
                self._awake = False
            # What cannot be noted does not keep from delivering, nor the other way round.
            trouble = [said for act in (self._note, self._deliver, self._tell_health) if (said := _tried(act))]
            self._say(trouble[0] if trouble else "")
            if trouble:
                time.sleep(POLL_S)
            if self._deadline is not None and (time.monotonic() > self._deadline or self._all_done()):
                return

    def last_notes(self) -> None:
        """Note what was acknowledged while the sink was closed."""
        self._say(_tried(self._note))

    def _note(self) -> None:
        """Note in the outbox what the receiver has."""
        with self._changed:
            done, self._done = self._done, []
            times = [self._flying.pop(number, (True, 0.0)) for number in done]
        if not done:
            return
        try:
            self._outbox.ack(done, self.name)
        except OutboxFull:
            # They are delivered; until that can be noted they must not be again.
            with self._changed:
                self._done += done
                self._flying.update(zip(done, times, strict=True))
            raise
        lags = [time.monotonic() - given for backlog, given in times if not backlog]
        if lags:
            self.delay_ms = max(1000 * max(lags), 0.9 * self.delay_ms)

    def _deliver(self) -> None:
        """Give the sink what it takes: first the newest, then of the backlog."""
        self._live = max(self._live, self._outbox.last_id - LIVE)
        room = self._sink.room()
        if room > 0:
            newest = self._outbox.pending(room, self.name, after=self._live)
            self._give(newest, backlog=False)
            room -= len(newest)
        with self._changed:
            room = min(room, BACKLOG_IN_FLIGHT - sum(backlog for backlog, _ in self._flying.values()))
            given = {number for number in self._flying if number > self._behind}
        if room > 0:
            oldest = self._outbox.pending(room + len(given), self.name, after=self._behind, upto=self._live)
            self._give([event for event in oldest if event[0] not in given][:room], backlog=True)

    def _give(self, events: Sequence[Pending], *, backlog: bool) -> None:
        if not events:
            return
        numbers = [number for number, _, _ in events]
        with self._changed:
            self._flying.update(dict.fromkeys(numbers, (backlog, time.monotonic())))
        try:
            self._sink.deliver(events, self._acknowledged)
        except SinkError:
            with self._changed:
                for number in numbers:
                    self._flying.pop(number, None)
            self._behind = 0
            raise
        if backlog:
            self._behind = numbers[-1]
        else:
            self._live = max(self._live, numbers[-1])

    def _acknowledged(self, numbers: Sequence[int]) -> None:
        with self._changed:
            self._done += numbers
            self._awake = True
            self._changed.notify_all()

    def _all_done(self) -> bool:
        return not self._outbox.pending(1, self.name)

    def _tell_health(self) -> None:
        if isinstance(self._sink, Reporting) and time.monotonic() >= self._health_due:
            self._health_due = time.monotonic() + self._sink.health_interval_s
            self._sink.health(self._report())

    def _say(self, trouble: str) -> None:
        """Log trouble when it begins and when it is over."""
        if trouble and trouble != self._failing:
            log.error("%s: events wait in the outbox: %s", self.name, trouble)
        elif not trouble and self._failing:
            log.warning("%s: events are delivered again", self.name)
        self._failing = trouble


def _tried(act: Callable[[], None]) -> str:
    """Do it; return what was in the way, or nothing."""
    try:
        act()
    except SinkError as cause:
        return str(cause)
    return ""
