"""The one kernel decorator: what it compiles with, where the machine code is kept, and the warm-up.

A kernel is compiled once per machine: the cache's folder is named after the sources of all kernels and the versions of
what compiles them, for Numba itself looks at one file's date alone.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from numba.core import types
from numba.core.errors import NumbaWarning

from edgeseq import cache, sums
from edgeseq.errors import ConfigError

if numba.config.DISABLE_JIT:
    # Kernels hold addresses and vector instructions, which Python cannot run.
    raise ConfigError(
        "NUMBA_DISABLE_JIT is set, and the kernels of features and models are nothing without Numba's compiler: unset "
        "it. To step through what a feature computes, call the `reference` in its file, which is plain Python."
    )
log = logging.getLogger(__name__)
ROW = types.CPointer(types.int64)  # type: ignore[attr-defined]
"""What a kernel takes: a row of addresses, sizes and strides."""
_SOURCES = ("jit.py", "pointers.py", "direct.py", "backends/native", "features")
REASSOCIATED = ("reassoc", "contract", "nsz")
"""For `fastmath`: sums may be taken in any order, so that they become vector instructions."""
inline = numba.njit(inline="always")
"""For what is compiled into those that call it."""
_lock = threading.RLock()
_all: list[Function] = []


class Function:
    """What is compiled for this machine when it is first asked for, and kept for the next process."""

    def __init__(self, function: Callable[..., Any], decorated: Callable[[bool], Any]) -> None:
        self.function, self._decorated = function, decorated
        self._compiled: Any = None
        _all.append(self)

    @property
    def compiled(self) -> Any:
        """Numba's own object: what Python calls, with the machine code and its assembly."""
        with _lock:
            if self._compiled is None:
                self._compiled = _cached(self.function, lambda kept: self._decorated(kept)(self.function))
        return self._compiled

    @property
    def asked(self) -> bool:
        """Whether this process has asked for it."""
        return self._compiled is not None

    @property
    def kept(self) -> bool:
        """Whether its machine code was there already."""
        return bool(getattr(self.compiled, "stats", self.compiled).cache_hits)


class Kernel(Function):
    """A function over one row, `f(row) -> None`, that other compiled code calls by its address."""

    @property
    def address(self) -> int:
        """Where the machine code stands in this process."""
        return int(self.compiled.address)


def kernel(*, fastmath: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a function over one row a kernel.

    fastmath: what LLVM may assume of its floating-point sums; never that there is no NaN or infinity.
    """
    allowed = set(fastmath)
    return lambda function: Kernel(
        function,
        lambda kept: numba.cfunc(types.void(ROW), cache=kept, nogil=True, error_model="numpy", fastmath=allowed),
    )


def method() -> Callable[[Callable[..., Any]], Kernel]:
    """Make a function one that CPython calls: f(self, arguments, count, keywords) -> object, all of them addresses.

    keywords: a tuple of the names of those arguments that follow the first `count`; 0 where all are given by place.
    """
    word = types.int64
    return lambda function: Kernel(
        function, lambda kept: numba.cfunc(word(word, word, word, word), cache=kept, error_model="numpy")
    )


def entry(
    *signatures: Any, fastmath: tuple[str, ...] = (), nogil: bool = True
) -> Callable[[Callable[..., Any]], Function]:
    """Make a function one that Python calls, for these signatures alone.

    fastmath: as of `kernel`. nogil: without the interpreter's lock; else with it, as far as it does not let go itself.
    """
    allowed = set(fastmath)
    return lambda function: Function(
        function,
        lambda kept: numba.njit([*signatures], cache=kept, nogil=nogil, error_model="numpy", fastmath=allowed),
    )


def functions() -> list[Function]:
    """Return all that has been imported and is, or will be, compiled."""
    return [*_all]


def cold(file: str = "*") -> bool:
    """Say whether nothing has been compiled on this machine yet of a file of that name, or none of it could be kept."""
    folder = place()
    return folder is None or next(folder.rglob(f"{file}.*.nbi"), None) is None


def place() -> Path | None:
    """Return the folder that machine code is kept in: in NUMBA_CACHE_DIR, else with all that edgeseq keeps."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(chosen) / "kernels" if chosen else cache.folder("kernels")
    return None if base is None else base / version()


@functools.cache
def instructions() -> str:
    """Return the instruction sets that Numba compiles for here; none where it is told to compile for any processor."""
    told = numba.config.CPU_FEATURES
    return str(llvm.get_host_cpu_features().flatten() if told is None else told)


@functools.cache
def version() -> str:
    """Return a sum over the kernels' sources and the versions of what compiles them."""
    # rocket-fft too: machine code that calls its transforms knows how that version takes its arguments.
    libraries = f"{numba.__version__} {llvmlite.__version__} {metadata.version('rocket-fft')}"
    return sums.of_sources(_SOURCES, libraries)


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


@functools.cache
def _say_once(text: str) -> None:
    log.warning("%s", text)
