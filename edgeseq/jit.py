"""The one kernel decorator: what it compiles with, where the machine code is kept, and the warm-up.

A kernel is compiled once per machine: the cache's folder is named after the sources of all kernels and the versions of
what compiles them, for Numba itself looks at one file's date alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import types
from numba.core.errors import NumbaWarning

log = logging.getLogger(__name__)
ROW = types.CPointer(types.int64)  # type: ignore[attr-defined]
"""What a kernel takes: a row of addresses, sizes and strides."""
_ROOT = Path(__file__).parent
_SOURCES = ("jit.py", "backends/native")
_lock = threading.RLock()
_all: list[Kernel] = []


class Kernel:
    """A function over one row, `f(row) -> None`, compiled for this machine when its address is first asked for.

    fastmath: what Numba's LLVM may assume of its floating-point sums; never that there is no NaN or infinity.
    """

    def __init__(self, function: Callable[..., Any], fastmath: frozenset[str]) -> None:
        self.function, self._fastmath = function, fastmath
        self._compiled: Any = None
        _all.append(self)

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    @property
    def compiled(self) -> Any:
        """Numba's own object: with it, the machine code and its assembly."""
        with _lock:
            if self._compiled is None:
                self._compiled = _cached(
                    self.function,
                    lambda kept: numba.cfunc(
                        types.void(ROW), cache=kept, nogil=True, error_model="numpy", fastmath=set(self._fastmath)
                    )(self.function),
                )
        return self._compiled

    @property
    def kept(self) -> bool:
        """Whether its machine code was there already."""
        return bool(self.compiled.cache_hits)

    @property
    def address(self) -> int:
        """Where the machine code stands in this process."""
        return int(self.compiled.address)


def kernel(*, fastmath: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a function over one row a kernel."""
    return lambda function: Kernel(function, frozenset(fastmath))


class Entry:
    """A compiled function that Python calls, without the GIL, compiled for its signatures when first called for."""

    def __init__(self, function: Callable[..., Any], signatures: list[Any]) -> None:
        self.function, self._signatures = function, signatures
        self._compiled: Any = None
        _entries.append(self)

    @property
    def compiled(self) -> Any:
        """What Python calls."""
        with _lock:
            if self._compiled is None:
                self._compiled = _cached(
                    self.function, lambda kept: numba.njit(self._signatures, cache=kept, nogil=True)(self.function)
                )
        return self._compiled

    @property
    def kept(self) -> bool:
        """Whether its machine code was there already."""
        return bool(self.compiled.stats.cache_hits)


_entries: list[Entry] = []


def entry(*signatures: Any) -> Callable[[Callable[..., Any]], Entry]:
    """Make a function one that Python calls, for these signatures alone."""
    return lambda function: Entry(function, list(signatures))


def functions() -> list[Kernel | Entry]:
    """Return all that has been imported and is, or will be, compiled."""
    return [*_all, *_entries]


def cold() -> bool:
    """Say whether nothing of these kernels has been compiled on this machine yet, or none of it could be kept."""
    folder = place()
    return folder is None or next(folder.rglob("*.nbi"), None) is None


def place() -> Path | None:
    """Return the folder that machine code is kept in; None where there is no home for one.

    That is in NUMBA_CACHE_DIR, EDGESEQ_CACHE, a service's own folder from systemd (as of verdicts.py), or the user's
    cache.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("EDGESEQ_CACHE")
    own = os.environ.get("CACHE_DIRECTORY") or os.environ.get("STATE_DIRECTORY")
    if chosen or own:
        base = Path(chosen or str(own).split(":", maxsplit=1)[0])
    else:
        shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
        try:
            base = (shared if shared.is_absolute() else Path.home() / ".cache") / "edgeseq"
        except RuntimeError:  # a user without a home
            return None
    return base / "kernels" / version()


@cache
def version() -> str:
    """Return a sum over the kernels' sources and the versions of what compiles them."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for name in _SOURCES:
        path = _ROOT / name
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _cached(function: Callable[..., Any], compile_it: Callable[[bool], Any]) -> Any:
    """Compile with the cache in its place; without one where nothing can be kept."""
    folder = place()
    if folder is None:
        return _compiled(compile_it, None)
    for retry in (True, False):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return _compiled(compile_it, folder)
        except Exception as cause:  # noqa: BLE001 - a full disk, or what a power cut left: Numba has no one error for it
            if retry and _removed(folder, function):
                _say_once(f"{folder}: machine code that cannot be read is compiled anew ({cause!r}).")
                continue
            reason = getattr(cause, "strerror", None) or cause
            _say_once(f"{folder}: no machine code can be kept there ({reason}): it is compiled at every start.")
            break
    return _compiled(compile_it, None)


def _removed(folder: Path, function: Callable[..., Any]) -> bool:
    """Remove a function's machine code; say whether there was any."""
    files = [*folder.rglob(f"*.{function.__name__}-*")]
    try:
        for file in files:
            file.unlink(missing_ok=True)
    except OSError:
        return False
    return bool(files)


def _compiled(compile_it: Callable[[bool], Any], folder: Path | None) -> Any:
    # Numba reads its setting when a function is decorated; a program around us may have one of its own.
    kept = numba.config.CACHE_DIR
    try:
        numba.config.CACHE_DIR = "" if folder is None else str(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumbaWarning)
            return compile_it(folder is not None)
    finally:
        numba.config.CACHE_DIR = kept


@cache
def _say_once(text: str) -> None:
    log.warning("%s", text)
