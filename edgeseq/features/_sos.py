"""Butterworth filters that run on a stream: their second-order sections, and the kernel that keeps their state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Frames

_F, _D = types.float32, types.float64
MAX_ORDER = 12
LEAST_SHARE = 2e-6
"""Of the rate, by which edges lie apart: what is lost at an edge is 3 dB then, within 1e-5 of the amplitude in 64 bits.
Below 1e-8 it is anything, and below 1e-9 nothing finite comes out.
"""
Sections = NDArray[np.float64]
"""float64[sections, 6]: b0, b1, b2, 1, a1, a2 of each, as SciPy has them."""


def butterworth(order: int, low_hz: float | None, high_hz: float | None, rate_hz: float) -> Sections:
    """Return a Butterworth filter that passes what lies between low_hz and high_hz; None: to that end, everything.

    order: of each slope, 6 dB an octave each; at an edge 3 dB are lost. A band's filter has that many sections, one
    with a single edge half as many. Raises ConfigError where the edges do not lie between zero and half the rate.
    Source: Oppenheim and Schafer, "Discrete-time signal processing", 3rd edition, 2010, section 7.3 and appendix B.
    """
    edges = [edge for edge in (low_hz, high_hz) if edge is not None]
    if not 1 <= order <= MAX_ORDER:
        raise ConfigError(f"a filter's order must be 1 to {MAX_ORDER}, not {order}.")
    if not all(0 < edge < rate_hz / 2 for edge in edges) or edges != sorted(set(edges)):
        shown = " to ".join(f"{edge:g}" for edge in edges)
        raise ConfigError(
            f"{shown} Hz does not lie between 0 and {rate_hz / 2:g} Hz, half the rate, the lower edge first."
        )
    if min(np.diff([0.0, *edges, rate_hz / 2])) < LEAST_SHARE * rate_hz:
        shown = " to ".join(f"{edge:.10g}" for edge in edges)
        raise ConfigError(
            f"{shown} Hz: at {rate_hz:g} Hz an edge must lie {LEAST_SHARE * rate_hz:g} Hz or more from 0, from "
            f"{rate_hz / 2:g} Hz and from the other. A filter cannot tell what is nearer."
        )
    # In units of 2 * rate, where the bilinear transform is z = (1 + s) / (1 - s), each edge is where it will be.
    warped = [math.tan(math.pi * edge / rate_hz) for edge in edges]
    prototype = np.exp(1j * np.pi * (2 * np.arange(order) + order + 1) / (2 * order))
    if low_hz is None:
        poles, zeros, at = prototype * warped[0], [-1.0] * order, 1.0 + 0j
    elif high_hz is None:
        poles, zeros, at = warped[0] / prototype, [1.0] * order, -1.0 + 0j
    else:
        half, middle = prototype * (warped[1] - warped[0]) / 2, warped[0] * warped[1]
        root = np.sqrt(half**2 - middle)
        poles, zeros = np.concatenate([half + root, half - root]), [1.0] * order + [-1.0] * order
        at = np.exp(2j * math.atan(math.sqrt(middle)))
    return _sections((1 + poles) / (1 - poles), zeros, at)


def _sections(poles: NDArray[np.complex128], zeros: Sequence[float], at: complex) -> Sections:
    """Return the sections of poles in conjugate pairs, or real; each has gain 1 at the point z = at.

    zeros: as many, from low frequencies to high ones. A pair takes the zeros next to it, so that a section lowers one
    side and leaves the other as it is: with zeros at both ends it would raise its own edge, and many of them so far
    that what is left behind the last one is rounding.
    """
    near = 1e-10
    real = sorted(poles[np.abs(poles.imag) <= near].real)
    pairs = [(-2 * pole.real, abs(pole) ** 2) for pole in sorted(poles[poles.imag > near], key=np.angle)]
    middle = len(pairs) // 2
    pairs[middle:middle] = [(-(a + b), a * b) for a, b in zip(real[0 : len(real) - 1 : 2], real[1::2], strict=True)]
    rows = [
        [1, -(low + high), low * high, 1, *pair]
        for low, high, pair in zip(zeros[0 : len(zeros) - 1 : 2], zeros[1::2], pairs, strict=True)
    ]
    rows.sort(key=lambda row: row[-1])  # the sharpest last
    if len(real) % 2:
        rows.append([1, -zeros[-1], 0, 1, -real[-1], 0])
    sections = np.array(rows, np.float64)
    sections[:, :3] /= np.abs(response(sections, np.array([at])))
    return sections


def response(sections: Sections, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return complex128[sections, points], the response of each section at points z = exp(2j pi f / rate)."""
    powers = np.stack([np.ones_like(z), 1 / z, 1 / z**2])
    return np.asarray((sections[:, :3] @ powers) / (sections[:, 3:] @ powers))


def reference(x: NDArray[Any], sections: Sections) -> NDArray[np.float64]:
    """Return x [samples] behind all sections in float64, from rest at its first value.

    Source: Oppenheim and Schafer, section 6.3: the difference equation of each section.
    """
    y = np.asarray(x, np.float64)
    for b0, b1, b2, _, a1, a2 in sections:
        u1 = u2 = y[0]
        v1 = v2 = y[0] * (b0 + b1 + b2) / (1 + a1 + a2)
        out = []
        for u in y:
            v = b0 * u + b1 * u1 + b2 * u2 - a1 * v1 - a2 * v2
            u1, u2, v1, v2 = u, u1, v, v1
            out.append(v)
        y = np.array(out)
    return y


@numba.njit(error_model="numpy")
def two(t: Any, first: Any, second: Any, past: Any) -> None:
    """Put t[samples] through two sections; past[6] has the last two values before, between and behind them.

    Two at a time and in this form, the direct one, a value waits least for the one before: they overlap.
    """
    a0, a1, a2, a4, a5 = first[0], first[1], first[2], first[4], first[5]
    b0, b1, b2, b4, b5 = second[0], second[1], second[2], second[4], second[5]
    u1, u2, v1, v2, w1, w2 = past[0], past[1], past[2], past[3], past[4], past[5]
    for i in range(len(t)):
        u = t[i]
        v = (a0 * u + a1 * u1 + a2 * u2 - a5 * v2) - a4 * v1
        w = (b0 * v + b1 * v1 + b2 * v2 - b5 * w2) - b4 * w1
        u1, u2, v1, v2, w1, w2 = u, u1, v, v1, w, w1
        t[i] = w
    past[0], past[1], past[2], past[3], past[4], past[5] = u1, u2, v1, v2, w1, w2


@numba.njit(error_model="numpy")
def settle(value: float, sections: Any, past: Any) -> None:
    """Write past[pairs, 6] as it is once the value has come for ever."""
    for k in range(len(sections)):
        s = sections[k]
        after = value * (s[0] + s[1] + s[2]) / (1 + s[4] + s[5])
        side = 2 * (k % 2)
        past[k // 2, side : side + 2] = value
        past[k // 2, side + 2 : side + 4] = after
        value = after


@entry(types.void(_F[:, :], _D[:, ::1], _D[:, :, ::1], types.boolean[::1], _F[:, ::1]))
def filtered(x: Any, sections: Any, past: Any, running: Any, y: Any) -> None:
    """Write y[sample, channel], x[sample, channel] behind all sections, and past[channel, pair, 6].

    A channel that is not running starts as if its first value had been there forever. A value that is no number stays
    none and ends the run.
    """
    n = x.shape[0]
    row = np.empty(n)
    for c in range(x.shape[1]):
        start = 0
        while start < n:
            end = start
            while end < n and np.isfinite(x[end, c]):
                row[end] = x[end, c]
                end += 1
            if end > start:
                if not running[c]:
                    settle(row[start], sections, past[c])
                    running[c] = True
                for pair in range(len(sections) // 2):
                    two(row[start:end], sections[2 * pair], sections[2 * pair + 1], past[c, pair])
                y[start:end, c] = row[start:end]
            if end < n:
                y[end, c] = np.nan
                running[c] = False
            start = end + 1


class Filter(Remembering):
    """Sections that run on the channels of a stream, the same for any split of it.

    It starts as if the first sample had been there forever: an offset, as gravity, makes no beginning of its own. A NaN
    or infinity comes out as NaN, and the filter starts anew behind it.
    """

    _remembers = ("_past", "_running")

    def __init__(self, sections: Sections, channels: int) -> None:
        odd = len(sections) % 2
        self._sections = np.concatenate([sections, [[1.0, 0, 0, 1, 0, 0]] * odd]) if odd else sections
        self._past = np.zeros((channels, len(self._sections) // 2, 6))
        self._running = np.zeros(channels, np.bool_)
        self._kernel = filtered.compiled

    def push(self, values: Frames) -> Frames:
        """Take float32[n, channels]; return as much, filtered."""
        y: Frames = np.empty(values.shape, np.float32)
        self._kernel(np.asarray(values, np.float32), self._sections, self._past, self._running, y)
        return y

    def reset(self) -> None:
        """Forget all samples."""
        self._running[:] = False
