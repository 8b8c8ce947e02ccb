"""Whether this machine's wall clock can be believed: it says what its times are worth, it does not set it."""

from __future__ import annotations

import ctypes
from pathlib import Path

TIMESYNCD = Path("/run/systemd/timesync/synchronized")
"""Touched by systemd-timesyncd whenever it has set the clock."""
_TIMEX_BYTES = 256
"""More than any struct timex has; all zeros ask and change nothing."""
_TIME_ERROR = 5
_libc = ctypes.CDLL(None)


def synced() -> bool | None:
    """Return whether the clock is disciplined by a time service; None where nobody can tell.

    The kernel is asked by adjtimex(2). Under systemd's ProtectClock= it does not answer; timesyncd's mark then counts.
    """
    answer = _libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if answer < 0:
        return True if TIMESYNCD.exists() else None
    return bool(answer != _TIME_ERROR)
