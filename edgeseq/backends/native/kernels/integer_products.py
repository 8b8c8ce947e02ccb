"""Products of int16 rows with constant int8 weights, summed in int32, in panels as products.py has it.

Whole numbers give one sum in whatever order. What int32 cannot hold is cut into parts of the inputs by who calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends.native.kernels.vectors import BLOCK, BYTES, LANES, X86, panel_bytes, panel_i16
from edgeseq.jit import Kernel, kernel
from edgeseq.pointers import i8, i16

PER, FIRST = (4, 1) if BYTES else (2, 0)
"""Inputs that count as one, and whether a panel begins with what is added to its sums."""
# What is halved takes the place of two rows.
_panel, _ROWS = (panel_bytes, BLOCK // 2) if BYTES else (panel_i16, BLOCK)
_one8, _rows8 = _panel(1, 8, 1), _panel(_ROWS, 4, 1)
_one4, _rows4 = _panel(1, 4, 2), _panel(_ROWS, 2, 2)
_one2, _rows2 = _panel(1, 2, 4), _panel(_ROWS, 1, 4)
_one1, _rows1 = _panel(1, 1, 8), _panel(_ROWS // 2, 1, 8)
_FLIP_A, _FLIP_B, _OFF = (-128, 0, -(1 << 15)) if X86 else (0, -128, 128)
"""What turns the bytes of an int16, the upper one signed, into those that are multiplied, and x - (256 a + b) then."""
_WEIGHTS, _SUMS = PER * LANES, 4 * LANES
"""Bytes of a vector of weights, of sums."""


def reference(x: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Return x @ weight.T."""
    return np.asarray(x.astype(np.int64) @ weight.T.astype(np.int64))


# A row: 1 rows, 2 x, 3 its row stride, 4 inputs, 5 y, 6 its row stride; in bytes.
@kernel()
def halve(row: Any) -> None:
    """Give int16 x = 256 a + b + _OFF as bytes a and b: rows of all a, then all b, as far apart as half a row."""
    for r in range(row[1]):
        x, a, b = i16(row[2] + r * row[3]), i8(row[5] + r * row[6]), i8(row[5] + r * row[6] + row[6] // 2)
        for k in range(row[4]):
            a[k], b[k] = np.int8((x[k] >> 8) ^ _FLIP_A), np.int8((x[k] & 255) ^ _FLIP_B)


# A row: 1 rows, 2 x (its halves where products are of bytes), 3 its row stride, 4 panels, 5 their number, 6 inputs by
# PER, 7 y, 8 its row stride, 9 outputs, 10 whether to begin with the last panel, as in products.py, 11 the stride of
# what a panel reads as rows; strides in bytes.
@kernel()
def integer_linear8(row: Any) -> None:
    """Panels of eight vectors."""
    row[10] = 1 - row[10]
    for k in range(row[5]):
        p = row[5] - 1 - k if row[10] else k
        w, y, left = row[4] + p * (FIRST + row[6]) * 8 * _WEIGHTS, row[7] + p * 8 * _SUMS, row[9] - p * 8 * LANES
        r = 0
        while r + _ROWS <= row[1]:
            x, to = row[2] + r * row[3], y + r * row[8]
            _rows8(x, row[11], w, 8 * _WEIGHTS, row[6], to, row[8], left)
            _rows8(x, row[11], w + 4 * _WEIGHTS, 8 * _WEIGHTS, row[6], to + 4 * _SUMS, row[8], left - 4 * LANES)
            r += _ROWS
        while r < row[1]:
            _one8(row[2] + r * row[3], row[11], w, 8 * _WEIGHTS, row[6], y + r * row[8], row[8], left)
            r += 1


@kernel()
def integer_linear4(row: Any) -> None:
    """Panels of four vectors."""
    row[10] = 1 - row[10]
    for k in range(row[5]):
        p = row[5] - 1 - k if row[10] else k
        w, y, left = row[4] + p * (FIRST + row[6]) * 4 * _WEIGHTS, row[7] + p * 4 * _SUMS, row[9] - p * 4 * LANES
        r = 0
        while r + _ROWS <= row[1]:
            x, to = row[2] + r * row[3], y + r * row[8]
            _rows4(x, row[11], w, 4 * _WEIGHTS, row[6], to, row[8], left)
            _rows4(x, row[11], w + 2 * _WEIGHTS, 4 * _WEIGHTS, row[6], to + 2 * _SUMS, row[8], left - 2 * LANES)
            r += _ROWS
        while r < row[1]:
            _one4(row[2] + r * row[3], row[11], w, 4 * _WEIGHTS, row[6], y + r * row[8], row[8], left)
            r += 1


@kernel()
def integer_linear2(row: Any) -> None:
    """A panel of two vectors."""
    r = 0
    while r + _ROWS <= row[1]:
        x, y, w = row[2] + r * row[3], row[7] + r * row[8], row[4]
        _rows2(x, row[11], w, 2 * _WEIGHTS, row[6], y, row[8], row[9])
        _rows2(x, row[11], w + _WEIGHTS, 2 * _WEIGHTS, row[6], y + _SUMS, row[8], row[9] - LANES)
        r += _ROWS
    while r < row[1]:
        _one2(row[2] + r * row[3], row[11], row[4], 2 * _WEIGHTS, row[6], row[7] + r * row[8], row[8], row[9])
        r += 1


@kernel()
def integer_linear1(row: Any) -> None:
    """A single vector."""
    r = 0
    while r + _ROWS // 2 <= row[1]:
        _rows1(row[2] + r * row[3], row[11], row[4], _WEIGHTS, row[6], row[7] + r * row[8], row[8], row[9])
        r += _ROWS // 2
    while r < row[1]:
        _one1(row[2] + r * row[3], row[11], row[4], _WEIGHTS, row[6], row[7] + r * row[8], row[8], row[9])
        r += 1


LINEAR: dict[int, Kernel] = {8: integer_linear8, 4: integer_linear4, 2: integer_linear2, 1: integer_linear1}


def packed(weight: NDArray[np.int8], size: int, count: int, first: int) -> NDArray[np.int8]:
    """Return weight [outputs, inputs] as `count` panels [inputs by PER, size vectors, PER LANES]; filled with zeros.

    Where products are of bytes a panel begins with what makes up for x being _OFF less there, int32.
    """
    width, groups = size * LANES, -(-weight.shape[1] // PER)
    part = np.zeros((count * width, PER * groups), np.int8)
    here = weight[first : first + count * width]
    part[: len(here), : weight.shape[1]] = here
    apart = part.reshape(count, size, LANES, groups, PER)
    panels = np.ascontiguousarray(apart.transpose(0, 3, 1, 2, 4) if X86 or BYTES else apart.transpose(0, 3, 1, 4, 2))
    if not BYTES:
        return panels
    more = _OFF * part.sum(axis=1, dtype=np.int64)
    return np.hstack([more.astype(np.int32).view(np.int8).reshape(count, -1), panels.reshape(count, -1)])
