"""The cepstrum of a window of samples: families of harmonics and sidebands, and echoes, as one line each."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._fft import Taper, backward, plan, power, taper, tapered
from edgeseq.features._lanes import LANES
from edgeseq.features._logarithm import logarithms
from edgeseq.features._per_window import Number, PerWindow
from edgeseq.jit import entry
from edgeseq.types import Frames

_F, _D, _I = types.float32, types.float64, types.int64
ROUNDING = 1e-14
"""A line of the spectrum so far below the greatest is the transform's rounding; its logarithm would be arbitrary."""


def reference(x: NDArray[Any], weights: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the cepstrum of x [samples] * weights in float64, at lags of 0 to half as many samples.

    Source: Oppenheim and Schafer, "Discrete-time signal processing", 3rd edition, 2010, chapter 13 (real); Bogert,
    Healy and Tukey, "The quefrency alanysis of time series for echoes", 1963 (power).
    """
    magnitude = np.abs(np.fft.rfft(np.asarray(x, np.float64) * weights))
    magnitude[magnitude <= ROUNDING * magnitude.max()] = np.nan
    real = np.fft.irfft(np.log(magnitude), len(x))[: len(x) // 2 + 1]
    return real if kind == "real" else (2 * real) ** 2


@entry(types.void(_F[:, ::1], _I, _I, _D[::1], _I[::1], types.boolean, _I, _F[:, :, ::1]))
def cepstra(x: Any, size: Any, hop: Any, weights: Any, plan: Any, squared: Any, first: Any, y: Any) -> None:
    """Write y[window, channel, lag] of x[channel, sample], from the lag `first` on."""
    lines = size // 2 + 1
    row, spectrum, values = np.empty(size), np.empty(lines, np.complex128), np.ones(lines + LANES)
    squares, reals = values[:lines], np.array([0.0, 0.0, 0.5])
    for k in range(y.shape[0]):
        for c in range(y.shape[1]):
            tapered(x[c, k * hop : k * hop + size], weights, row)
            power(plan, row, squares)
            least = ROUNDING * ROUNDING * squares.max()
            for b in range(lines):
                squares[b] = squares[b] if squares[b] > least else np.nan
            logarithms(values, lines, reals)
            for b in range(lines):
                spectrum[b] = complex(squares[b], 0.0)
            backward(plan, spectrum, row)
            for lag in range(y.shape[2]):
                value = row[first + lag]
                y[k, c, lag] = 4 * value * value if squared else value


class Cepstrum(PerWindow):
    """Gives the cepstrum of each channel over windows, a frame a window, at the time of its last sample.

    Harmonics or sidebands that lie f Hz apart, and an echo 1 / f s later, are a line at the lag of 1 / f s.

    window, hop: seconds; hop: from one window to the next, default: the window. channels: names; default: all.
    kind: "real", the inverse transform of the logarithm (nepers) of the spectrum's magnitude; or "power", the square of
    that of the logarithm of its square. Both are without unit, and do not hang on the gain but at lag 0.
    lags: from and to in seconds, as [0.002, 0.1]; default: from 0 to half the window.
    taper: hann, hamming, blackman, flattop, boxcar.

    `x.cepstrum_0.01s` is channel x's line at 0.01 s. An offset is not taken off: it is part of the lowest lines of the
    spectrum, and of every lag a little. A window with nothing at all at some frequency, as one of zeros or a constant,
    has no logarithm there: it is NaN, as is one that holds a NaN or infinity. What the sensor has clipped counts as it
    came. Less than a window gives no frame.
    """

    def __init__(
        self,
        *,
        window: float,
        hop: float | None = None,
        kind: Literal["real", "power"] = "real",
        lags: list[float] | None = None,
        taper: Taper = "hann",
        channels: list[str] | None = None,
    ) -> None:
        super().__init__(window, hop, channels)
        if lags is not None and (len(lags) != 2 or not 0 <= lags[0] <= lags[1] < math.inf):  # noqa: PLR2004
            raise ConfigError(f"lags must go from a time up to a later one in seconds, not {lags}.")
        self._kind, self._lags, self._taper = kind, lags, taper

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.5, "hop": 0.3, "lags": [0.02, 0.1]}

    def _open(self, size: int, rate_hz: float) -> list[Number]:
        first, last = (0, size // 2) if self._lags is None else (round(lag * rate_hz) for lag in self._lags)
        if size < 2 or last > size // 2:  # noqa: PLR2004
            raise ConfigError(
                f"lags go up to {last / rate_hz:g} s; a window of {size / rate_hz:g} s has them up to half as much."
            )
        self._first, self._kernel = first, cepstra.compiled
        self._weights, self._plan = taper(self._taper, size), plan(size)
        return [Number(f"cepstrum_{lag / rate_hz:.10g}s", "") for lag in range(first, last + 1)]

    def _compute(self, x: Frames, size: int, hop: int, y: Frames) -> None:
        self._kernel(x, size, hop, self._weights, self._plan, self._kind == "power", self._first, y)
