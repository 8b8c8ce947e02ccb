"""What the hot loop's turns mean to systemd: ready, alive, and how it goes.

No thread and no timer speaks for the loop: where it hangs, nothing is said, and systemd starts the service anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edgeseq.pipeline import Pipeline
from edgeseq.service.notify import Notify
from edgeseq.text import number

STATUS_S = 10.0
"""The status line is this old at most where systemd wants to hear nothing more often."""
BEATS = 3
"""So many kicks fit into the watchdog's time, so that one turn may be late."""


class Watchdog:
    """Called at every turn of the hot loop. The first one says that the service is ready.

    pipeline: whose state the status line tells. clock: seconds that never run backwards.
    """

    def __init__(self, notify: Notify, pipeline: Pipeline, clock: Callable[[], float] = time.monotonic) -> None:
        self._notify, self._pipeline, self._clock = notify, pipeline, clock
        self._every_s = min(STATUS_S, notify.watchdog_s / BEATS) if notify.watchdog_s else STATUS_S
        self._due: float | None = None

    def turn(self) -> None:
        """Say what is due."""
        now = self._clock()
        if self._due is None:
            self._notify(READY=1, STATUS=status(self._pipeline))
        elif now < self._due:
            return
        else:
            self._notify(WATCHDOG=1, STATUS=status(self._pipeline))
        self._due = now + self._every_s


def status(pipeline: Pipeline) -> str:
    """Return the pipeline's state in one line."""
    summary = pipeline.summary()
    standing = ", ".join(f"{count:,} {level}" for level, count in summary.levels.items() if level != "ok")
    step = f", a step {number(summary.step_us['p50'])} µs" if summary.step_us["p50"] is not None else ""
    dropped = f", dropped {sum(summary.dropped.values()):,}" if summary.dropped else ""
    return (
        f"{summary.streams:,} streams, {summary.frames:,} frames, {summary.events.get('raised', 0):,} alerts raised, "
        f"{standing or 'none'} standing{step}{dropped}"
    )
