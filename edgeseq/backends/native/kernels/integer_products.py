"""Products of int16 rows with constant int8 weights, summed in int32, in panels as products.py has it.

Whole numbers give one sum in whatever order. What int32 cannot hold is cut into parts of the inputs by who calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends.native.kernels.vectors import BLOCK, LANES, X86, panel_i16
from edgeseq.jit import Kernel, kernel

_one8, _half8 = panel_i16(1, 8, 1), panel_i16(BLOCK, 4, 1)
_one4, _half4 = panel_i16(1, 4, 2), panel_i16(BLOCK, 2, 2)
_one2, _half2 = panel_i16(1, 2, 4), panel_i16(BLOCK, 1, 4)
_one1, _pair1 = panel_i16(1, 1, 8), panel_i16(BLOCK // 2, 1, 8)
_WEIGHTS, _SUMS = 2 * LANES, 4 * LANES
"""Bytes of a vector of weights, of sums."""


def reference(x: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Return x @ weight.T."""
    return np.asarray(x.astype(np.int64) @ weight.T.astype(np.int64))


# A row: 1 rows, 2 x, 3 its row stride, 4 panels, 5 their number, 6 pairs of inputs, 7 y, 8 its row stride, 9 outputs,
# 10 whether to begin with the last panel, as in products.py; strides in bytes.
@kernel()
def integer_linear8(row: Any) -> None:
    """Panels of eight vectors."""
    row[10] = 1 - row[10]
    for k in range(row[5]):
        p = row[5] - 1 - k if row[10] else k
        w, y, left = row[4] + p * row[6] * 8 * _WEIGHTS, row[7] + p * 8 * _SUMS, row[9] - p * 8 * LANES
        r = 0
        while r + BLOCK <= row[1]:
            x, to = row[2] + r * row[3], y + r * row[8]
            _half8(x, row[3], w, 8 * _WEIGHTS, row[6], to, row[8], left)
            _half8(x, row[3], w + 4 * _WEIGHTS, 8 * _WEIGHTS, row[6], to + 4 * _SUMS, row[8], left - 4 * LANES)
            r += BLOCK
        while r < row[1]:
            _one8(row[2] + r * row[3], row[3], w, 8 * _WEIGHTS, row[6], y + r * row[8], row[8], left)
            r += 1


@kernel()
def integer_linear4(row: Any) -> None:
    """Panels of four vectors."""
    row[10] = 1 - row[10]
    for k in range(row[5]):
        p = row[5] - 1 - k if row[10] else k
        w, y, left = row[4] + p * row[6] * 4 * _WEIGHTS, row[7] + p * 4 * _SUMS, row[9] - p * 4 * LANES
        r = 0
        while r + BLOCK <= row[1]:
            x, to = row[2] + r * row[3], y + r * row[8]
            _half4(x, row[3], w, 4 * _WEIGHTS, row[6], to, row[8], left)
            _half4(x, row[3], w + 2 * _WEIGHTS, 4 * _WEIGHTS, row[6], to + 2 * _SUMS, row[8], left - 2 * LANES)
            r += BLOCK
        while r < row[1]:
            _one4(row[2] + r * row[3], row[3], w, 4 * _WEIGHTS, row[6], y + r * row[8], row[8], left)
            r += 1


@kernel()
def integer_linear2(row: Any) -> None:
    """A panel of two vectors."""
    r = 0
    while r + BLOCK <= row[1]:
        x, y, w = row[2] + r * row[3], row[7] + r * row[8], row[4]
        _half2(x, row[3], w, 2 * _WEIGHTS, row[6], y, row[8], row[9])
        _half2(x, row[3], w + _WEIGHTS, 2 * _WEIGHTS, row[6], y + _SUMS, row[8], row[9] - LANES)
        r += BLOCK
    while r < row[1]:
        _one2(row[2] + r * row[3], row[3], row[4], 2 * _WEIGHTS, row[6], row[7] + r * row[8], row[8], row[9])
        r += 1


@kernel()
def integer_linear1(row: Any) -> None:
    """A single vector."""
    r = 0
    while r + BLOCK // 2 <= row[1]:
        _pair1(row[2] + r * row[3], row[3], row[4], _WEIGHTS, row[6], row[7] + r * row[8], row[8], row[9])
        r += BLOCK // 2
    while r < row[1]:
        _one1(row[2] + r * row[3], row[3], row[4], _WEIGHTS, row[6], row[7] + r * row[8], row[8], row[9])
        r += 1


LINEAR: dict[int, Kernel] = {8: integer_linear8, 4: integer_linear4, 2: integer_linear2, 1: integer_linear1}


def packed(weight: NDArray[np.int8], size: int, count: int, first: int) -> NDArray[np.int8]:
    """Return weight [outputs, inputs] as `count` panels [pairs, size vectors, 2 LANES]; zeros where there is none."""
    width, pairs = size * LANES, -(-weight.shape[1] // 2)
    part = np.zeros((count * width, 2 * pairs), np.int8)
    here = weight[first : first + count * width]
    part[: len(here), : weight.shape[1]] = here
    apart = part.reshape(count, size, LANES, pairs, 2)
    return np.ascontiguousarray(apart.transpose(0, 3, 1, 2, 4) if X86 else apart.transpose(0, 3, 1, 4, 2))
