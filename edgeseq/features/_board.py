"""Numbers and arrays in one piece of memory, for kernels that are given nothing but its address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINE = 64
"""Bytes that a cache reads at once: a vector that begins with one is not read twice."""


def board(numbers: int, arrays: Mapping[int, NDArray[Any]]) -> NDArray[np.int64]:
    """Return int64[numbers] that says, at an array's place, where it was put: behind them, at the start of a line.

    Whoever keeps the numbers keeps the arrays.
    """
    ends, end = {}, _lines(8 * numbers)
    for place, array in arrays.items():
        ends[place], end = end, end + _lines(array.nbytes)
    memory = np.zeros(end + LINE, np.uint8)
    memory = memory[-memory.ctypes.data % LINE :][:end]
    for place, array in arrays.items():
        memory[ends[place] : ends[place] + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    found = memory[: 8 * numbers].view(np.int64)
    for place, at in ends.items():
        found[place] = memory.ctypes.data + at
    return found


def numbers_at(board: NDArray[np.int64], place: int, kind: type[Any], count: int) -> NDArray[Any]:
    """Return so many numbers of the array that a board names at a place, to be read and written."""
    memory: Any = board.base
    start = int(board[place]) - memory.ctypes.data
    return np.asarray(memory[start : start + count * np.dtype(kind).itemsize].view(kind))


def _lines(size: int) -> int:
    return -(-size // LINE) * LINE
