"""Compiled functions that Python calls as it calls those written in C.

Numba's own way in looks up what its arguments are at every call, which takes longer than the step of a small model or
the features of a short hop. These look into the arrays themselves: CPython's and NumPy's stable layouts of them are
held against what they say of themselves before they are used.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.jit import Kernel, inline
from edgeseq.pointers import i32, i64, invoke

NDARRAY, NONE, FLOAT32, INT64, OWN, DROP, NEW, TUPLE, PUT, LET_GO, TAKE = range(11)
"""Where in the table of Python's own things: the type of arrays, None, two types of numbers; then functions: take a
reference, drop one, make an array, make a tuple, put what it takes over into one, let go of the interpreter's lock,
take it again."""
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


@inline
def data(given: Any) -> int:
    """Return where an array's numbers stand."""
    return i64(given)[_DATA]


@inline
def shape(given: Any) -> Any:
    """Return an array's lengths."""
    return i64(i64(given)[_SHAPE])


@inline
def is_plain(python: Any, given: Any, kind: int, axes: int) -> bool:
    """Say whether an object is an array itself of that kind, FLOAT32 or INT64, and of so many axes, without gaps."""
    fields, halves = i64(given), i32(given)
    if fields[_TYPE] != python[NDARRAY] or fields[_DTYPE] != python[kind]:
        return False
    return halves[_FLAGS] & _SOLID == _SOLID and halves[_AXES] == axes


@inline
def is_writeable(given: Any) -> bool:
    """Say whether an array may be written to."""
    return i32(given)[_FLAGS] & _WRITEABLE != 0


@inline
def made(python: Any, kind: int, axes: int, lengths: int) -> int:
    """Make an array, its lengths at an address, its numbers whatever they may be; 0 with MemoryError set."""
    # It takes over a reference to the numbers' type.
    invoke(python[OWN], (python[kind],))
    return invoke(python[NEW], (axes, lengths, python[kind], 0))


@inline
def owned(python: Any, given: Any) -> Any:
    """Return an object with one reference to it more, as a function that gives it has to."""
    invoke(python[OWN], (given,))
    return given


@inline
def pair(python: Any, a: Any, b: Any) -> int:
    """Make a tuple that takes two objects over; 0 with MemoryError set where it or one of them could not be made."""
    both = invoke(python[TUPLE], (2,))
    if not (a and b and both):
        for each in (a, b, both):
            if each:
                invoke(python[DROP], (each,))
        return 0
    invoke(python[PUT], (both, 0, a))
    invoke(python[PUT], (both, 1, b))
    return both


class _Definition(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def bound(method: Kernel, board: NDArray[np.int64], place: int) -> Any:
    """Return a function that calls a `jit.method` with a board, an array, for self; None where arrays lie otherwise.

    place: where on the board the method finds the table of Python's own things.
    """
    python = table()
    if python is None:
        return None
    board[place] = python.ctypes.data
    # A prototype of our own: what is set on pythonapi's functions is set for everybody.
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return kind(("PyCFunction_NewEx", ctypes.pythonapi))(ctypes.addressof(_definition(method)), board, None)


@functools.cache
def _definition(method: Kernel) -> _Definition:
    return _Definition(method.function.__name__.encode(), method.address, _FASTCALL, None)


@functools.cache
def table() -> NDArray[np.int64] | None:
    """Return the table of Python's own things; None where an array does not lie in memory as it is read here."""
    sample = np.zeros((3, 5), np.float32)
    place = id(sample)
    if struct.calcsize("P") != 8:  # noqa: PLR2004 - bytes of an address
        return None
    words, halves = (ctypes.c_int64 * 9).from_address(place), (ctypes.c_int32 * 18).from_address(place)
    lengths = (ctypes.c_int64 * 2).from_address(words[_SHAPE]) if words[_DATA] == sample.ctypes.data else (0, 0)
    flags = _SOLID | _WRITEABLE
    told = (words[_TYPE], words[_DTYPE], halves[_AXES], tuple(lengths), halves[_FLAGS] & flags)
    if told != (id(np.ndarray), id(np.dtype(np.float32)), 2, (3, 5), flags):
        return None
    c = ctypes.pythonapi
    functions = (c.PyTuple_New, c.PyTuple_SetItem, c.PyEval_SaveThread, c.PyEval_RestoreThread)
    types = (id(np.ndarray), id(None), id(np.dtype(np.float32)), id(np.dtype(np.int64)))
    references = (_address(c.Py_IncRef), _address(c.Py_DecRef))
    return np.array([*types, *references, _empty(), *map(_address, functions)], np.int64)


def _empty() -> int:
    """Return where NumPy's PyArray_Empty(axes, shape, type, by columns) stands."""
    core: Any = np._core if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else np.core  # type: ignore[attr-defined] # noqa: SLF001
    kind = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    table = kind(("PyCapsule_GetPointer", ctypes.pythonapi))(core.multiarray._ARRAY_API, None)  # noqa: SLF001 - what C extensions are given
    return int(ctypes.c_int64.from_address(table + 8 * _EMPTY).value)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
