"""Products of rows with constant weights: y = x @ weight.T + bias, in panels of outputs (vectors.py).

A panel class is how many vectors of outputs lie side by side; fewer are summed in more parts, so that as many sums are
under way in each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends.native.kernels.vectors import BLOCK, LANES, panel_f32
from edgeseq.jit import Kernel, kernel

CLASSES = (8, 4, 2, 1)
"""Vectors of outputs in a panel. Times the parts of a sum it is eight sums under way at once, for a multiply-add takes
some four cycles, and two start in each."""
NEAR = 1 << 15
"""Bytes of a first-level cache."""
_NONE, _ZERO = np.float32(-np.inf), np.float32(0)

_one8, _half8 = panel_f32(1, 8, 1), panel_f32(BLOCK, 4, 1)
_one4, _half4 = panel_f32(1, 4, 2), panel_f32(BLOCK, 2, 2)
_one2, _half2 = panel_f32(1, 2, 4), panel_f32(BLOCK, 1, 4)
_one1, _pair1 = panel_f32(1, 1, 8), panel_f32(BLOCK // 2, 1, 8)
_VECTOR = 4 * LANES


def reference(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], *, relu: bool) -> NDArray[Any]:
    """Return x @ weight.T + bias, not below zero with a relu."""
    y = x @ weight.T + bias
    return np.maximum(y, 0) if relu else y


# A row: 1 rows, 2 x, 3 its row stride, 4 panels, 5 bias, 6 panels' number, 7 inputs, 8 y, 9 its row stride,
# 10 outputs, 11 relu, 12 whether to begin with the last panel; strides in bytes. A panel is `inputs` rows of weights, a
# vector after the other. Every call goes the other way than the one before: it begins with what caches still hold.
@kernel()
def linear8(row: Any) -> None:
    """Panels of eight vectors."""
    floor = _ZERO if row[11] else _NONE
    row[12] = 1 - row[12]
    for k in range(row[6]):
        p = row[6] - 1 - k if row[12] else k
        w, bias, y = row[4] + p * row[7] * 8 * _VECTOR, row[5] + p * 8 * _VECTOR, row[8] + p * 8 * _VECTOR
        left = row[10] - p * 8 * LANES
        together = row[1] // BLOCK * BLOCK
        for half in range(2 if together else 0):
            at, first = half * 4 * _VECTOR, left - half * 4 * LANES
            for r in range(0, together, BLOCK):
                _half8(
                    row[2] + r * row[3], row[3], w + at, 8 * _VECTOR, row[7], bias + at, y + at + r * row[9], row[9],
                    first, floor,
                )  # fmt: skip
        for r in range(together, row[1]):
            _one8(row[2] + r * row[3], row[3], w, 8 * _VECTOR, row[7], bias, y + r * row[9], row[9], left, floor)


@kernel()
def linear4(row: Any) -> None:
    """Panels of four vectors."""
    floor = _ZERO if row[11] else _NONE
    row[12] = 1 - row[12]
    for k in range(row[6]):
        p = row[6] - 1 - k if row[12] else k
        w, bias, y = row[4] + p * row[7] * 4 * _VECTOR, row[5] + p * 4 * _VECTOR, row[8] + p * 4 * _VECTOR
        left = row[10] - p * 4 * LANES
        together = row[1] // BLOCK * BLOCK
        for half in range(2 if together else 0):
            at, first = half * 2 * _VECTOR, left - half * 2 * LANES
            for r in range(0, together, BLOCK):
                _half4(
                    row[2] + r * row[3], row[3], w + at, 4 * _VECTOR, row[7], bias + at, y + at + r * row[9], row[9],
                    first, floor,
                )  # fmt: skip
        for r in range(together, row[1]):
            _one4(row[2] + r * row[3], row[3], w, 4 * _VECTOR, row[7], bias, y + r * row[9], row[9], left, floor)


@kernel()
def linear2(row: Any) -> None:
    """A panel of two vectors."""
    floor = _ZERO if row[11] else _NONE
    r = 0
    while r + BLOCK <= row[1]:
        x, y = row[2] + r * row[3], row[8] + r * row[9]
        _half2(x, row[3], row[4], 2 * _VECTOR, row[7], row[5], y, row[9], row[10], floor)
        _half2(
            x, row[3], row[4] + _VECTOR, 2 * _VECTOR, row[7], row[5] + _VECTOR, y + _VECTOR, row[9], row[10] - LANES,
            floor,
        )  # fmt: skip
        r += BLOCK
    while r < row[1]:
        y = row[8] + r * row[9]
        _one2(row[2] + r * row[3], row[3], row[4], 2 * _VECTOR, row[7], row[5], y, row[9], row[10], floor)
        r += 1


@kernel()
def linear1(row: Any) -> None:
    """A single vector."""
    floor = _ZERO if row[11] else _NONE
    r = 0
    while r + BLOCK // 2 <= row[1]:
        y = row[8] + r * row[9]
        _pair1(row[2] + r * row[3], row[3], row[4], _VECTOR, row[7], row[5], y, row[9], row[10], floor)
        r += BLOCK // 2
    while r < row[1]:
        y = row[8] + r * row[9]
        _one1(row[2] + r * row[3], row[3], row[4], _VECTOR, row[7], row[5], y, row[9], row[10], floor)
        r += 1


LINEAR: dict[int, Kernel] = {8: linear8, 4: linear4, 2: linear2, 1: linear1}


def panels(outputs: int, each: int) -> list[tuple[int, int, int]]:
    """Return which panels hold so many outputs: (class, number of panels, first output) of each kernel call.

    each: bytes of an output's weights.
    """
    vectors, found, first = -(-outputs // LANES), [], 0
    # A panel that stays in the first cache need not come again when the next call begins with it.
    narrow = 4 * LANES * each <= NEAR <= 8 * LANES * each
    for size in CLASSES[1:] if narrow else CLASSES:
        count = vectors // size
        if count:
            found.append((size, count, first))
            vectors, first = vectors - count * size, first + count * size * LANES
    return found


def packed(weight: NDArray[Any], bias: NDArray[Any], size: int, count: int, first: int) -> tuple[NDArray[Any], ...]:
    """Return weight [outputs, inputs] as `count` panels [inputs, size * LANES], and its bias; filled with zeros."""
    width = size * LANES
    part = np.zeros((count * width, weight.shape[1]), np.float32)
    part_bias = np.zeros(count * width, np.float32)
    here = weight[first : first + count * width]
    part[: len(here)], part_bias[: len(here)] = here, bias[first : first + count * width]
    return np.ascontiguousarray(part.reshape(count, width, -1).transpose(0, 2, 1)), part_bias
