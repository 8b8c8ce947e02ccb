"""Where things are kept: machine code and verdicts, undelivered alerts and states."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeseq import cache
from edgeseq.doctor.finding import Finding, Level
from edgeseq.errors import ConfigError
from edgeseq.service import state
from edgeseq.text import size

LEAST, FEW = 64 << 20, 512 << 20
"""Bytes free, below which nothing can be relied on; below which it is time to look."""
STATE = Path("/var/lib/edgeseq")


def findings() -> Iterator[Finding]:
    """Look at the cache, at what is compiled, and at the space that is left."""
    folder = cache.folder("kernels")
    trouble = "there is no home to keep anything in" if folder is None else unwritable(folder)
    if trouble is not None:
        yield Finding(
            "cache", "bad", f"{trouble}: kernels are compiled at every start", "set EDGESEQ_CACHE to a folder"
        )
    else:
        yield Finding("cache", "ok", str(folder))
        yield _kernels()
    yield space(state.folder() or STATE)


def unwritable(folder: Path) -> str | None:
    """Return why nothing can be kept in a folder, that would be made; None if it can."""
    there = nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as cause:
        return f"{there}: {cause.strerror or cause}"


def space(folder: Path) -> Finding:
    """Look at the space that is left where states are kept."""
    there = nearest(folder)
    free = shutil.disk_usage(there).free
    level: Level = "bad" if free < LEAST else "note" if free < FEW else "ok"
    return Finding("space", level, f"{size(free)} free in {there}", "" if level == "ok" else "make room")


def nearest(folder: Path) -> Path:
    """Return a folder, or the nearest of those above it that is there."""
    return next(path for path in (folder, *folder.resolve().parents) if path.is_dir())


def _kernels() -> Finding:
    try:
        from edgeseq import jit  # noqa: PLC0415 - loads Numba, which may be what is broken
    except ImportError:
        return Finding("kernels", "bad", "cannot be compiled: numba does not load", "see numba")
    except ConfigError:
        return Finding("kernels", "bad", "cannot be compiled: NUMBA_DISABLE_JIT is set", "unset it")
    if jit.cold():
        return Finding("kernels", "note", "not compiled yet: the first start takes a minute", "edgeseq warmup")
    return Finding("kernels", "ok", f"compiled, in {jit.place()}")
