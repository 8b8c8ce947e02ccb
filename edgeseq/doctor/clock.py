"""Whether the system's clock is set by another that is right: an alert's time is read off it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgeseq import clock
from edgeseq.doctor.finding import Finding


def findings(synced: Callable[[], bool | None] = clock.synced) -> Iterator[Finding]:
    """Look at the clock."""
    found = synced()
    if found is None:
        yield Finding("clock", "note", "whether something sets the clock cannot be told here")
    elif found:
        yield Finding("clock", "ok", "synchronized")
    else:
        yield Finding(
            "clock",
            "note",
            "nothing sets the clock: alerts may bear a wrong time",
            "apt-get install systemd-timesyncd, or chrony; or a clock with a battery where there is no network",
        )
