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

from edgeseq.features import _butterflies
from edgeseq.features._board import board
from edgeseq.features._lanes import LANES, UNZIPPED
from edgeseq.jit import inline, kernel
from edgeseq.pointers import call, f64, i64

Taper = Literal["hann", "hamming", "blackman", "flattop", "boxcar"]
_COSINES: dict[str, tuple[float, ...]] = {
    "boxcar": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
    "flattop": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
}
_AXIS = np.zeros(1, np.int64)
LEAST = 128
"""Powers of two from here on are transformed here, anything else by rocket-fft, which is pocketfft in kernels."""
KERNEL, POINTS, SOURCE, TO, SQUARED, SCRATCH, LAST, COUNT, PASSES = range(9)
"""Where in a plan: the kernel's address; the points; from where to where it transforms, and whether to squares; what it
works in; the turns of the last step; how many passes there are; from here on each one's radix and turns."""
_first = _butterflies.first(8)
_later4, _last4 = (_butterflies.later(4, last=last) for last in (False, True))
_later8, _last8 = (_butterflies.later(8, last=last) for last in (False, True))


def taper(name: Taper, size: int, *, symmetric: bool = False) -> NDArray[np.float64]:
    """Return float64[size], size >= 2: the weights of a row's samples before it is transformed.

    symmetric: the last is as the first; else the row goes on periodically, and the weight after the last would be.
    Source: Harris, "On the use of windows for harmonic analysis", Proc. IEEE 66, 1978; flattop: ISO 18431-2.
    """
    angle = 2 * np.pi * np.arange(size) / (size - symmetric)
    return np.asarray(sum((-1) ** k * part * np.cos(k * angle) for k, part in enumerate(_COSINES[name])), np.float64)


def plan(points: int) -> NDArray[np.int64]:
    """Return what rows of so many points are transformed by. A plan is worked in, so it is one kernel's at a time."""
    half = points // 2
    if points & (points - 1) or points < LEAST:
        made = board(PASSES, {SCRATCH: np.zeros(half + 1, np.complex128)})
        made[KERNEL], made[POINTS] = _of_any.address, points
        return made
    # As few passes as there can be of 8 and 4: of 16 too many numbers would be at work for the registers there are.
    eights, rest = divmod(half.bit_length() - 1, 3)
    radices = [*[8] * (eights - (rest == 1)), *[4] * (-rest % 3)]
    last = -0.5j * _turns(points, np.arange(half // 2)[:, None])
    parts: dict[int, NDArray[Any]] = {SCRATCH: np.zeros((4, half + LANES)), LAST: _in_lanes(last, [*range(LANES)])}
    rest = half
    for place, radix in enumerate(radices):
        turns = _turns(rest, np.outer(np.arange(rest // radix), np.arange(1, radix)))
        # In the first pass neighbours are turned by angles of their own, in later ones all lanes by the same.
        parts[PASSES + 2 * place + 1] = turns if place else _in_lanes(turns, UNZIPPED)
        rest //= radix
    made = board(PASSES + 2 * len(radices), parts)
    made[KERNEL], made[POINTS], made[COUNT] = _of_powers_of_two.address, points, len(radices)
    made[PASSES::2] = radices
    return made


def _turns(n: int, places: NDArray[np.int64]) -> NDArray[np.complex128]:
    return np.asarray(np.exp(-2j * np.pi * (places % n) / n))


def _in_lanes(turns: NDArray[np.complex128], order: list[int]) -> NDArray[np.float64]:
    """Return float64[n / LANES, m, 2, LANES] of turns[n, m], real parts and imaginary ones, lanes in this order."""
    parts = np.stack([turns.real, turns.imag], axis=2)
    return parts.reshape(-1, LANES, *parts.shape[1:])[:, order].transpose(0, 2, 3, 1)


@numba.njit
def tapered(x: Any, weights: Any, row: Any) -> None:
    """Write x[size] * weights[size] to row[n], and zeros behind it."""
    size = len(weights)
    for i in range(size):
        row[i] = x[i] * weights[i]
    row[size:] = 0


@inline
def run(plan: Any, source: Any, to: Any, squared: Any) -> None:
    """Transform float64[points] at an address as `forward` does, or as `power` does; a plan by its own address."""
    plan[SOURCE], plan[TO], plan[SQUARED] = source, to, squared
    call(plan[KERNEL], plan)


@inline
def forward(plan: Any, row: Any, spectrum: Any) -> None:
    """Write spectrum[points // 2 + 1], complex128, of row[points], float64."""
    run(i64(plan.ctypes.data), row.ctypes.data, spectrum.ctypes.data, 0)


@inline
def power(plan: Any, row: Any, squares: Any) -> None:
    """Write squares[points // 2 + 1], the squared magnitudes of the spectrum of row[points]."""
    run(i64(plan.ctypes.data), row.ctypes.data, squares.ctypes.data, 1)


@numba.njit
def backward(spectrum: Any, row: Any) -> None:
    """Write row[n] of spectrum[n // 2 + 1]: what `forward` has transformed."""
    rocket_fft.c2r(spectrum, row, _AXIS, False, 1.0 / len(row), 1)


@kernel()
def _of_any(plan: Any) -> None:
    points, bins = plan[POINTS], plan[POINTS] // 2 + 1
    row = numba.carray(f64(plan[SOURCE]), points)
    if plan[SQUARED]:
        parts, squares = f64(plan[SCRATCH]), f64(plan[TO])
        rocket_fft.r2c(row, numba.carray(parts, 2 * bins).view(np.complex128), _AXIS, True, 1.0, 1)
        for k in range(bins):
            squares[k] = parts[2 * k] ** 2 + parts[2 * k + 1] ** 2
    else:
        rocket_fft.r2c(row, numba.carray(f64(plan[TO]), 2 * bins).view(np.complex128), _AXIS, True, 1.0, 1)


@kernel()
def _of_powers_of_two(plan: Any) -> None:
    """Transform pairs of neighbours as complex numbers, pass by pass, then part what belongs to the two.

    Source: Stockham, "High-speed convolution and correlation", 1966, as in Van Loan, "Computational frameworks for the
    fast Fourier transform", 1992, section 1.7: every pass leaves its results where the next one reads along lanes.
    """
    half = plan[POINTS] // 2
    apart = 8 * (half + LANES)
    re, im, to_re, to_im = plan[SCRATCH], plan[SCRATCH] + apart, plan[SCRATCH] + 2 * apart, plan[SCRATCH] + 3 * apart
    turns, rest, stride = plan[PASSES + 1], half // 8, 8
    for i in range(0, rest, LANES):
        _first(plan[SOURCE] + 16 * i, rest, turns, re + 64 * i, im + 64 * i)
        turns += 8 * 14 * LANES
    for which in range(1, plan[COUNT]):
        radix, turns = plan[PASSES + 2 * which], plan[PASSES + 2 * which + 1]
        distance, last, rest = half // radix, rest == radix, rest // radix
        for p in range(rest):
            for q in range(0, stride, LANES):
                here, there = 8 * (stride * p + q), 8 * (stride * radix * p + q)
                if radix == 4:  # noqa: PLR2004
                    if last:
                        _last4(re + here, im + here, distance, turns, to_re + there, to_im + there, stride)
                    else:
                        _later4(re + here, im + here, distance, turns, to_re + there, to_im + there, stride)
                elif last:
                    _last8(re + here, im + here, distance, turns, to_re + there, to_im + there, stride)
                else:
                    _later8(re + here, im + here, distance, turns, to_re + there, to_im + there, stride)
            turns += 16 * (radix - 1)
        stride *= radix
        re, im, to_re, to_im = to_re, to_im, re, im
    _parted(plan, half, re, im)


@inline
def _parted(plan: Any, half: Any, re: Any, im: Any) -> None:
    """Write the lines of a row of real numbers of what its pairs gave as complex ones."""
    real, imaginary, to = f64(re), f64(im), f64(plan[TO])
    real[half], imaginary[half] = real[0], imaginary[0]
    middle = half // 2
    if plan[SQUARED]:
        for k in range(middle - LANES, -1, -LANES):
            _butterflies.squares(re, im, k, half - k, plan[LAST], plan[TO])
        to[middle] = real[middle] ** 2 + imaginary[middle] ** 2
    else:
        for k in range(middle - LANES, -1, -LANES):
            _butterflies.spectrum(re, im, k, half - k, plan[LAST], plan[TO])
        to[2 * middle], to[2 * middle + 1] = real[middle], -imaginary[middle]
