"""How an input or output stores real numbers as integers, where it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDEST = 16
"""Bits of the widest integers all of which are tried."""


@dataclass(frozen=True, slots=True)
class Scale:
    """real = (stored - zero_point) * scale, stored as `dtype`."""

    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    def stored(self, real: NDArray[Any]) -> NDArray[Any]:
        """Return real numbers as integers: rounded half to even, and clipped to what the type holds."""
        limits = np.iinfo(self.dtype)
        rounded = np.rint(np.asarray(real, np.float64) / self.scale) + self.zero_point
        return np.asarray(np.clip(rounded, limits.min, limits.max).astype(self.dtype))

    def real(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return what integers mean."""
        return ((stored.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)

    def means(self, other: Scale) -> bool:
        """Whether every integer means the same by both: scales that differ in the last bit of a float32 do not count.

        Converters note the scale of one quantity at two places, and round it differently.
        """
        if self == other:
            return True
        if self.dtype != other.dtype or self.dtype.itemsize * 8 > WIDEST:
            return False
        limits = np.iinfo(self.dtype)
        every = np.arange(limits.min, limits.max + 1).astype(self.dtype)
        return np.array_equal(self.stored(other.real(every)), every)

    def words(self) -> str:
        """Say it."""
        return f"{self.dtype} at scale {self.scale:.6g} from {self.zero_point}"
