"""Methods that are compiled, called by Python as those written in C are.

Numba's own way in looks up what its arguments are at every call, and a method in Python around it takes as long again:
longer than the step of a small model or the features of a short hop. These look into the arrays themselves: CPython's
and NumPy's stable layouts of objects are held against what they say of themselves before they are used.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import struct
import sys
import threading
import weakref
from typing import Any, NoReturn

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.jit import Kernel, entry, inline
from edgeseq.pointers import i32, i64, invoke, named, text

NDARRAY, NONE, FLOAT32, INT64, OUT, NEW = range(6)
"""Where in the table of Python's own things: the type of arrays, None, two types of numbers, the name `out`, and the
function that makes an array."""
SPARES = 2
"""Arrays that a model gives again and again."""
_HELD, _TYPE, _DATA, _SHAPE, _DTYPE, _WEAK = 0, 1, 2, 4, 7, 9
"""Fields of an array, each of 64 bits (numpy/ndarraytypes.h, PyArrayObject_fields): how often it is held, its type, …,
the first of the weak references to it."""
_AXES, _FLAGS = 6, 16
"""Fields of 32 bits."""
_SOLID = 0x0001 | 0x0100
_WRITEABLE, _OWN = 0x0400, 0x0004
"""Flags: no gaps and aligned; writeable; the numbers are its own."""
_SLOT = 2
"""An object's first field of its own, behind the count of references and the type."""
_COUNT, _FIRST = 2, 3
"""Fields of a tuple."""
_FASTCALL, _KEYWORDS = 0x0080, 0x0002
_EMPTY = 184
"""The place of PyArray_Empty in the table of functions that NumPy gives to C, which keep theirs (numpy_api.py)."""
IN_PYTHON = "_in_python"
"""The name of the method in Python that does what a compiled one does not."""
_lock = threading.Lock()
_definitions: list[Any] = []

let_go, take = named("PyEval_SaveThread"), named("PyEval_RestoreThread")
"""Let go of the interpreter's lock, which gives the thread; take it again with that."""
_own, drop = named("Py_IncRef"), named("Py_DecRef")
_attribute, _call = named("PyObject_GetAttrString"), named("PyObject_Vectorcall")
_tuple, _put = named("PyTuple_New"), named("PyTuple_SetItem")
_in_python = text(IN_PYTHON)


@entry(types.int64(types.int64, types.int64), nogil=False)
def taken(address: Any, place: Any) -> Any:
    """Take a board for oneself, until the number at a place of it is 0 again; say whether no other thread had it."""
    board = i64(address)
    if board[place]:
        return 0
    board[place] = 1
    return 1


class Boarded:
    """What has numbers that compiled methods work on, its board: its first field, so that they find it.

    It holds addresses in this process, and so is neither pickled nor copied. Raises TypeError then.
    """

    __slots__ = ("_board",)
    _board: NDArray[np.int64]

    def __reduce__(self) -> NoReturn:
        """Refuse."""
        raise TypeError(
            f"a {type(self).__name__} holds addresses in this process, so it is neither pickled nor copied: make "
            "another, and hand over what get_state gives."
        )


@inline
def board(self: Any) -> Any:
    """Return where the board of an object stands; 0 where it has none yet."""
    held = i64(self)[_SLOT]
    return data(held) if held != 0 else 0


@inline
def in_python(self: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """Have the method in Python called instead: return what it gives, 0 with its error set."""
    method = _attribute((self, _in_python()))
    if method == 0:
        return 0
    given = _call((method, arguments, count, keywords))
    drop((method,))
    return given


@inline
def is_out(python: Any, keywords: Any) -> bool:
    """Say whether the names of arguments are the single one `out`."""
    names = i64(keywords)
    return names[_COUNT] == 1 and names[_FIRST] == python[OUT]


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
    _own((python[kind],))
    return invoke(python[NEW], (axes, lengths, python[kind], 0))


@inline
def spare(python: Any, spares: int, lengths: int) -> int:
    """Return an array float32[n]: one of the SPARES that nobody else has, else a new one; 0 with MemoryError set.

    spares: where their addresses stand; lengths: where n does. To make an array and to let go of it takes as long as a
    step of a small model. Whoever asks for one after the other needs no third: one is held while the next is filled.
    """
    for k in range(SPARES):
        y = i64(spares)[k]
        # Whoever had it may have made it another: read only, of another shape, of numbers that stand elsewhere. And
        # whoever refers to it weakly is to see it go.
        if (
            i64(y)[_HELD] == 1
            and i64(y)[_WEAK] == 0
            and is_plain(python, y, FLOAT32, 1)
            and i32(y)[_FLAGS] & (_WRITEABLE | _OWN) == _WRITEABLE | _OWN
            and shape(y)[0] == i64(lengths)[0]
        ):
            return owned(y)
    return made(python, FLOAT32, 1, lengths)


@inline
def owned(given: Any) -> Any:
    """Return an object with one reference to it more, as a function that gives it has to."""
    _own((given,))
    return given


@inline
def pair(a: Any, b: Any) -> int:
    """Make a tuple that takes two objects over; 0 with MemoryError set where it or one of them could not be made."""
    both = _tuple((2,))
    if not (a and b and both):
        for each in (a, b, both):
            if each:
                drop((each,))
        return 0
    _put((both, 0, a))
    _put((both, 1, b))
    return both


class _Definition(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def put(owner: type[Boarded], name: str, method: Kernel, sample: Boarded) -> None:
    """Put a compiled method in the place of one in Python, which stays as IN_PYTHON and does what the other does not.

    sample: one of the class, with its board. Where objects lie otherwise in memory than is expected here, all stays as
    it is. To be called before the first of the class is used; again, it does nothing.
    """
    with _lock:
        place = ctypes.c_int64.from_address(id(sample) + 8 * _SLOT) if table() is not None else None
        if IN_PYTHON in vars(owner) or place is None or place.value != id(sample._board):  # noqa: SLF001 - it is ours
            return
        plain = vars(owner)[name]
        made = _Definition(name.encode(), method.address, _FASTCALL | _KEYWORDS, _described(plain).encode())
        _definitions.append(made)
        # A prototype of our own: what is set on pythonapi's functions is set for everybody.
        kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_void_p)
        compiled = kind(("PyDescr_NewMethod", ctypes.pythonapi))(owner, ctypes.addressof(made))
        setattr(owner, IN_PYTHON, plain)
        setattr(owner, name, compiled)


def _described(method: Any) -> str:
    """Return what Python reads a compiled method's signature and its description from."""
    signature = inspect.signature(method)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    given = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return f"{method.__name__}{given.replace('self', '$self', 1)}\n--\n\n{inspect.getdoc(method)}"


@functools.cache
def table() -> NDArray[np.int64] | None:
    """Return the table of Python's own things; None where objects do not lie in memory as they are read here."""
    sample = np.zeros((3, 5), np.float32)
    place = id(sample)
    if struct.calcsize("P") != 8 or sys.implementation.name != "cpython":  # noqa: PLR2004 - bytes of an address
        return None
    words, halves = (ctypes.c_int64 * 10).from_address(place), (ctypes.c_int32 * 18).from_address(place)
    lengths = (ctypes.c_int64 * 2).from_address(words[_SHAPE]) if words[_DATA] == sample.ctypes.data else (0, 0)
    flags, once = _SOLID | _WRITEABLE | _OWN, words[_HELD]
    alone = words[_WEAK]
    weak = weakref.ref(sample)
    pair = (sample, "b")
    twice, fields = words[_HELD], (ctypes.c_int64 * 4).from_address(id(pair))
    told = (words[_TYPE], words[_DTYPE], halves[_AXES], tuple(lengths), halves[_FLAGS] & flags)
    if told != (id(np.ndarray), id(np.dtype(np.float32)), 2, (3, 5), flags):
        return None
    if (once, twice, fields[_COUNT], fields[_FIRST], alone, words[_WEAK]) != (1, 2, len(pair), place, 0, id(weak)):
        return None
    types = (id(np.ndarray), id(None), id(np.dtype(np.float32)), id(np.dtype(np.int64)))
    return np.array([*types, id(sys.intern("out")), _empty()], np.int64)


def address() -> int:
    """Return where the table stands, for a board; 0 where there is none."""
    made = table()
    return 0 if made is None else int(made.ctypes.data)


def _empty() -> int:
    """Return where NumPy's PyArray_Empty(axes, shape, type, by columns) stands."""
    core: Any = np._core if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else np.core  # type: ignore[attr-defined] # noqa: SLF001
    kind = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    table = kind(("PyCapsule_GetPointer", ctypes.pythonapi))(core.multiarray._ARRAY_API, None)  # noqa: SLF001 - what C extensions are given
    return int(ctypes.c_int64.from_address(table + 8 * _EMPTY).value)
