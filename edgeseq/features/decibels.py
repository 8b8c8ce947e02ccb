"""Levels on a scale of ratios: what doubles rises by as much wherever it was."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

_F, _D = types.float32, types.float64


def reference(x: NDArray[Any], against: float, least: float) -> NDArray[np.float64]:
    """Return 20 log10(max(x, least) / against) of x in float64.

    Source: ISO 1683, the level of a field quantity.
    """
    return np.asarray(20 * np.log10(np.maximum(np.asarray(x, np.float64), least) / against))


@entry(types.void(_F[:, :], _D, _D, _F[:, ::1]))
def levels(x: Any, against: Any, least: Any, y: Any) -> None:
    """Write y[sample, channel] of x[sample, channel]; a NaN stays one."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            v = np.float64(x[i, c])
            if v < least:  # noqa: PLR1730 - max might turn a NaN into the other
                v = least
            y[i, c] = 20 * math.log10(v / against)


class Decibels(Remembering):
    """Gives `<channel>.dB`, 20 log10(value / reference), of each channel: amplitudes, rms values and factors.

    reference: what counts as 0 dB, in the channel's unit; default 1. least: what anything below it counts as, zeros
    and negative values too, in that unit, above 0. channels: names; default: all. What is not named is dropped.

    A zero or a negative constant so comes out as the level of `least`. A NaN comes out as NaN, infinity as infinity.
    """

    def __init__(self, *, reference: float = 1.0, least: float = 1e-6, channels: list[str] | None = None) -> None:
        for name, value in (("reference", reference), ("least", least)):
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} must be a finite number above 0, not {value:g}.", name)
        self._against, self._least, self._channels = reference, least, channels

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"reference": 0.5, "least": 1e-3, "channels": ["c", "a"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing, and for one that is in dB already."""
        self._picked = picked(spec, self._channels)
        self._kernel = levels.compiled
        chosen = [spec.channels[place] for place in self._picked]
        for channel in chosen:
            if channel.unit == "dB":
                raise ConfigError(f"the channel '{channel.name}' is in dB already.", "channels")
        return StreamSpec(tuple(Channel(f"{channel.name}.dB", "dB") for channel in chosen), spec.rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return float32[n, channels], dB, at the same times."""
        y: Frames = np.empty((len(values), len(self._picked)), np.float32)
        self._kernel(np.asarray(values[:, self._picked], np.float32), self._against, self._least, y)
        return t_ns, y

    def reset(self) -> None:
        """Nothing is remembered from sample to sample."""
