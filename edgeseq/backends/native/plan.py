"""A program laid out for this machine: buffers, views of them, and the table of kernels that fill them.

NumPy is the planner: every tensor is an array [streams, *shape], what only moves numbers becomes a view where a view
can have it, and a row holds the addresses and strides that NumPy gives. So nothing in a program can reach beyond its
buffers.
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


class Plan:
    """Rows, and the arrays that they speak of.

    shared: the constants of another plan of the same program, which come in the same order here.
    """

    def __init__(self, shared: Sequence[Array] = ()) -> None:
        self.rows: list[list[int]] = []
        self.kept: list[Array] = []
        self.constants: list[Array] = []
        self._shared = shared
        self._owners: set[int] = set()
        self.bytes = 0

    def keep(self, array: Array) -> Array:
        """Keep an array for as long as the rows are."""
        self.kept.append(array)
        return array

    def buffer(self, shape: Sequence[int], dtype: Any) -> Array:
        """Return a new array of zeros [*shape] that begins with a cache line."""
        wanted = np.dtype(dtype)
        size = math.prod(shape) * wanted.itemsize
        self.bytes += size
        if self.bytes > MAX_BYTES:
            raise ValueError(f"takes more than {MAX_BYTES >> 30} GiB of memory")
        whole = self.keep(np.zeros(size + 2 * LINE, np.uint8))
        start = -address(whole) % LINE
        made: Array = whole[start : start + size].view(wanted).reshape(shape)
        return made

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
        self.rows.append([kernel.address, *values, *(0,) * (WIDTH - 1 - len(values))])

    def table(self) -> NDArray[np.int64]:
        """Return the rows as the engine takes them."""
        table = self.buffer((len(self.rows), WIDTH), np.int64)
        table[...] = np.array(self.rows, np.int64).reshape(-1, WIDTH)
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
    """Return the array that owns what an array is a view of."""
    owner: Any = array
    while getattr(owner, "base", None) is not None:
        owner = owner.base
    return owner


def address(array: Array) -> int:
    """Return where an array's first number stands."""
    return int(array.__array_interface__["data"][0])


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
