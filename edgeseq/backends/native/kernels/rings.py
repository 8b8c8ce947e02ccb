"""Windows that slide over their memory: what moves on is not their rows but the addresses that others read them by.

A row: 1 where the addresses of all that slides stand, the first of them that of the window's own address; 2 their
number; 3 bytes to slide; 4 how often it has slid; 5 how often it can; 6 blocks of rows; 7 from block to block; 8 bytes
of a block that are kept; in bytes.
"""

from __future__ import annotations

from typing import Any

from edgeseq.jit import kernel
from edgeseq.pointers import i8, i64


@kernel()
def slide(row: Any) -> None:
    """Slide on; at the memory's end, first bring what is kept back to its start."""
    followers, by = i64(row[1]), row[3]
    if row[4] < row[5]:
        row[4] += 1
    else:
        source = i64(followers[0])[0] + by
        by = -row[4] * by
        to = source - row[3] + by
        for k in range(row[6]):
            a, b = i8(to + k * row[7]), i8(source + k * row[7])
            for m in range(row[8]):
                a[m] = b[m]
        row[4] = 0
    for k in range(row[2]):
        i64(followers[k])[0] += by
