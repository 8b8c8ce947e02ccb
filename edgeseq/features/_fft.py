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
SPECTRUM, SQUARES, BACK = range(3)
"""What a transform gives: lines, their squared magnitudes, or of lines the row that they are of."""
KERNEL, POINTS, SOURCE, TO, FORM, SCRATCH, LAST, SCALE, COUNT, PASSES = range(10)
"""Where in a plan: the kernel's address; the points; from where to where it transforms, and to what; what it works in;
the turns of the last step; what a row is multiplied by on the way back; how many passes there are; from here on each
one's radix and turns."""
_OWN = 64
"""Pairs of numbers of whose multiples, by 2 and 5, rows are transformed here; others by rocket-fft, which is pocketfft
in kernels."""
_first = _butterflies.first(8)
_later4, _last4 = (_butterflies.later(4, last=last) for last in (False, True))
_later5, _last5 = (_butterflies.later(5, last=last) for last in (False, True))
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
    radices = [] if points % 2 else _radices(half)
    if not radices:
        made = board(PASSES, {SCRATCH: np.zeros(half + 1, np.complex128)})
        made[KERNEL], made[POINTS] = _of_any.address, points
        return made
    last = -0.5j * _turns(points, np.arange(half // 2)[:, None])
    parts: dict[int, NDArray[Any]] = {SCRATCH: np.zeros((4, half + LANES)), SCALE: np.array([1 / half])}
    parts[LAST] = _in_lanes(last, [*range(LANES)])
    rest = half
    for place, radix in enumerate(radices):
        turns = _turns(rest, np.outer(np.arange(rest // radix), np.arange(1, radix)))
        # In the first pass neighbours are turned by angles of their own, in later ones all lanes by the same.
        parts[PASSES + 2 * place + 1] = turns if place else _in_lanes(turns, UNZIPPED)
        rest //= radix
    made = board(PASSES + 2 * len(radices), parts)
    made[KERNEL], made[POINTS], made[COUNT] = _of_twos_and_fives.address, points, len(radices)
    made[PASSES::2] = radices
    return made


def _radices(half: int) -> list[int]:
    """Return the radices of so many pairs, the first of them 8; none where there are other factors than 2 and 5."""
    twos = (half & -half).bit_length() - 1
    rest, fives = half >> twos, 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if half % _OWN or rest != 1:
        return []
    # As few passes as there can be of 8 and 4: of 16 too many numbers would be at work for the registers there are.
    eights, left = divmod(twos, 3)
    return [8] * (eights - (left == 1)) + [4] * (-left % 3) + [5] * fives


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
def run(plan: Any, source: Any, to: Any, form: Any) -> None:
    """Transform what stands at an address, as the functions below do; a plan by its own address."""
    plan[SOURCE], plan[TO], plan[FORM] = source, to, form
    call(plan[KERNEL], plan)


@inline
def forward(plan: Any, row: Any, spectrum: Any) -> None:
    """Write spectrum[points // 2 + 1], complex128, of row[points], float64."""
    run(i64(plan.ctypes.data), row.ctypes.data, spectrum.ctypes.data, SPECTRUM)


@inline
def power(plan: Any, row: Any, squares: Any) -> None:
    """Write squares[points // 2 + 1], the squared magnitudes of the spectrum of row[points]."""
    run(i64(plan.ctypes.data), row.ctypes.data, squares.ctypes.data, SQUARES)


@inline
def backward(plan: Any, spectrum: Any, row: Any) -> None:
    """Write row[points] of spectrum[points // 2 + 1]: what `forward` has transformed."""
    run(i64(plan.ctypes.data), spectrum.ctypes.data, row.ctypes.data, BACK)


@kernel()
def _of_any(plan: Any) -> None:
    points, bins = plan[POINTS], plan[POINTS] // 2 + 1
    if plan[FORM] == BACK:
        spectrum = numba.carray(f64(plan[SOURCE]), 2 * bins).view(np.complex128)
        rocket_fft.c2r(spectrum, numba.carray(f64(plan[TO]), points), _AXIS, False, 1.0 / points, 1)
        return
    row = numba.carray(f64(plan[SOURCE]), points)
    if plan[FORM] == SPECTRUM:
        rocket_fft.r2c(row, numba.carray(f64(plan[TO]), 2 * bins).view(np.complex128), _AXIS, True, 1.0, 1)
        return
    parts, squares = f64(plan[SCRATCH]), f64(plan[TO])
    rocket_fft.r2c(row, numba.carray(parts, 2 * bins).view(np.complex128), _AXIS, True, 1.0, 1)
    for k in range(bins):
        squares[k] = parts[2 * k] ** 2 + parts[2 * k + 1] ** 2


@inline
def _later(radix: Any, last: Any, re: Any, im: Any, distance: Any, turns: Any, to: Any, to_im: Any, apart: Any) -> None:
    """Make LANES transforms of a pass."""
    if radix == 8:  # noqa: PLR2004
        if last:
            _last8(re, im, distance, turns, to, to_im, apart)
        else:
            _later8(re, im, distance, turns, to, to_im, apart)
    elif radix == 4:  # noqa: PLR2004
        if last:
            _last4(re, im, distance, turns, to, to_im, apart)
        else:
            _later4(re, im, distance, turns, to, to_im, apart)
    elif last:
        _last5(re, im, distance, turns, to, to_im, apart)
    else:
        _later5(re, im, distance, turns, to, to_im, apart)


@kernel()
def _of_twos_and_fives(plan: Any) -> None:
    """Transform pairs of neighbours as complex numbers, pass by pass, then part what belongs to the two.

    The way back is the same from the conjugates on of what has not been parted yet.
    Source: Stockham, "High-speed convolution and correlation", 1966, as in Van Loan, "Computational frameworks for the
    fast Fourier transform", 1992, section 1.7: every pass leaves its results where the next one reads along lanes.
    """
    half = plan[POINTS] // 2
    apart = 8 * (half + LANES)
    re, im, to_re, to_im = plan[SCRATCH], plan[SCRATCH] + apart, plan[SCRATCH] + 2 * apart, plan[SCRATCH] + 3 * apart
    source = plan[SOURCE]
    if plan[FORM] == BACK:
        source = to_re
        _joined(plan, half, source)
    turns, rest, stride = plan[PASSES + 1], half // 8, 8
    for i in range(0, rest, LANES):
        _first(source + 16 * i, rest, turns, re + 64 * i, im + 64 * i)
        turns += 8 * 14 * LANES
    for which in range(1, plan[COUNT]):
        radix, turns = plan[PASSES + 2 * which], plan[PASSES + 2 * which + 1]
        distance, last, rest = half // radix, rest == radix, rest // radix
        for p in range(rest):
            for q in range(0, stride, LANES):
                here, there = 8 * (stride * p + q), 8 * (stride * radix * p + q)
                _later(radix, last, re + here, im + here, distance, turns, to_re + there, to_im + there, stride)
            turns += 16 * (radix - 1)
        stride *= radix
        re, im, to_re, to_im = to_re, to_im, re, im
    if plan[FORM] == BACK:
        for k in range(0, half, LANES):
            _butterflies.paired(re, im, k, plan[SCALE], plan[TO])
    else:
        _parted(plan, half, re, im)


@inline
def _joined(plan: Any, half: Any, to: Any) -> None:
    """Write the conjugates of what the lines of a row were parted from, as pairs."""
    lines, pairs, middle = f64(plan[SOURCE]), f64(to), half // 2
    for k in range(0, middle, LANES):
        _butterflies.joined(plan[SOURCE], k, half - k, plan[LAST], to)
    pairs[2 * middle], pairs[2 * middle + 1] = lines[2 * middle], lines[2 * middle + 1]


@inline
def _parted(plan: Any, half: Any, re: Any, im: Any) -> None:
    """Write the lines of a row of real numbers of what its pairs gave as complex ones."""
    real, imaginary, to = f64(re), f64(im), f64(plan[TO])
    real[half], imaginary[half] = real[0], imaginary[0]
    middle = half // 2
    if plan[FORM] == SQUARES:
        for k in range(middle - LANES, -1, -LANES):
            _butterflies.squares(re, im, k, half - k, plan[LAST], plan[TO])
        to[middle] = real[middle] ** 2 + imaginary[middle] ** 2
    else:
        for k in range(middle - LANES, -1, -LANES):
            _butterflies.spectrum(re, im, k, half - k, plan[LAST], plan[TO])
        to[2 * middle], to[2 * middle + 1] = real[middle], -imaginary[middle]
