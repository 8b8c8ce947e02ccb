"""Windows that slide over their memory: what moves on is not their rows but the addresses that others read them by.

A row: 1 where pairs stand, of the address of a number that slides and of what it is at first, those of the window's own
address first; 2 their number; 3 bytes to slide; 4 how often it has slid; 5 how often it can; 6 blocks of rows; 7 from
block to block; 8 bytes of a block that are kept; in bytes.
"""

from __future__ import annotations

from typing import Any

from edgeseq.jit import kernel
from edgeseq.pointers import i8, i64


@kernel()
def slide(row: Any) -> None:
    """Slide on; at the memory's end, first bring what is kept back to its start."""
    pairs, by, slid = i64(row[1]), row[3], row[4]
    if slid < row[5]:
        slid += 1
    else:
        to = pairs[1]
        source = to + (slid + 1) * by
        for k in range(row[6]):
            a, b = i8(to + k * row[7]), i8(source + k * row[7])
            for m in range(row[8]):
                a[m] = b[m]
        slid = 0
    row[4] = slid
    # From where they stood at first, so that two threads that step one model spoil its numbers and nothing else.
    for k in range(0, 2 * row[2], 2):
        i64(pairs[k])[0] = pairs[k + 1] + slid * by
