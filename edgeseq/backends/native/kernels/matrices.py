"""Products of two matrices, or stacks of them.

A row: 1, 2 loops over stacks; 3 rows of a; 4 inputs; 5 columns of b; 6 y, 7, 8, 9 its strides over stacks and rows;
10 a, 11, 12 over stacks, 13 from row to row, 14 from input to input; 15 b, 16, 17 over stacks, 18 from input to input,
19 from column to column; 20 zeros. Strides are in bytes. Sums are taken in an order that hangs on the inputs' number
alone.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from edgeseq.backends.native.kernels.vectors import LANES, panel_f32
from edgeseq.jit import kernel
from edgeseq.pointers import f32, f64

_VECTOR = 4 * LANES
_ANYTHING = np.float32(-np.inf)
_four, _two, _one = panel_f32(1, 4, 2), panel_f32(1, 2, 4), panel_f32(1, 1, 8)


@kernel()
def by_columns(row: Any) -> None:
    """Sums for vectors of columns: b's lie side by side, and so do a's inputs."""
    for i in range(row[1]):
        for j in range(row[2]):
            for r in range(row[3]):
                y = row[6] + i * row[7] + j * row[8] + r * row[9]
                a = row[10] + i * row[11] + j * row[12] + r * row[13]
                b = row[15] + i * row[16] + j * row[17]
                left = row[5]
                # As many vectors as there are numbers for: beyond a row's end less than a vector is read.
                while left > 3 * LANES:
                    _four(a, 0, b, row[18], row[4], row[20], y, 0, left, _ANYTHING)
                    left, y, b = left - 4 * LANES, y + 4 * _VECTOR, b + 4 * _VECTOR
                while left > LANES:
                    _two(a, 0, b, row[18], row[4], row[20], y, 0, left, _ANYTHING)
                    left, y, b = left - 2 * LANES, y + 2 * _VECTOR, b + 2 * _VECTOR
                while left > 0:
                    _one(a, 0, b, row[18], row[4], row[20], y, 0, left, _ANYTHING)
                    left, y, b = left - LANES, y + _VECTOR, b + _VECTOR


@numba.njit(fastmath={"reassoc", "contract"})
def _product(a: Any, b: Any, n: int) -> Any:
    y = np.float32(0)
    for k in range(n):
        y += a[k] * b[k]
    return y


@kernel()
def by_inputs(row: Any) -> None:
    """Sums of vectors of inputs: those of a and those of b lie side by side."""
    for i in range(row[1]):
        for j in range(row[2]):
            b = row[15] + i * row[16] + j * row[17]
            for r in range(row[3]):
                y = f32(row[6] + i * row[7] + j * row[8] + r * row[9])
                a = f32(row[10] + i * row[11] + j * row[12] + r * row[13])
                for o in range(row[5]):
                    y[o] = _product(a, f32(b + o * row[19]), row[4])


@kernel()
def of_doubles(row: Any) -> None:
    """In float64, one sum after the other."""
    for i in range(row[1]):
        for j in range(row[2]):
            for r in range(row[3]):
                y = f64(row[6] + i * row[7] + j * row[8] + r * row[9])
                a = row[10] + i * row[11] + j * row[12] + r * row[13]
                b = row[15] + i * row[16] + j * row[17]
                for o in range(row[5]):
                    total = 0.0
                    for k in range(row[4]):
                        total += f64(a + k * row[14])[0] * f64(b + k * row[18] + o * row[19])[0]
                    y[o] = total
