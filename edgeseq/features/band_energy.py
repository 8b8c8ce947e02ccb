"""How strong a window of samples is in each of several bands of frequency."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features import _psd
from edgeseq.features._fft import Taper
from edgeseq.features._per_window import Number, PerWindow
from edgeseq.jit import entry
from edgeseq.types import Frames

_F, _D, _I = types.float32, types.float64, types.int64


def reference(psd: NDArray[np.float64], frequencies: NDArray[np.float64], low: float, high: float) -> float:
    """Return the mean square in a band of a one-sided power spectral density [bins] in unit²/Hz.

    Source: Parseval's theorem; Bendat and Piersol, "Random data", 4th edition, 2010, section 5.2.
    """
    inside = (frequencies >= low) & (frequencies < high)
    return float(psd[inside].sum() * (frequencies[1] - frequencies[0]))


@entry(types.void(_F[:, ::1], _I, _I, _I, _I, _D[::1], _I[::1], _D[::1], _I[:, ::1], _F[:, :, ::1]))
def energies(
    x: Any, size: Any, hop: Any, step: Any, detrend: Any, weights: Any, plan: Any, scale: Any, lines: Any, y: Any
) -> None:
    """Write y[window, channel, band], the sum of its lines from lines[band, 0] to before lines[band, 1]."""
    row, squares, mean = np.empty(len(weights)), np.empty(len(scale)), np.empty(len(scale))
    for k in range(y.shape[0]):
        for c in range(y.shape[1]):
            w = x[c, k * hop : k * hop + size]
            _psd.averaged(w, step, detrend, weights, plan, row, squares, mean)
            for b in range(len(lines)):
                total = 0.0
                for line in range(lines[b, 0], lines[b, 1]):
                    total += mean[line] * scale[line]
                y[k, c, b] = total


class BandEnergy(PerWindow):
    """Gives the RMS of each channel in named bands over windows, a frame a window, at its last sample's time.

    bands: from and to in Hz by name, { low = [10, 1000], high = [1000, 5000] }. A band has the lines of the spectrum
    from its first frequency to before its last; up to half the rate, that line too. So bands side by side share
    nothing, and all together, with a "boxcar" over one segment, have the energy of the window itself.
    measure: "rms" in the channel's unit, or "energy", its square: the mean square in the band, in unit².
    window, hop: seconds; hop: from one window to the next, default: the window. channels: names; default: all.
    segment: seconds of the segments that are transformed, default: the window; lines lie 1 / segment Hz apart.
    overlap: the share of a segment that the next one repeats.
    taper: hann, hamming, blackman, flattop, boxcar. detrend: what is taken off each segment first: its mean
    ("constant", an offset as gravity is gone), the best straight line ("linear") or nothing ("none").

    `x.low` is the band low of channel x. A window of zeros gives zeros, a constant one too where it is detrended. What
    the sensor has clipped counts as it came. A NaN or infinity makes its channel's bands NaN in every window that holds
    it. Less than a window gives no frame.
    """

    def __init__(
        self,
        *,
        window: float,
        bands: dict[str, list[float]],
        hop: float | None = None,
        measure: Literal["rms", "energy"] = "rms",
        segment: float | None = None,
        overlap: float = 0.5,
        taper: Taper = "hann",
        detrend: _psd.Detrend = "constant",
        channels: list[str] | None = None,
    ) -> None:
        super().__init__(window, hop, channels)
        if not bands:
            raise ConfigError("bands names no band.")
        for name, edges in bands.items():
            if len(edges) != 2 or not 0 <= edges[0] < edges[1] < math.inf:  # noqa: PLR2004
                raise ConfigError(f"the band '{name}' must go from a frequency up to a higher one in Hz, not {edges}.")
        self._bands, self._rms = bands, measure == "rms"
        self._segment, self._overlap, self._taper, self._detrend = segment, overlap, taper, detrend

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.4, "hop": 0.2, "bands": {"low": [5, 20], "high": [20, 50]}, "channels": ["a", "b"]}

    def _open(self, size: int, rate_hz: float) -> list[Number]:
        self._cut = _psd.segments(
            size, rate_hz, segment=self._segment, overlap=self._overlap, weights=self._taper, detrend=self._detrend
        )
        self._scale = self._cut.density * self._cut.frequencies[1]
        self._lines = np.array([self._between(name, rate_hz) for name in self._bands], np.int64)
        self._kernel = energies.compiled
        return [Number(name, "{}" if self._rms else "{}²") for name in self._bands]

    def _between(self, name: str, rate_hz: float) -> tuple[int, int]:
        """Return a band's first line and the one behind its last."""
        low, high = self._bands[name]
        if high > rate_hz / 2:
            raise ConfigError(f"the band '{name}' ends at {high:g} Hz; samples at {rate_hz:g} Hz have {rate_hz / 2:g}.")
        first, behind = (int(line) for line in np.searchsorted(self._cut.frequencies, (low, high)))
        if high == rate_hz / 2:
            behind = len(self._cut.frequencies)
        if first == behind:
            raise ConfigError(
                f"the band '{name}' has no line of the spectrum: they lie {self._cut.frequencies[1]:g} Hz apart. "
                "Take a wider band or longer segments."
            )
        return first, behind

    def _compute(self, x: Frames, size: int, hop: int, y: Frames) -> None:
        cut = self._cut
        self._kernel(x, size, hop, cut.step, cut.detrend, cut.weights, cut.plan, self._scale, self._lines, y)
        if self._rms:
            np.sqrt(y, out=y)
