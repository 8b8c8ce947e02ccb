"""One clock for all that arrives: the wall clock's time when this process began, carried on by the monotonic clock.

So a wall clock that is set while we run moves nothing; samples never jump or run backwards for it. It is said once.
"""

from __future__ import annotations

import logging
import time

JUMP_NS = 1_000_000_000
"""A wall clock that moves away by less is being slewed, or read between two ticks."""

log = logging.getLogger(__name__)


class Clock:
    """The wall clock as it was, carried on."""

    def __init__(self) -> None:
        self._began = time.time_ns() - time.monotonic_ns()
        self._away_ns = 0

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch."""
        now = self._began + time.monotonic_ns()
        away = time.time_ns() - now
        if abs(away - self._away_ns) > JUMP_NS:
            log.warning(
                "the wall clock was set by %+.3f s; samples go on in the time in which this process began, from which "
                "it now is %+.3f s away. Restart to take over the new one.",
                (away - self._away_ns) / 1e9,
                away / 1e9,
            )
            self._away_ns = away
        return now


now_ns = Clock().now_ns
