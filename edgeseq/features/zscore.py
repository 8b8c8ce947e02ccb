"""How far a sample lies from the recent mean, in recent standard deviations: a z-score that runs along."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._per_sample import beside, outgoing
from edgeseq.features._windows import MAX_SAMPLES, samples
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

_F, _D, _I = types.float32, types.float64, types.int64


def reference(x: NDArray[Any], size: int) -> NDArray[np.float64]:
    """Return (x[i] - mean) / std over the window x[i - size + 1 .. i], for i from size - 1 on, in float64.

    Source: pandas' (x - r.mean()) / r.std(ddof=0) with r = x.rolling(size). What divides by zero is 0.
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(x, np.float64), size)
    apart, std = windows[:, -1] - windows.mean(axis=1), windows.std(axis=1)
    z: NDArray[np.float64] = np.divide(apart, std, out=np.zeros_like(apart), where=std != 0)
    return z


def weighted_reference(x: NDArray[Any], alpha: float) -> NDArray[np.float64]:
    """Return the z-score of x [samples] by exponentially weighted statistics that include the sample, in float64.

    With a = max(alpha, 1 / (i + 1)) and d = x[i] - m: m += a d, v = (1 - a) (v + a d^2), z = (x[i] - m) / sqrt(v).
    Until 1 / alpha samples these are the plain mean and variance of all of them. What divides by zero is 0.
    Source: Finch, "Incremental calculation of weighted mean and variance", 2009, section 9.
    """
    z, mean, variance = [], 0.0, 0.0
    for i, value in enumerate(np.asarray(x, np.float64)):
        a = max(alpha, 1 / (i + 1))
        away = value - mean
        mean, variance = mean + a * away, (1 - a) * (variance + a * away**2)
        z.append((value - mean) / math.sqrt(variance) if variance else 0.0)
    return np.array(z)


@entry(types.void(_F[:, ::1], _D, _D, _I, _I[::1], _D[::1], _D[::1], _F[:, ::1]))
def weighted(x: Any, alpha: Any, least: Any, warm: Any, count: Any, mean: Any, variance: Any, y: Any) -> None:
    """Write y[sample, channel] of x[sample, channel]; NaN until a channel has had `warm` samples."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            v = np.float64(x[i, c])
            y[i, c] = np.nan
            if not np.isfinite(v):
                continue
            count[c] = min(count[c] + 1, warm + 1)  # alpha is above 1 / (warm + 1): it is what counts from then on
            a = max(alpha, 1 / count[c])
            away = v - mean[c]
            mean[c] += a * away
            variance[c] = (1 - a) * (variance[c] + a * away * away)
            if count[c] >= warm:
                std = max(np.sqrt(variance[c]), least)
                y[i, c] = (v - mean[c]) / std if std > 0 else 0.0


@entry(types.void(_F[:, ::1], _D, _I[::1], _D[:, ::1], _D[:, :, ::1], _F[:, ::1]))
def windowed(x: Any, least: Any, at: Any, block: Any, tail: Any, y: Any) -> None:
    """Write y[sample, channel] of x[sample, channel] over windows as long as `block`.

    A window is the end of one block and the beginning of the next: `tail` has mean and sum of squares of every end of
    the former, and those of the beginning are carried along in its last row. So no sum is ever subtracted from: nothing
    drifts, however long it runs, and a NaN leaves with its sample. at[0]: samples in the present block.
    """
    size = block.shape[0]
    for i in range(x.shape[0]):
        j = at[0]
        for c in range(x.shape[1]):
            v = np.float64(x[i, c])
            block[j, c] = v
            if j == 0:
                tail[size, 0, c] = tail[size, 1, c] = 0.0
            away = v - tail[size, 0, c]
            tail[size, 0, c] += away / (j + 1)
            tail[size, 1, c] += away * (v - tail[size, 0, c])
            mean, squares = tail[size, 0, c], tail[size, 1, c]
            if j + 1 < size:
                apart = tail[j + 1, 0, c] - mean
                mean += apart * (size - j - 1) / size
                squares += tail[j + 1, 1, c] + apart * apart * (j + 1) * (size - j - 1) / size
            std = max(np.sqrt(squares / size), least)
            y[i, c] = (v - mean) / std if std != 0 else 0.0
        at[0] = j + 1
        if at[0] == size:
            at[0] = 0
            for c in range(x.shape[1]):
                mean = squares = 0.0
                for k in range(size - 1, -1, -1):
                    away = block[k, c] - mean
                    mean += away / (size - k)
                    squares += away * (block[k, c] - mean)
                    tail[k, 0, c], tail[k, 1, c] = mean, squares


class Zscore(Remembering):
    """Gives `<channel>.zscore`: (sample - mean) / standard deviation of the recent past, the sample included.

    Either window: seconds, each sample in it counts alike; or time_constant: seconds, with
    alpha = 1 - exp(-1 / (time_constant * rate)) and, for sample n, a = max(alpha, 1 / n): d = x - mean,
    mean += a d, variance = (1 - a) (variance + a d^2). channels: names; default: all. keep: let all the channels that
    come in come out too, before these. min_std: in the channel's unit; a smaller standard deviation counts as this
    much, so that the last digit of a sensor at rest is not taken for news; default 0.

    Warm-up: the first frame comes when the window is full, or after time_constant. Where the standard deviation is 0
    (a constant) the score is 0; an offset changes nothing. NaN or infinity in a window makes its score NaN; with
    time_constant it comes out as NaN, is left out of the statistics, and prolongs its channel's warm-up.
    """

    def __init__(
        self,
        *,
        window: float | None = None,
        time_constant: float | None = None,
        channels: list[str] | None = None,
        keep: bool = False,
        min_std: float = 0.0,
    ) -> None:
        if (window is None) == (time_constant is None):
            raise ConfigError("zscore takes either window or time_constant, in seconds.")
        if not (min_std >= 0 and math.isfinite(min_std)):
            raise ConfigError(f"min_std must be 0 or more, not {min_std:g}.", "min_std")
        self._window, self._time_constant = window, time_constant
        own = ("_count", "_mean", "_variance") if window is None else ("_at", "_block", "_tail")
        self._remembers = ("_warming", *own)
        self._channels, self._keep, self._least = channels, keep, min_std

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.12, "channels": ["a", "c"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing, and for a time of no samples."""
        self._picked = picked(spec, self._channels)
        if self._window is not None:
            self._size = samples("window", self._window, spec)
            if self._size > MAX_SAMPLES:
                raise ConfigError(f"window must come to at most {MAX_SAMPLES:,} samples, not {self._size:,}.", "window")
            self._windowed = windowed.compiled
        elif self._time_constant is not None:
            self._size = samples("time_constant", self._time_constant, spec)
            self._alpha = -math.expm1(-1 / (self._time_constant * spec.rate_hz))
            self._weighted = weighted.compiled
        self.reset()
        chosen = [spec.channels[place] for place in self._picked]
        return outgoing(spec, [Channel(f"{each.name}.zscore") for each in chosen], keep=self._keep)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return a frame a sample, from the end of the warm-up on, in standard deviations."""
        x = np.ascontiguousarray(values[:, self._picked], np.float32)
        y = np.empty_like(x)
        if self._window is None:
            self._weighted(x, self._alpha, self._least, self._size, self._count, self._mean, self._variance, y)
        else:
            self._windowed(x, self._least, self._at, self._block, self._tail, y)
        skipped = min(self._warming, len(x))
        self._warming -= skipped
        return t_ns[skipped:], beside(values, y[skipped:], keep=self._keep)

    def reset(self) -> None:
        """Begin anew, with a new warm-up."""
        channels = len(self._picked)
        self._warming = self._size - 1
        if self._window is None:
            self._count, self._mean, self._variance = np.zeros(channels, np.int64), *np.zeros((2, channels))
        else:
            self._at = np.zeros(1, np.int64)
            self._block, self._tail = np.zeros((self._size, channels)), np.zeros((self._size + 1, 2, channels))
