"""An exponentially weighted mean of each channel: a first-order low-pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._per_sample import beside, outgoing
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

_F, _D = types.float32, types.float64


def reference(x: NDArray[Any], alpha: float) -> NDArray[np.float64]:
    """Return y[0] = x[0], y[i] = y[i - 1] + alpha (x[i] - y[i - 1]) of x [samples], in float64.

    Source: Brown, "Statistical Forecasting for Inventory Control", 1959; pandas' ewm(alpha, adjust=False).mean().
    """
    y = np.array(x, np.float64)
    for i in range(1, len(y)):
        y[i] = y[i - 1] + alpha * (y[i] - y[i - 1])
    return y


@entry(types.void(_F[:, ::1], _D, _D[::1], _F[:, ::1]))
def smooth(x: Any, alpha: Any, mean: Any, y: Any) -> None:
    """Write y[sample, channel] of x[sample, channel]; mean[channel] goes on from NaN, or from where it was."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            v = np.float64(x[i, c])
            if not np.isfinite(v):
                y[i, c] = np.nan
                continue
            mean[c] = v if np.isnan(mean[c]) else mean[c] + alpha * (v - mean[c])
            y[i, c] = mean[c]


class Ewma(Remembering):
    """Gives `<channel>.ewma`, the exponentially weighted mean up to each sample, in the channel's unit.

    time_constant: seconds until a step has come through to 63 %; each sample counts
    alpha = 1 - exp(-1 / (time_constant * rate)). channels: names; default: all. keep: let all the channels that come in
    come out too, before these.

    The mean begins at the channel's first sample. A NaN or infinity comes out as NaN and is left out of the mean.
    """

    _remembers = ("_mean",)

    def __init__(self, *, time_constant: float, channels: list[str] | None = None, keep: bool = False) -> None:
        if not (time_constant > 0 and math.isfinite(time_constant)):
            raise ConfigError(f"time_constant must be a time above 0 s, not {time_constant:g}.", "time_constant")
        self._time_constant, self._channels, self._keep = time_constant, channels, keep

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"time_constant": 0.1, "channels": ["a", "c"], "keep": True}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing."""
        self._picked = picked(spec, self._channels)
        self._alpha = -math.expm1(-1 / (self._time_constant * spec.rate_hz))
        self._kernel = smooth.compiled
        self.reset()
        chosen = [spec.channels[place] for place in self._picked]
        return outgoing(spec, [Channel(f"{each.name}.ewma", each.unit) for each in chosen], keep=self._keep)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return a frame a sample, at its time."""
        x = np.ascontiguousarray(values[:, self._picked], np.float32)
        y = np.empty_like(x)
        self._kernel(x, self._alpha, self._mean, y)
        return t_ns, beside(values, y, keep=self._keep)

    def reset(self) -> None:
        """Begin anew with the next sample."""
        self._mean = np.full(len(self._picked), np.nan)
