"""Butterworth filters that run on a stream: their second-order sections, and the kernel that keeps their state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.jit import entry
from edgeseq.types import Frames

_F, _D = types.float32, types.float64
MAX_ORDER = 12
Sections = NDArray[np.float64]
"""float64[sections, 6]: b0, b1, b2, 1, a1, a2 of each, as SciPy has them."""


def butterworth(order: int, low_hz: float | None, high_hz: float | None, rate_hz: float) -> Sections:
    """Return a Butterworth filter that passes what lies between low_hz and high_hz; None: to that end, everything.

    order: of each slope, 6 dB an octave each; at an edge 3 dB are lost. A band's filter has that many sections, one with
    a single edge half as many. Raises ConfigError where the edges do not lie between zero and half the rate.
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
    # In units of 2 * rate, where the bilinear transform is z = (1 + s) / (1 - s), each edge is where it will be.
    warped = [math.tan(math.pi * edge / rate_hz) for edge in edges]
    prototype = np.exp(1j * np.pi * (2 * np.arange(order) + order + 1) / (2 * order))
    if low_hz is None:
        poles, zeros, at = prototype * warped[0], (-1.0, -1.0), 1.0 + 0j
    elif high_hz is None:
        poles, zeros, at = warped[0] / prototype, (1.0, 1.0), -1.0 + 0j
    else:
        half, middle = prototype * (warped[1] - warped[0]) / 2, warped[0] * warped[1]
        root = np.sqrt(half**2 - middle)
        poles, zeros = np.concatenate([half + root, half - root]), (1.0, -1.0)
        at = np.exp(2j * math.atan(math.sqrt(middle)))
    return _sections((1 + poles) / (1 - poles), zeros, at)


def _sections(poles: NDArray[np.complex128], zeros: tuple[float, float], at: complex) -> Sections:
    """Return the sections of poles that come in conjugate pairs, but for real ones; each has gain 1 at the point z = at."""
    near = 1e-10
    upper = sorted(poles[poles.imag > near], key=abs)
    real = sorted(poles[np.abs(poles.imag) <= near].real)
    rows = [[1, -sum(zeros), zeros[0] * zeros[1], 1, -2 * pole.real, abs(pole) ** 2] for pole in upper]
    rows += [
        [1, -sum(zeros), zeros[0] * zeros[1], 1, -(one + two), one * two]
        for one, two in zip(real[0 : len(real) - 1 : 2], real[1::2], strict=True)
    ]
    if len(real) % 2:
        rows.append([1, -zeros[0], 0, 1, -real[-1], 0])
    sections = np.array(rows, np.float64)
    sections[:, :3] /= np.abs(response(sections, np.array([at])))
    return sections


def response(sections: Sections, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return complex128[sections, points], the response of each section at points z = exp(2j pi f / rate)."""
    powers = np.stack([np.ones_like(z), 1 / z, 1 / z**2])
    return np.asarray((sections[:, :3] @ powers) / (sections[:, 3:] @ powers))


@entry(types.void(_F[:, :], _D[:, ::1], _D[:, :, ::1], types.boolean[::1], _F[:, ::1]))
def filtered(x: Any, sections: Any, state: Any, running: Any, y: Any) -> None:
    """Write y[sample, channel], x[sample, channel] behind all sections, and the state[channel, section, 2].

    A channel that is not running starts as if its first value had been there forever. A value that is no number stays
    what it is and ends the run.
    """
    for c in range(x.shape[1]):
        s = state[c]
        for i in range(x.shape[0]):
            v = np.float64(x[i, c])
            if not np.isfinite(v):
                y[i, c] = np.nan
                running[c] = False
                continue
            if not running[c]:
                running[c] = True
                settled = v
                for k in range(len(sections)):
                    b0, b1, b2, _, a1, a2 = sections[k]
                    after = settled * (b0 + b1 + b2) / (1 + a1 + a2)
                    s[k, 1] = b2 * settled - a2 * after
                    s[k, 0] = b1 * settled - a1 * after + s[k, 1]
                    settled = after
            for k in range(len(sections)):
                out = sections[k, 0] * v + s[k, 0]
                s[k, 0] = sections[k, 1] * v - sections[k, 4] * out + s[k, 1]
                s[k, 1] = sections[k, 2] * v - sections[k, 5] * out
                v = out
            y[i, c] = v


class Filter:
    """Sections that run on the channels of a stream, the same for any split of it.

    It starts as if the first sample had been there forever: an offset, as gravity, makes no beginning of its own. A NaN
    or infinity comes out as NaN, and the filter starts anew behind it.
    """

    def __init__(self, sections: Sections, channels: int) -> None:
        self._sections = sections
        self._state = np.zeros((channels, len(sections), 2))
        self._running = np.zeros(channels, np.bool_)
        self._kernel = filtered.compiled

    def push(self, values: Frames) -> Frames:
        """Take float32[n, channels]; return as much, filtered."""
        y: Frames = np.empty(values.shape, np.float32)
        self._kernel(values, self._sections, self._state, self._running, y)
        return y

    def reset(self) -> None:
        """Forget all samples."""
        self._running[:] = False
