"""What machine monitoring computes of a window of samples: level, spread, shape and peaks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._per_window import Number, PerWindow
from edgeseq.jit import REASSOCIATED, entry
from edgeseq.types import Frames

STATISTICS = (
    "mean", "std", "rms", "mean_abs", "min", "max", "peak", "peak_to_peak", "skewness", "kurtosis", "crest", "shape",
    "impulse", "clearance",
)  # fmt: skip
WITHOUT_UNIT = {"skewness", "kurtosis", "crest", "shape", "impulse", "clearance"}
_F = types.float32


def reference(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return the STATISTICS of x [samples], in their order, in float64.

    Source: ISO 13373-2 for crest; for shape, impulse and clearance factors Lei et al., "A review on empirical mode
    decomposition in fault diagnosis", MSSP 35, 2013, table 1. Skewness and kurtosis are the population's, as SciPy's
    skew(x) and kurtosis(x, fisher=False) give them. What divides by zero is NaN.
    """
    x = np.asarray(x, np.float64)
    mean, size, rms, root = x.mean(), np.abs(x), np.sqrt((x**2).mean()), np.sqrt(np.abs(x)).mean() ** 2
    peak, apart = size.max(), x - mean
    variance = (apart**2).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.array([
            mean, np.sqrt(variance), rms, size.mean(), x.min(), x.max(), peak, np.ptp(x),
            (apart**3).mean() / variance**1.5, (apart**4).mean() / variance**2,
            peak / rms, rms / size.mean(), peak / size.mean(), peak / root,
        ])  # fmt: skip


@entry(types.void(_F[:, ::1], types.int64, types.int64, _F[:, :, ::1]), fastmath=REASSOCIATED)
def statistics(x: Any, size: Any, hop: Any, y: Any) -> None:
    """Write y[window, channel, statistic] of x[channel, sample]."""
    for k in range(y.shape[0]):
        for c in range(y.shape[1]):
            w = x[c, k * hop : k * hop + size]
            total = absolute = squares = roots = 0.0
            least, most = w[0], w[0]
            for i in range(size):
                v = np.float64(w[i])
                total += v
                absolute += abs(v)
                squares += v * v
                least, most = min(least, w[i]), max(most, w[i])
            for i in range(size):
                roots += np.sqrt(abs(w[i]))
            mean = total / size
            second = third = fourth = 0.0
            for i in range(size):
                d = np.float64(w[i]) - mean
                second += d * d
                third += d * d * d
                fourth += d * d * d * d
            absolute, rms, roots, second = absolute / size, np.sqrt(squares / size), (roots / size) ** 2, second / size
            peak = max(abs(least), abs(most))
            o = y[k, c]
            o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7] = (
                mean, np.sqrt(second), rms, absolute, least, most, peak, np.float64(most) - least,
            )  # fmt: skip
            o[8], o[9] = third / size / second**1.5, fourth / size / second**2
            o[10], o[11], o[12], o[13] = peak / rms, rms / absolute, peak / absolute, peak / roots
            if np.isnan(total):  # min and max pass over a NaN
                o[:] = np.nan


class WindowStatistics(PerWindow):
    """Gives statistics of each channel over windows, a frame a window, at the time of the window's last sample.

    statistics: which of mean, std, rms, mean_abs, min, max, peak, peak_to_peak (in the channel's unit), skewness,
    kurtosis (3 for noise), crest, shape, impulse, clearance (without unit); default: all. A frame has those of the
    first channel, then those of the second: `x.rms` is that of channel x.
    window, hop: seconds; hop: from one window to the next, default: the window. channels: names; default: all.

    A window that is constant has no skewness or kurtosis, one of zeros no factors either: they are NaN, as is all of a
    window that holds one. An offset, as a sensor's 1 g of gravity, is in all of them but std, peak_to_peak, skewness
    and kurtosis. What the sensor has clipped counts as it came. Less than a window gives no frame.
    """

    def __init__(
        self,
        *,
        window: float,
        hop: float | None = None,
        statistics: list[str] | None = None,
        channels: list[str] | None = None,
    ) -> None:
        super().__init__(window, hop, channels)
        self._chosen = list(STATISTICS) if statistics is None else statistics
        unknown = [name for name in self._chosen if name not in STATISTICS]
        if unknown or not self._chosen:
            raise ConfigError(f"statistics are some of {', '.join(STATISTICS)}; not {unknown}.")
        self._order = np.asarray([STATISTICS.index(name) for name in self._chosen], np.intp)

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.5, "hop": 0.2, "channels": ["a", "c"]}

    def _open(self, size: int, rate_hz: float) -> list[Number]:  # noqa: ARG002 - no statistic asks for them
        self._kernel = statistics.compiled
        return [Number(name, "" if name in WITHOUT_UNIT else "{}") for name in self._chosen]

    def _compute(self, x: Frames, size: int, hop: int, y: Frames) -> None:
        every = np.empty((*y.shape[:2], len(STATISTICS)), np.float32)
        self._kernel(x, size, hop, every)
        y[:] = every[:, :, self._order]
