"""The power spectrum of a window of samples, averaged over segments."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.features import _psd
from edgeseq.features._fft import Taper
from edgeseq.features._per_window import Number, PerWindow
from edgeseq.jit import entry
from edgeseq.types import Frames

_F, _D, _I = types.float32, types.float64, types.int64


def reference(x: NDArray[Any], segments: _psd.Segments, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the spectrum of x [samples] in float64: squared magnitudes averaged over segments, times scale [bins].

    Source: Welch, "The use of fast Fourier transform for the estimation of power spectra", IEEE Trans. Audio and
    Electroacoustics 15, 1967. With scale = segments.density it is SciPy's welch(x, rate).
    """
    starts = range(0, len(x) - segments.size + 1, segments.step)
    parts = np.stack([np.asarray(x[start : start + segments.size], np.float64) for start in starts])
    if segments.detrend != _psd.KEPT:
        place = np.arange(segments.size)
        fits = [np.polynomial.Polynomial.fit(place, part, segments.detrend - _psd.MEAN)(place) for part in parts]
        parts -= np.stack(fits)
    return (np.abs(np.fft.rfft(parts * segments.weights)) ** 2).mean(axis=0) * scale


@entry(types.void(_F[:, ::1], _I, _I, _I, _I, _D[::1], _I[::1], _D[::1], _F[:, :, ::1]))
def spectra(x: Any, size: Any, hop: Any, step: Any, detrend: Any, weights: Any, plan: Any, scale: Any, y: Any) -> None:
    """Write y[window, channel, bin] of x[channel, sample]."""
    row, squares, mean = np.empty(len(weights)), np.empty(len(scale)), np.empty(len(scale))
    for k in range(y.shape[0]):
        for c in range(y.shape[1]):
            w = x[c, k * hop : k * hop + size]
            _psd.averaged(w, step, detrend, weights, plan, row, squares, mean)
            for b in range(len(scale)):
                y[k, c, b] = mean[b] * scale[b]


class Welch(PerWindow):
    """Gives the one-sided power spectrum of each channel over windows, a frame a window, at its last sample's time.

    window, hop: seconds; hop: from one window to the next, default: the window. channels: names; default: all.
    segment: seconds of the segments that are transformed, default: the window; lines lie 1 / segment Hz apart. A longer
    window averages over more of them. overlap: the share of a segment that the next one repeats.
    taper: hann, hamming, blackman, flattop, boxcar. detrend: what is taken off each segment first: its mean
    ("constant", an offset as gravity is gone), the best straight line ("linear") or nothing ("none").
    scaling: "density" gives the channel's unit²/Hz, "spectrum" unit²: the line of a sine is its mean square.

    `x.psd_12.5Hz` is channel x's line at 12.5 Hz. A window of zeros gives zeros, a constant one too where it is
    detrended. What the sensor has clipped counts as it came. A NaN or infinity makes its channel's lines NaN in every
    window that holds it. Less than a window gives no frame.
    """

    def __init__(
        self,
        *,
        window: float,
        hop: float | None = None,
        segment: float | None = None,
        overlap: float = 0.5,
        taper: Taper = "hann",
        detrend: _psd.Detrend = "constant",
        scaling: Literal["density", "spectrum"] = "density",
        channels: list[str] | None = None,
    ) -> None:
        super().__init__(window, hop, channels)
        self._segment, self._overlap, self._taper, self._detrend = segment, overlap, taper, detrend
        self._scaling = scaling

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.4, "hop": 0.15, "segment": 0.2, "channels": ["c", "a"]}

    def _open(self, size: int, rate_hz: float) -> list[Number]:
        cut = _psd.segments(
            size, rate_hz, segment=self._segment, overlap=self._overlap, weights=self._taper, detrend=self._detrend
        )
        self._cut, self._kernel = cut, spectra.compiled
        dense = self._scaling == "density"
        self._scale = cut.density if dense else cut.squares
        return [Number(f"psd_{hz:.10g}Hz", "{}²/Hz" if dense else "{}²") for hz in cut.frequencies]

    def _compute(self, x: Frames, size: int, hop: int, y: Frames) -> None:
        cut = self._cut
        self._kernel(x, size, hop, cut.step, cut.detrend, cut.weights, cut.plan, self._scale, y)
