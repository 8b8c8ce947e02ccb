"""Whether the system's clock is set by another that is right: an alert's time is read off it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

from edgeseq.doctor.finding import Finding

STRUCT_TIMEX_BYTES = 256
"""At least; it is 208 on 64 bits and 128 on 32."""
TIME_ERROR = 5


def state() -> int | None:
    """Return the kernel's state of its clock, TIME_ERROR where nobody sets it; None where it can't be asked.

    Source: adjtimex(2), with no bit of `modes` set: it only reads.
    """
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except AttributeError:
        return None
    found = int(call(ctypes.create_string_buffer(STRUCT_TIMEX_BYTES)))
    return None if found < 0 else found


def findings(ask: Callable[[], int | None] = state) -> Iterator[Finding]:
    """Look at the clock."""
    found = ask()
    if found is None:
        yield Finding("clock", "note", "whether something sets the clock cannot be told here")
    elif found == TIME_ERROR:
        yield Finding(
            "clock",
            "note",
            "nothing sets the clock: alerts may bear a wrong time",
            "apt-get install systemd-timesyncd, or chrony; or a clock with a battery where there is no network",
        )
    else:
        yield Finding("clock", "ok", "synchronized")
