"""Python's garbage collector beside a loop that must not wait for it.

A full collection walks every container there is, libraries and models included: 12 ms where onnxruntime is loaded, 110
where Numba is. Frozen, those are left out, and it takes a microsecond (`python -m benchmarks.collector`). So it need
not be switched off, nor may it be: a device runs for years, and what lies in cycles nobody else gives back. It comes
when containers are some hundreds more than before; a hundred thousand steps leave none and bring no collection, apart
from a library's first call.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen() -> Iterator[None]:
    """Let the collector pass over all that exists now, until the block ends; what comes later it collects as ever.

    It holds for the whole process. Inside another such block, or where the program around has frozen what it holds,
    that stays frozen at the end, and so does what was added here.
    """
    ours = gc.get_freeze_count() == 0
    gc.collect()  # what is garbage now would stay for as long
    gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
