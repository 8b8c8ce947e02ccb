"""What one core can at most, as far as NumPy gets there: for machines that Numba has no wheels for."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from edgeseq.bench.quickest import quickest_ns

ROUND_BYTES = 1 << 22
SIDE = 256
"""Of the matrices that are multiplied: large enough for BLAS's best kernel."""


def bandwidth_gb_s(size: int) -> float:
    """Return how fast `size` bytes are read again and again, in 10⁹ bytes a second."""
    numbers = np.ones(size // 8, np.int64)
    rounds = max(1, ROUND_BYTES // numbers.nbytes)
    # Rows that all lie in the same place: one call reads it many times.
    rows = as_strided(numbers, (rounds, len(numbers)), (0, 8))
    return rounds * numbers.nbytes / quickest_ns(lambda: np.bitwise_or.reduce(rows, axis=1))


def gmac_s() -> float:
    """Return how many float32 products are added up, in 10⁹ a second."""
    matrix = np.full((SIDE, SIDE), 0.5, np.float32)
    out = np.empty_like(matrix)
    return SIDE**3 / quickest_ns(lambda: np.matmul(matrix, matrix, out=out))
