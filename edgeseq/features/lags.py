"""Each channel as it was some samples ago, side by side: a short past for models without memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._windows import MAX_SAMPLES, Windows
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

_F, _I = types.float32, types.int64


def reference(x: NDArray[Any], lags: list[int]) -> NDArray[Any]:
    """Return [frames, lags] of x [samples], from where all of them have a value.

    Source: pandas' shift by each of them.
    """
    most = max(lags)
    return np.stack([x[most - lag : len(x) - lag] for lag in lags], axis=1)


@entry(types.void(_F[:, ::1], _I[::1], _F[:, ::1]))
def looked_back(x: Any, lags: Any, y: Any) -> None:
    """Write y[frame, channel * lag] of x[channel, sample], whose frame k ends with sample k + the greatest lag."""
    most = lags.max()
    for k in range(y.shape[0]):
        for c in range(x.shape[0]):
            for i in range(len(lags)):
                y[k, c * len(lags) + i] = x[c, k + most - lags[i]]


class Lags(Remembering):
    """Gives `<channel>.lag<k>`, the sample k before, at the newest sample's time, in the channel's unit.

    lags: in samples, each 0 (the newest) or more, all different. A frame has those of the first channel in this order,
    then those of the second. channels: names; default: all.

    The first frame comes with sample max(lags) + 1. A NaN or infinity comes out wherever it is the one looked back at.
    """

    _remembers = ("_windows",)

    def __init__(self, *, lags: list[int], channels: list[str] | None = None) -> None:
        if not lags or min(lags) < 0 or max(lags) >= MAX_SAMPLES or len({*lags}) < len(lags):
            raise ConfigError(
                f"lags must be different numbers of samples, 0 to {MAX_SAMPLES - 1:,}, not {lags}.", "lags"
            )
        self._lags, self._channels = np.array(lags, np.int64), channels

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"lags": [0, 1, 7], "channels": ["a", "c"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing."""
        self._picked = picked(spec, self._channels)
        self._windows = Windows(int(self._lags.max()) + 1, 1, len(self._picked))
        self._kernel = looked_back.compiled
        chosen = [spec.channels[place] for place in self._picked]
        made = tuple(Channel(f"{each.name}.lag{lag}", each.unit) for each in chosen for lag in self._lags)
        return StreamSpec(made, spec.rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return a frame a sample, from sample max(lags) + 1 on."""
        cut = self._windows.push(t_ns, values[:, self._picked])
        y: Frames = np.empty((len(cut.t_ns), len(self._picked) * len(self._lags)), np.float32)
        self._kernel(cut.samples, self._lags, y)
        return cut.t_ns, y

    def reset(self) -> None:
        """Forget the samples before the next."""
        self._windows.reset()
