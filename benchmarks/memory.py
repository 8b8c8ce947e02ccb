"""What memory is held, by everybody who counts it: Python, the C library and the system."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable
from itertools import repeat, starmap
from pathlib import Path
from typing import Any

from edgeseq.machine import first_line

WARM_STEPS = 10_000
STATM = Path("/proc/self/statm")


class _MallInfo(ctypes.Structure):
    """The C library's struct mallinfo2."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def growth(call: Callable[..., Any], arguments: tuple[Any, ...], steps: int) -> dict[str, int]:
    """Return by how much each counter is higher after so many calls than before, as far as this system counts.

    They run twice: once as they are, once under tracemalloc, which also tells the highest point in between.
    """
    run(call, arguments, WARM_STEPS)
    _held()  # what it takes to ask is taken by now
    before = _held()
    run(call, arguments, steps)
    after = _held()
    grown = {name: count - before[name] for name, count in after.items()}
    return grown | _traced(call, arguments, steps)


def run(call: Callable[..., Any], arguments: tuple[Any, ...], steps: int) -> None:
    """Call so often and keep nothing."""
    deque(starmap(call, repeat(arguments, steps)), maxlen=0)


def _held() -> dict[str, int]:
    gc.collect()
    found = {"Python's blocks": sys.getallocatedblocks()}
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is not None:
        ask.restype = _MallInfo
        info = ask()
        found["the C library's bytes"] = info.uordblks + info.hblkhd
    fields = first_line(STATM).split()
    if len(fields) > 1:
        found["resident bytes"] = int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    return found


def _traced(call: Callable[..., Any], arguments: tuple[Any, ...], steps: int) -> dict[str, int]:
    tracemalloc.start()
    try:
        run(call, arguments, WARM_STEPS)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        run(call, arguments, steps)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return {"traced bytes": after - before, "traced bytes at the highest": peak - before}
