"""The quickest of some calls: nothing speeds a call up, and neighbours slow it down."""

from __future__ import annotations

from collections.abc import Callable

from edgeseq.bench.pace import clock

CALLS = 25


def quickest_ns(call: Callable[[], object]) -> int:
    """Return what the quickest call took, in nanoseconds."""
    took = []
    for _ in range(CALLS):
        began = clock()
        call()
        took.append(clock() - began)
    return max(1, min(took))
