"""Each channel as it was some samples ago, side by side: a short past for models without memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._windows import MAX_SAMPLES, Windows
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs


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
        self._lags, self._channels = lags, channels

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"lags": [0, 1, 7], "channels": ["a", "c"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing."""
        self._picked = picked(spec, self._channels)
        self._windows = Windows(max(self._lags) + 1, 1, len(self._picked))
        chosen = [spec.channels[place] for place in self._picked]
        made = tuple(Channel(f"{each.name}.lag{lag}", each.unit) for each in chosen for lag in self._lags)
        return StreamSpec(made, spec.rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return a frame a sample, from sample max(lags) + 1 on."""
        cut = self._windows.push(t_ns, values[:, self._picked])
        newest = np.arange(len(cut.t_ns))[:, None] + max(self._lags)
        frames = cut.samples[:, newest - np.array(self._lags)].transpose(1, 0, 2)
        return cut.t_ns, np.ascontiguousarray(frames.reshape(len(cut.t_ns), len(self._picked) * len(self._lags)))

    def reset(self) -> None:
        """Forget the samples before the next."""
        self._windows.reset()
