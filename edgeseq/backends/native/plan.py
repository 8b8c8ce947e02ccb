"""A program laid out for this machine: buffers, views of them, and the table of kernels that fill them.

NumPy is the planner: every tensor is an array [streams, *shape], what only moves numbers becomes a view where a view
can have it, and a row holds the addresses and strides that NumPy gives. So nothing in a program can reach beyond its
buffers. Addresses in memory that a window slides over (rings.py) remember it, so that all rows that hold one are known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends.native.engine import WIDTH
from edgeseq.backends.native.kernels import moving
from edgeseq.jit import Kernel

Array = NDArray[Any]
LINE = 64
"""Bytes of a cache line: where buffers begin, and what may be read beyond their end."""
MAX_BYTES, MAX_ROWS = 2 << 30, 1 << 20
"""What no honest program needs."""


class Memory(np.ndarray[Any, Any]):
    """Bytes that a window slides over. slots: where rows hold addresses in it, as (row, place in the row)."""

    slots: list[tuple[int, int]]


class Sliding(int):
    """An address that slides with the window over a memory."""

    memory: Memory

    def __add__(self, more: int) -> Sliding:
        """Return an address beside it."""
        return slides(int(self) + more, self.memory)


def slides(value: int, memory: Memory) -> Sliding:
    """Return an address in a memory that a window slides over."""
    made = Sliding(value)
    made.memory = memory
    return made


class Plan:
    """Rows, and the arrays that they speak of.

    shared: the constants of another plan of the same program, which come in the same order here. ahead: whether it is
    one of what many steps have computed ahead (ahead.py).
    """

    def __init__(self, shared: Sequence[Array] = (), *, ahead: bool = False) -> None:
        self.rows: list[list[int]] = []
        self.kept: list[Array] = []
        self.constants: list[Array] = []
        self._shared = shared
        self._owners: set[int] = set()
        self._followers: list[tuple[Array, Memory]] = []
        self.bytes, self.ahead = 0, ahead
        self.later: dict[int, tuple[Array, ...]] = {}
        """Products that a later row computes unless they are: rows, panels, where their place is told, 0; by where."""

    def keep(self, array: Array) -> Array:
        """Keep an array for as long as the rows are."""
        self.kept.append(array)
        return array

    def buffer(self, shape: Sequence[int], dtype: Any) -> Array:
        """Return a new array of zeros [*shape] that begins with a cache line."""
        return self._within(np.zeros(self._counted(shape, dtype), np.uint8), shape, dtype)

    def sliding(self, shape: Sequence[int], dtype: Any) -> tuple[Array, Memory]:
        """Return such an array that a window is going to slide over, and its memory."""
        memory = Memory(self._counted(shape, dtype), np.uint8)
        memory[...], memory.slots = 0, []
        return self._within(memory.view(np.ndarray), shape, dtype), memory

    def _counted(self, shape: Sequence[int], dtype: Any) -> int:
        """Return how many bytes an array is made in."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        self.bytes += size
        if self.bytes > MAX_BYTES:
            raise ValueError(f"takes more than {MAX_BYTES >> 30} GiB of memory")
        return size + 2 * LINE

    def _within(self, whole: Array, shape: Sequence[int], dtype: Any) -> Array:
        start = -address(self.keep(whole)) % LINE
        return whole[start : start + whole.size - 2 * LINE].view(np.dtype(dtype)).reshape(shape)

    def stored(self, array: Array) -> Array:
        """Return a copy of a constant that begins with a cache line; the one that is shared where it is the same."""
        place = len(self.constants)
        made = self._shared[place] if place < len(self._shared) else None
        if made is None or made.dtype != array.dtype or not np.array_equal(made, array):
            made = self.buffer(array.shape, array.dtype)
            made[...] = array
        self.constants.append(made)
        self._owners.add(id(_owner(made)))
        return made

    def constant(self, array: Array) -> bool:
        """Say whether an array is a constant, or a view of one: then it already holds what it will hold."""
        return id(_owner(array)) in self._owners

    def row(self, kernel: Kernel, *values: int) -> None:
        """Append a call of a kernel."""
        if len(values) >= WIDTH or len(self.rows) >= MAX_ROWS:
            raise ValueError("takes more than a row holds, or than a program has rows")
        for place, value in enumerate(values, 1):
            if isinstance(value, Sliding):
                value.memory.slots.append((len(self.rows), place))
        self.rows.append([kernel.address, *map(int, values), *(0,) * (WIDTH - 1 - len(values))])

    def followers(self, memory: Memory, place: Array) -> Array:
        """Return where all numbers stand that slide with a window, and what they are at first, int64[n, 2].

        These are `place` and those of the rows so far. They are there once the table is made.
        """
        made = self.buffer((1 + len(memory.slots), 2), np.int64)
        made[0] = address(place), place[0]
        self._followers.append((made, memory))
        return made

    def table(self) -> NDArray[np.int64]:
        """Return the rows as the engine takes them."""
        table = self.buffer((len(self.rows), WIDTH), np.int64)
        table[...] = np.array(self.rows, np.int64).reshape(-1, WIDTH)
        for made, memory in self._followers:
            made[1:] = [(address(table[row, place:]), table[row, place]) for row, place in memory.slots]
        return table

    def copy(self, to: Array, source: Array) -> None:
        """Copy an array, stretched as NumPy does, into another of the same type."""
        if to.dtype != source.dtype:
            raise ValueError(f"puts {source.dtype} where {to.dtype} stands")
        source = np.broadcast_to(source, to.shape)
        shape, (a, b) = collapsed(to, source)
        if len(shape) > 4:  # noqa: PLR2004 - the kernel's loops
            for index in range(to.shape[0]):
                self.copy(to[index], source[index])
            return
        if 0 in shape:
            return
        if len(shape) == 1 and (a, b) == ((to.itemsize,),) * 2:
            self.row(moving.copy_solid, to.nbytes, address(to), address(source))
            return
        if (a[-1], b[-1]) != (to.itemsize,) * 2:
            # Where the last numbers do not lie side by side, the longest loop goes innermost: one is left less often.
            order = sorted(range(len(shape)), key=lambda loop: shape[loop])
            shape, a, b = (tuple(each[loop] for loop in order) for each in (shape, a, b))
        kernel = moving.COPY[to.itemsize]
        fill = (1,) * (4 - len(shape)), (0,) * (4 - len(shape))
        self.row(kernel, *fill[0], *shape, address(to), *fill[1], *a, address(source), *fill[1], *b)

    def solid(self, array: Array) -> Array:
        """Return an array as one without gaps, itself where it is."""
        if array.flags.c_contiguous:
            return array
        made = self.buffer(array.shape, array.dtype)
        self.copy(made, array)
        return made


def _owner(array: Array) -> Any:
    """Return what owns the numbers that an array is a view of: an array, or a memory."""
    owner: Any = array
    while not isinstance(owner, Memory) and getattr(owner, "base", None) is not None:
        owner = owner.base
    return owner


def address(array: Array) -> int:
    """Return where an array's first number stands."""
    value, owner = int(array.__array_interface__["data"][0]), _owner(array)
    return slides(value, owner) if isinstance(owner, Memory) else value


def collapsed(*arrays: Array) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Return the fewest loops that go over arrays of one shape together: their lengths, and each array's strides."""
    shape: list[int] = []
    strides: list[list[int]] = []
    for axis, size in enumerate(arrays[0].shape):
        here = [array.strides[axis] for array in arrays]
        if size == 1:
            continue
        if shape and all(before == stride * size for before, stride in zip(strides[-1], here, strict=True)):
            shape[-1] *= size
            strides[-1] = here
        else:
            shape.append(size)
            strides.append(here)
    if not shape:
        shape, strides = [1], [[array.itemsize for array in arrays]]
    return tuple(shape), [tuple(each[place] for each in strides) for place in range(len(arrays))]
