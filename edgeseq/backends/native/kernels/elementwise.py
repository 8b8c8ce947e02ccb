"""The loops of what is computed number by number: one, two or three inputs, stretched as NumPy does.

A row: 1, 2, 3 the loops' lengths, the innermost last; 4 y and 5, 6, 7 its strides; 8 a and 9, 10, 11 its strides; 12 b
and 13, 14, 15; 16 c and 17, 18, 19; 20, 21 parameters. Strides are in bytes. In the innermost loop y has no gaps, and
an input has none or is one number, but never all of them are.
"""

from __future__ import annotations

from typing import Any

import numba

from edgeseq.pointers import i8


@numba.njit(inline="always")
def one(row: Any, into: Any, of: Any, f: Any) -> None:
    """Give f(a); `into` and `of` make pointers to y and a."""
    for i in range(row[1]):
        for j in range(row[2]):
            y = into(row[4] + i * row[5] + j * row[6])
            a = of(row[8] + i * row[9] + j * row[10])
            for k in range(row[3]):
                y[k] = f(a[k])


@numba.njit(inline="always")
def with_parameter(row: Any, into: Any, of: Any, f: Any, parameter: Any) -> None:
    """Give f(a, parameter)."""
    for i in range(row[1]):
        for j in range(row[2]):
            y = into(row[4] + i * row[5] + j * row[6])
            a = of(row[8] + i * row[9] + j * row[10])
            for k in range(row[3]):
                y[k] = f(a[k], parameter)


@numba.njit(inline="always")
def two(row: Any, into: Any, of: Any, f: Any) -> None:
    """Give f(a, b)."""
    for i in range(row[1]):
        for j in range(row[2]):
            y = into(row[4] + i * row[5] + j * row[6])
            a = of(row[8] + i * row[9] + j * row[10])
            b = of(row[12] + i * row[13] + j * row[14])
            if row[11] == 0:
                first = a[0]
                for k in range(row[3]):
                    y[k] = f(first, b[k])
            elif row[15] == 0:
                second = b[0]
                for k in range(row[3]):
                    y[k] = f(a[k], second)
            else:
                for k in range(row[3]):
                    y[k] = f(a[k], b[k])


@numba.njit(inline="always")
def chosen(row: Any, at: Any, size: int) -> None:
    """Give b where the byte a is not zero, else c."""
    solid = row[11] == 1 and row[15] == size and row[19] == size
    for i in range(row[1]):
        for j in range(row[2]):
            y = at(row[4] + i * row[5] + j * row[6])
            a = i8(row[8] + i * row[9] + j * row[10])
            b, c = row[12] + i * row[13] + j * row[14], row[16] + i * row[17] + j * row[18]
            if solid:
                yes, no = at(b), at(c)
                for k in range(row[3]):
                    here, there = yes[k], no[k]
                    y[k] = here if a[k] != 0 else there
            elif row[11] == 1 and row[15] == 0 and row[19] == size:
                here, no = at(b)[0], at(c)
                for k in range(row[3]):
                    there = no[k]
                    y[k] = here if a[k] != 0 else there
            elif row[11] == 1 and row[15] == size and row[19] == 0:
                yes, there = at(b), at(c)[0]
                for k in range(row[3]):
                    here = yes[k]
                    y[k] = here if a[k] != 0 else there
            else:
                for k in range(row[3]):
                    here, there = at(b + k * row[15])[0], at(c + k * row[19])[0]
                    y[k] = here if a[k * row[11]] != 0 else there
