"""Which frequencies come in bursts: the kurtosis of each line of the spectrum over the segments of a window."""

from __future__ import annotations

from typing import Any

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
LEAST = 8
"""Segments to a window: of fewer, an estimate says nothing."""


def reference(x: NDArray[Any], segments: _psd.Segments) -> NDArray[np.float64]:
    """Return the spectral kurtosis of x [samples] in float64, at the lines between zero and half the rate.

    Source: Antoni, "The spectral kurtosis: a useful tool for characterising non-stationary signals", MSSP 20, 2006,
    equations 52 to 56: mean |X|⁴ / (mean |X|²)² - 2.
    """
    starts = range(0, len(x) - segments.size + 1, segments.step)
    parts = np.stack([np.asarray(x[start : start + segments.size], np.float64) for start in starts])
    if segments.detrend == _psd.MEAN:
        parts -= parts.mean(axis=1, keepdims=True)
    squares = np.abs(np.fft.rfft(parts * segments.weights)) ** 2
    with np.errstate(invalid="ignore"):
        kurtosis = (squares**2).mean(axis=0) / squares.mean(axis=0) ** 2 - 2
    return np.asarray(kurtosis[1 : (segments.size + 1) // 2], np.float64)


@entry(types.void(_F[:, ::1], _I, _I, _I, _I, _D[::1], _I[::1], _F[:, :, ::1]))
def kurtoses(x: Any, size: Any, hop: Any, step: Any, detrend: Any, weights: Any, plan: Any, y: Any) -> None:
    """Write y[window, channel, line] of x[channel, sample]; the line at zero is left out."""
    segment = len(weights)
    row, squares = np.empty(segment), np.empty(segment // 2 + 1)
    second, fourth = np.empty(len(squares)), np.empty(len(squares))
    count = (size - segment) // step + 1
    for k in range(y.shape[0]):
        for c in range(y.shape[1]):
            second[:] = 0
            fourth[:] = 0
            for j in range(count):
                start = k * hop + j * step
                _psd.transformed(x[c, start : start + segment], detrend, weights, plan, row, squares)
                for b in range(len(squares)):
                    second[b] += squares[b]
                    fourth[b] += squares[b] * squares[b]
            for b in range(y.shape[2]):
                y[k, c, b] = count * fourth[b + 1] / (second[b + 1] * second[b + 1]) - 2


class SpectralKurtosis(PerWindow):
    """Gives the spectral kurtosis of each channel over windows, a frame a window, at the time of its last sample.

    0 for stationary noise, -1 for a steady tone, high where bursts are, as the shocks of a bearing at its resonances:
    the band to take the envelope of. Lines lie 1 / segment Hz apart, the first at that; zero and half the rate, where
    the estimate is another, are left out.

    window, hop: seconds; hop: from one window to the next, default: the window. It must hold 8 segments at least; the
    estimate scatters by about 2 / sqrt(segments). channels: names; default: all.
    segment: seconds of the segments that are transformed, shorter than from one burst to the next, longer than a burst.
    overlap: the share of a segment that the next one repeats. taper: hann, hamming, blackman, flattop, boxcar. Each
    segment's mean is taken off first, an offset as gravity with it.

    `x.kurtosis_100Hz` is channel x's line at 100 Hz, without unit. A window of zeros or a constant one has no kurtosis:
    it is NaN, as is one that holds a NaN or infinity. What the sensor has clipped counts as it came: clipping makes
    bursts. Less than a window gives no frame.
    """

    def __init__(
        self,
        *,
        window: float,
        segment: float,
        hop: float | None = None,
        overlap: float = 0.75,
        taper: Taper = "hann",
        channels: list[str] | None = None,
    ) -> None:
        super().__init__(window, hop, channels)
        self._segment, self._overlap, self._taper = segment, overlap, taper

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.5, "segment": 0.16, "hop": 0.4, "channels": ["b"]}

    def _open(self, size: int, rate_hz: float) -> list[Number]:
        cut = _psd.segments(
            size, rate_hz, segment=self._segment, overlap=self._overlap, weights=self._taper, detrend="constant"
        )
        count = (size - cut.size) // cut.step + 1
        if count < LEAST:
            raise ConfigError(f"a window holds {count} segments, fewer than {LEAST}: take longer windows.")
        self._cut, self._kernel = cut, kurtoses.compiled
        return [Number(f"kurtosis_{hz:.10g}Hz", "") for hz in cut.frequencies[1 : (cut.size + 1) // 2]]

    def _compute(self, x: Frames, size: int, hop: int, y: Frames) -> None:
        cut = self._cut
        self._kernel(x, size, hop, cut.step, cut.detrend, cut.weights, cut.plan, y)
