"""One clock for all that arrives: the wall clock's time when this process began, carried on by the monotonic clock.

So a wall clock that is set while we run moves nothing; samples never jump or run backwards for it.
"""

from __future__ import annotations

import time

_BEGAN = time.time_ns() - time.monotonic_ns()


def now_ns() -> int:
    """Return nanoseconds since the Unix epoch."""
    return _BEGAN + time.monotonic_ns()
