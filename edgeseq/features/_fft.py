"""The real Fourier transform for kernels, and the tapers before it.

A kernel transforms one row at a time: several at once would be quicker by half, but what a row gives would then depend
on how many came with it, in its last bits.
"""

from __future__ import annotations

from typing import Any, Literal

import numba
import numpy as np
import rocket_fft
from numpy.typing import NDArray

Taper = Literal["hann", "hamming", "blackman", "flattop", "boxcar"]
_COSINES: dict[str, tuple[float, ...]] = {
    "boxcar": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
    "flattop": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
}
_AXIS = np.zeros(1, np.int64)


def taper(name: Taper, size: int, *, symmetric: bool = False) -> NDArray[np.float64]:
    """Return float64[size], size >= 2: the weights of a row's samples before it is transformed.

    symmetric: the last is as the first; else the row goes on periodically, and the weight after the last would be.
    Source: Harris, "On the use of windows for harmonic analysis", Proc. IEEE 66, 1978; flattop: ISO 18431-2.
    """
    angle = 2 * np.pi * np.arange(size) / (size - symmetric)
    return np.asarray(sum((-1) ** k * part * np.cos(k * angle) for k, part in enumerate(_COSINES[name])), np.float64)


@numba.njit
def tapered(x: Any, weights: Any, row: Any) -> None:
    """Write x[size] * weights[size] to row[n], and zeros behind it."""
    size = len(weights)
    for i in range(size):
        row[i] = x[i] * weights[i]
    row[size:] = 0


@numba.njit
def forward(row: Any, spectrum: Any) -> None:
    """Write spectrum[n // 2 + 1], complex, of row[n]: float64 and complex128, or float32 and complex64."""
    rocket_fft.r2c(row, spectrum, _AXIS, True, 1.0, 1)


@numba.njit
def backward(spectrum: Any, row: Any) -> None:
    """Write row[n] of spectrum[n // 2 + 1]: what `forward` has transformed."""
    rocket_fft.c2r(spectrum, row, _AXIS, False, 1.0 / len(row), 1)


@numba.njit
def power(spectrum: Any, squares: Any) -> None:
    """Write the squared magnitudes of spectrum[bins] to squares[bins]."""
    for k in range(len(squares)):
        squares[k] = spectrum[k].real ** 2 + spectrum[k].imag ** 2
