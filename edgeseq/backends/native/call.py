"""A step as a function that Python calls as it calls those written in C.

Numba's own way in looks up what its arguments are at every call, which takes longer than the step of a small model.
This one looks into the arrays itself: CPython's and NumPy's stable layouts of them are held against what they say of
themselves before it is used.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends.native import engine
from edgeseq.backends.native.kernels.memory import i32, i64, invoke
from edgeseq.jit import method

NDARRAY, FLOAT32, NONE, OWN, NEW, LET_GO, TAKE = range(7)
"""Where in the table of Python's own things: the type of arrays, that of their numbers, None; then functions: take a
reference, make an array, let go of the interpreter's lock, take it again."""
_TYPE, _DATA, _SHAPE, _DTYPE = 1, 2, 4, 7
"""Fields of an array, each of 64 bits (numpy/ndarraytypes.h, PyArrayObject_fields)."""
_AXES, _FLAGS = 6, 16
"""Fields of 32 bits."""
_SOLID = 0x0001 | 0x0100
_WRITEABLE = 0x0400
"""Flags: no gaps and aligned; writeable."""
_FASTCALL = 0x0080
_EMPTY = 184
"""The place of PyArray_Empty in the table of functions that NumPy gives to C, which keep theirs (numpy_api.py)."""


@method()
def step(self: Any, arguments: Any, count: Any) -> Any:
    """Make a step: self is the board, an array; the arguments are x and y. Gives the outputs, or None.

    None means that nothing was done: what x and y are is not what this takes, or a step can't be made with it.
    """
    board = i64(i64(self)[_DATA])
    python = i64(board[engine.PYTHON])
    if count != 2:  # noqa: PLR2004 - x and y
        invoke(python[OWN], (python[NONE],))
        return python[NONE]
    given = i64(arguments)
    x, y, missing = given[0], given[1], given[1] == python[NONE]
    code = engine.SHAPE
    if _enters(board, python, x) and (missing or _takes(board, python, y)):
        to = board[engine.RESULT] if missing else i64(y)[_DATA]
        # Others may have the interpreter meanwhile where a step takes longer than handing it over.
        thread = invoke(python[LET_GO], ()) if board[engine.LONG] else 0
        code = engine.stepped(board, i64(x)[_DATA], to)
        if thread:
            invoke(python[TAKE], (thread,))
    if code == engine.DONE and missing:
        # It takes over a reference to the numbers' type, and gives one to the array, or 0 with MemoryError set.
        invoke(python[OWN], (python[FLOAT32],))
        y = invoke(python[NEW], (1, i64(self)[_DATA] + 8 * engine.LEAVE, python[FLOAT32], 0))
        if y:
            engine.moved(i64(y)[_DATA], to, 4 * board[engine.LEAVE])
        return y
    if code != engine.DONE:
        y = python[NONE]
    invoke(python[OWN], (y,))
    return y


@engine.inline
def _enters(board: Any, python: Any, x: Any) -> bool:
    """Say whether an object is the frames of a step: [features], or [frames, features]."""
    if not _is_plain(python, x):
        return False
    shape, axes = i64(i64(x)[_SHAPE]), i32(x)[_AXES]
    if board[engine.FRAMES] == 1:
        return axes == 1 and shape[0] == board[engine.FEATURES]
    return axes == 2 and shape[0] == board[engine.FRAMES] and shape[1] == board[engine.FEATURES]  # noqa: PLR2004


@engine.inline
def _takes(board: Any, python: Any, y: Any) -> bool:
    """Say whether an object can take the outputs of a step."""
    if not _is_plain(python, y) or i32(y)[_FLAGS] & _WRITEABLE == 0:
        return False
    return i32(y)[_AXES] == 1 and i64(i64(y)[_SHAPE])[0] == board[engine.LEAVE]


@engine.inline
def _is_plain(python: Any, given: Any) -> bool:
    """Say whether an object is an array of float32 itself, without gaps."""
    fields = i64(given)
    if fields[_TYPE] != python[NDARRAY] or fields[_DTYPE] != python[FLOAT32]:
        return False
    return i32(given)[_FLAGS] & _SOLID == _SOLID


class _Definition(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def bound(board: NDArray[np.int64]) -> Any:
    """Return step(x, out or None) over a board, called with two arguments; None where arrays are not as expected."""
    python = _python()
    if python is None:
        return None
    board[engine.PYTHON] = python.ctypes.data
    # A prototype of our own: what is set on pythonapi's functions is set for everybody.
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return kind(("PyCFunction_NewEx", ctypes.pythonapi))(ctypes.addressof(_definition()), board, None)


@functools.cache
def _definition() -> _Definition:
    return _Definition(b"step", step.address, _FASTCALL, None)


@functools.cache
def _python() -> NDArray[np.int64] | None:
    """Return the table of Python's own things; None where an array does not lie in memory as `step` reads it."""
    sample = np.zeros((3, 5), np.float32)
    place = id(sample)
    if struct.calcsize("P") != 8:  # noqa: PLR2004 - bytes of an address
        return None
    words, halves = (ctypes.c_int64 * 9).from_address(place), (ctypes.c_int32 * 18).from_address(place)
    shape = (ctypes.c_int64 * 2).from_address(words[_SHAPE]) if words[_DATA] == sample.ctypes.data else (0, 0)
    flags = _SOLID | _WRITEABLE
    told = (words[_TYPE], words[_DTYPE], halves[_AXES], tuple(shape), halves[_FLAGS] & flags)
    if told != (id(np.ndarray), id(np.dtype(np.float32)), 2, (3, 5), flags):
        return None
    c = ctypes.pythonapi
    own, let_go, take = (_address(f) for f in (c.Py_IncRef, c.PyEval_SaveThread, c.PyEval_RestoreThread))
    return np.array([words[_TYPE], words[_DTYPE], id(None), own, _empty(), let_go, take], np.int64)


def _empty() -> int:
    """Return where NumPy's PyArray_Empty(axes, shape, type, by columns) stands."""
    core: Any = np._core if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else np.core  # type: ignore[attr-defined] # noqa: SLF001
    kind = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    table = kind(("PyCapsule_GetPointer", ctypes.pythonapi))(core.multiarray._ARRAY_API, None)  # noqa: SLF001 - what C extensions are given
    return int(ctypes.c_int64.from_address(table + 8 * _EMPTY).value)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
