"""What the gates of recurrent layers are made of, several elementwise operations in one pass.

A row: 1 rows, 2 columns; 3 y and 4 its row stride; then each operand and its row stride. Columns lie side by side,
strides are in numbers, all are float32.
"""

from __future__ import annotations

from typing import Any

import numba

from edgeseq.backends.native.kernels.functions import fma, sigmoid, tanh
from edgeseq.jit import kernel
from edgeseq.pointers import f32


@numba.njit(inline="always")
def _row(row: Any, place: int, r: int) -> Any:
    return f32(row[place] + 4 * r * row[place + 1])


@kernel()
def sum_sigmoid(row: Any) -> None:
    """Give sigmoid(a + b)."""
    for r in range(row[1]):
        y, a, b = _row(row, 3, r), _row(row, 5, r), _row(row, 7, r)
        for k in range(row[2]):
            y[k] = sigmoid(a[k] + b[k])


@kernel()
def sum_tanh(row: Any) -> None:
    """Give tanh(a + b)."""
    for r in range(row[1]):
        y, a, b = _row(row, 3, r), _row(row, 5, r), _row(row, 7, r)
        for k in range(row[2]):
            y[k] = tanh(a[k] + b[k])


@kernel()
def gated_tanh(row: Any) -> None:
    """Give tanh(a + b * c)."""
    for r in range(row[1]):
        y, a, b, c = _row(row, 3, r), _row(row, 5, r), _row(row, 7, r), _row(row, 9, r)
        for k in range(row[2]):
            y[k] = tanh(fma(b[k], c[k], a[k]))


@kernel()
def mixed(row: Any) -> None:
    """Give a + b * (c - a)."""
    for r in range(row[1]):
        y, a, b, c = _row(row, 3, r), _row(row, 5, r), _row(row, 7, r), _row(row, 9, r)
        for k in range(row[2]):
            y[k] = fma(b[k], c[k] - a[k], a[k])


@kernel()
def carried(row: Any) -> None:
    """Give a * b + c * d."""
    for r in range(row[1]):
        y, a, b, c, d = _row(row, 3, r), _row(row, 5, r), _row(row, 7, r), _row(row, 9, r), _row(row, 11, r)
        for k in range(row[2]):
            y[k] = fma(a[k], b[k], c[k] * d[k])


@kernel()
def shown(row: Any) -> None:
    """Give a * tanh(b)."""
    for r in range(row[1]):
        y, a, b = _row(row, 3, r), _row(row, 5, r), _row(row, 7, r)
        for k in range(row[2]):
            y[k] = a[k] * tanh(b[k])
