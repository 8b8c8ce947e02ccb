"""Welch's estimate inside kernels: squared magnitudes averaged over the overlapping segments of a window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._fft import Taper, plan, power, taper, tapered
from edgeseq.jit import REASSOCIATED

Detrend = Literal["none", "constant", "linear"]
KEPT, MEAN, LINE = range(3)
_DETREND = {"none": KEPT, "constant": MEAN, "linear": LINE}


@dataclass(frozen=True, slots=True)
class Segments:
    """How a window is cut: a segment of `size` samples every `step`, each detrended, then weighted.

    weights: float64[size]. plan: what they are transformed by. frequencies: float64[size // 2 + 1], Hz. sides:
    float64[size // 2 + 1], 2 for the lines that stand for a negative frequency as well, else 1.
    """

    size: int
    step: int
    detrend: int
    weights: NDArray[np.float64]
    plan: NDArray[np.int64]
    frequencies: NDArray[np.float64]
    sides: NDArray[np.float64]

    @property
    def density(self) -> NDArray[np.float64]:
        """float64[size // 2 + 1], what turns squared magnitudes into unit² / Hz, one-sided."""
        rate_hz = self.frequencies[1] * self.size
        return self.sides / (rate_hz * (self.weights**2).sum())

    @property
    def squares(self) -> NDArray[np.float64]:
        """float64[size // 2 + 1], what turns squared magnitudes into unit²: a sine's line is its mean square."""
        return self.sides / self.weights.sum() ** 2


def segments(
    window: int, rate_hz: float, *, segment: float | None, overlap: float, weights: Taper, detrend: Detrend
) -> Segments:
    """Return how a window of samples is cut into segments of so many seconds, default all of it.

    overlap: the share of a segment that the next one repeats. Raises ConfigError where a segment does not fit.
    """
    size = window if segment is None else round(segment * rate_hz) if math.isfinite(segment) else 0
    if not 4 <= size <= window:  # noqa: PLR2004 - fewer have no line between zero and half the rate
        raise ConfigError(f"a segment must have 4 samples to the window's {window} at {rate_hz:g} Hz, not {size}.")
    if not 0 <= overlap < 1:
        raise ConfigError(f"overlap must be a share of a segment from 0 to below 1, not {overlap:g}.")
    sides = np.full(size // 2 + 1, 2.0)
    sides[0] = 1
    if size % 2 == 0:
        sides[-1] = 1
    frequencies = np.arange(size // 2 + 1) * rate_hz / size
    step, weighted = size - int(overlap * size), taper(weights, size)
    return Segments(size, step, _DETREND[detrend], weighted, plan(size), frequencies, sides)


@numba.njit(fastmath={*REASSOCIATED})
def detrended(x: Any, detrend: int, row: Any) -> None:
    """Write x[size] to row[size] without its mean or without the straight line that fits it best."""
    size = len(x)
    mean = slope = 0.0
    centre = (size - 1) / 2
    if detrend >= MEAN:
        for i in range(size):
            mean += x[i]
        mean /= size
    if detrend == LINE:
        for i in range(size):
            slope += (i - centre) * x[i]
        slope *= 12 / (size * (size * size - 1.0))
    for i in range(size):
        row[i] = x[i] - mean - slope * (i - centre)


@numba.njit
def transformed(x: Any, detrend: int, weights: Any, plan: Any, row: Any, squares: Any) -> None:
    """Write squares[size // 2 + 1], the squared magnitudes of a segment x[size], by way of row[size]."""
    detrended(x, detrend, row)
    tapered(row, weights, row)
    power(plan, row, squares)


@numba.njit
def averaged(w: Any, step: int, detrend: int, weights: Any, plan: Any, row: Any, squares: Any, mean: Any) -> None:
    """Write mean[bins], the squared magnitudes averaged over the segments of a window w, by way of the others."""
    mean[:] = 0
    count = (len(w) - len(weights)) // step + 1
    for j in range(count):
        transformed(w[j * step : j * step + len(weights)], detrend, weights, plan, row, squares)
        for b in range(len(mean)):
            mean[b] += squares[b]
    for b in range(len(mean)):
        mean[b] /= count
