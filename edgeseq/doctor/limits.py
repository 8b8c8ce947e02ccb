"""What the system permits a process in real time."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator

from edgeseq.bench import scheduling
from edgeseq.doctor.finding import Finding
from edgeseq.text import size


def findings(
    limit: Callable[[int], tuple[int, int]] = resource.getrlimit, *, root: bool | None = None
) -> Iterator[Finding]:
    """Look at priorities and locked memory. root: whether this is root, to whom limits do not apply."""
    mighty = os.geteuid() == 0 if root is None else root
    most, locked = limit(resource.RLIMIT_RTPRIO)[0], limit(resource.RLIMIT_MEMLOCK)[0]
    share = scheduling.share_for_others()
    rest = "" if share is None else f"; {share:.0%} of a core stays with the others"
    if mighty or most > 0:
        yield Finding("real time", "ok", f"priorities up to {99 if mighty else most}{rest}")
    else:
        yield Finding(
            "real time",
            "note",
            "this user may not run anything in real time",
            "a service may: realtime_priority in [service]; else LimitRTPRIO or /etc/security/limits.conf",
        )
    unlimited = mighty or locked == resource.RLIM_INFINITY
    yield Finding("locked memory", "ok", "unlimited" if unlimited else f"up to {size(locked)}")
