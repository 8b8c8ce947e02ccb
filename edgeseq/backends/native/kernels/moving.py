"""Numbers from one place to another, as they are: up to four nested loops over strides.

A row: 1..4 the loops' lengths, the innermost last; 5 to, 6..9 its strides; 10 from, 11..14 its strides; in bytes.
"""

from __future__ import annotations

from typing import Any

import numba

from edgeseq.backends.native.kernels.memory import i8, i16, i32, i64
from edgeseq.jit import Kernel, kernel


@numba.njit(inline="always")
def _copy(row: Any, at: Any, size: int) -> None:
    n, side_by_side = row[4], row[9] == size and row[14] == size
    for i in range(row[1]):
        for j in range(row[2]):
            for k in range(row[3]):
                to = row[5] + i * row[6] + j * row[7] + k * row[8]
                source = row[10] + i * row[11] + j * row[12] + k * row[13]
                if side_by_side:
                    a, b = at(to), at(source)
                    for m in range(n):
                        a[m] = b[m]
                else:
                    for m in range(n):
                        at(to + m * row[9])[0] = at(source + m * row[14])[0]


@kernel()
def copy1(row: Any) -> None:
    """Bytes."""
    _copy(row, i8, 1)


@kernel()
def copy2(row: Any) -> None:
    """Pairs of bytes."""
    _copy(row, i16, 2)


@kernel()
def copy4(row: Any) -> None:
    """Numbers of four bytes."""
    _copy(row, i32, 4)


@kernel()
def copy8(row: Any) -> None:
    """Numbers of eight bytes."""
    _copy(row, i64, 8)


COPY: dict[int, Kernel] = {1: copy1, 2: copy2, 4: copy4, 8: copy8}
