"""What one core can at most, in compiled loops that do nothing else: reading, and multiplying with adding.

They call nothing in other files, so that the date of this one, which Numba looks at, is enough to compile them anew.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq import jit
from edgeseq.bench.quickest import quickest_ns

ROUND_BYTES = 1 << 22
"""Read in one call, so that the call itself does not count."""
LINE = 64
"""Bytes of a cache line, which an array begins with: reads across two lines take twice as long."""
FMA_NUMBERS = 1024
FMA_ROUNDS = 100
FMA_PER_NUMBER = 32


@jit.entry("void(uint64[::1], int64, uint64[::1])")
def read_all(numbers: NDArray[np.uint64], rounds: int, out: NDArray[np.uint64]) -> None:
    """Read `numbers` as many times as `rounds` says; what comes of it is used, or nothing would be read."""
    for turn in range(rounds):
        found = np.uint64(0)
        for i in range(numbers.shape[0]):
            found |= numbers[i]
        out[turn & 7] = found


@jit.entry("void(float32[::1], int64, float32[::1])", fastmath=("contract",))
def multiply_add(numbers: NDArray[np.float32], rounds: int, by: NDArray[np.float32]) -> None:
    """Put each number through four chains of 8 multiply-adds: enough of them side by side to fill the pipelines."""
    b, c, d, e = by[0], by[1], by[2], by[3]
    for _ in range(rounds):
        for i in range(numbers.shape[0]):
            p = q = s = t = numbers[i]
            for _ in range(FMA_PER_NUMBER // 4):
                p, q, s, t = p * b + c, q * c + d, s * d + e, t * e + b
            numbers[i] = (p + q) + (s + t)


def bandwidth_gb_s(size: int) -> float:
    """Return how fast `size` bytes are read again and again, in 10⁹ bytes a second."""
    room = np.ones(size // 8 + LINE // 8, np.uint64)
    first = -room.ctypes.data % LINE // 8
    numbers, out = room[first : first + size // 8], np.zeros(8, np.uint64)
    rounds = max(1, ROUND_BYTES // numbers.nbytes)
    read = read_all.compiled
    return rounds * numbers.nbytes / quickest_ns(lambda: read(numbers, rounds, out))


def gmac_s() -> float:
    """Return how many float32 products are added up, in 10⁹ a second."""
    numbers, by = np.full(FMA_NUMBERS, 0.5, np.float32), np.array([0.5, 0.4, 0.3, 0.2], np.float32)
    multiply = multiply_add.compiled
    macs = FMA_ROUNDS * FMA_NUMBERS * FMA_PER_NUMBER
    return macs / quickest_ns(lambda: multiply(numbers, FMA_ROUNDS, by))
