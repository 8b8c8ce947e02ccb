"""Numbers from one place to another, as they are: up to four nested loops over strides.

A row: 1..4 the loops' lengths, the innermost last; 5 to, 6..9 its strides; 10 from, 11..14 its strides; in bytes.
"""

from __future__ import annotations

from typing import Any

import numba

from edgeseq.jit import Kernel, kernel
from edgeseq.pointers import i8, i16, i32, i64


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


# A row: 1 bytes, 2 to, 3 from.
@kernel()
def copy_solid(row: Any) -> None:
    """Bytes that lie side by side."""
    a, b = i8(row[2]), i8(row[3])
    for k in range(row[1]):
        a[k] = b[k]


# A row: 1 streams, 2 blocks before the axis, 3 indices, 4 entries along the axis, 5 numbers in an entry; 6 to; 7 from,
# 8, 9, 10 its strides over streams, blocks and entries; 11 indices, 12 their stride over streams; in bytes.
@numba.njit(inline="always")
def _gather(row: Any, at: Any, size: int) -> None:
    to, last = row[6], row[4] - 1
    for s in range(row[1]):
        places = i64(row[11] + s * row[12])
        for i in range(row[2]):
            source = row[7] + s * row[8] + i * row[9]
            for k in range(row[3]):
                place = places[k] + row[4] if places[k] < 0 else places[k]
                # An index that names nothing must not lead out of the buffer.
                a, b = at(to), at(source + min(max(place, 0), last) * row[10])
                for m in range(row[5]):
                    a[m] = b[m]
                to += size * row[5]


@kernel()
def gather1(row: Any) -> None:
    """Bytes."""
    _gather(row, i8, 1)


@kernel()
def gather2(row: Any) -> None:
    """Pairs of bytes."""
    _gather(row, i16, 2)


@kernel()
def gather4(row: Any) -> None:
    """Numbers of four bytes."""
    _gather(row, i32, 4)


@kernel()
def gather8(row: Any) -> None:
    """Numbers of eight bytes."""
    _gather(row, i64, 8)


COPY: dict[int, Kernel] = {1: copy1, 2: copy2, 4: copy4, 8: copy8}
GATHER: dict[int, Kernel] = {1: gather1, 2: gather2, 4: gather4, 8: gather8}
