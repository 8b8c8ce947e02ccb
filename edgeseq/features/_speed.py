"""How fast the shaft turns: from a channel that says so, or from a tachometer's pulses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._per_sample import COLUMN
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec

_F, _D, _I = types.float32, types.float64, types.int64
_HZ = {"Hz": 1.0, "rpm": 1 / 60, "1/min": 1 / 60}
_NO_PULSE = -1
_LONG = 1 << 40
"""Samples after which it makes no difference how long ago a pulse was."""


@entry(types.void(COLUMN, _D, _D, _D[::1], _I[::1], _F[::1]))
def speeds(x: Any, threshold: Any, scale: Any, past: Any, since: Any, y: Any) -> None:
    """Write y[sample], the speed from a tachometer's x[sample]: scale over the samples between the last two pulses.

    Where the next pulse is overdue, the speed is at most what it would be if the pulse came now. past: the value
    before, where in its interval the last pulse was, samples between the last two. since[0]: samples since the last.
    """
    for i in range(len(x)):
        before, v = past[0], np.float64(x[i])
        past[0] = v
        if np.isnan(v):
            since[0], past[2] = _NO_PULSE, np.nan
        elif since[0] != _NO_PULSE:
            since[0] = min(since[0] + 1, _LONG)
        if before < threshold <= v:
            part = (threshold - before) / (v - before)
            past[2] = since[0] - past[1] + part if since[0] != _NO_PULSE else np.nan
            past[1], since[0] = part, 0
        y[i] = scale / max(past[2], since[0] + 1 - past[1]) if not np.isnan(past[2]) else np.nan


class Speed(Remembering):
    """Speed in turns a second, sample by sample, of a channel in Hz, rpm or 1/min, or of a tachometer.

    pulses: how many rises through `threshold` a tachometer's channel makes a turn; None: it is no tachometer. A
    tachometer's speed is NaN up to the second pulse, and so again after a NaN; it goes to zero when the shaft stops.
    """

    _remembers = ("_past", "_since")

    def __init__(self, spec: StreamSpec, channel: str, pulses: int | None, threshold: float) -> None:
        (self._place,) = picked(spec, [channel])
        unit = spec.channels[self._place].unit
        if pulses is None and unit not in _HZ:
            raise ConfigError(
                f"the channel '{channel}' has the unit '{unit}', and a speed comes in {', '.join(_HZ)}; the pulses of "
                "a tachometer need the key pulses, how many come a turn."
            )
        if pulses is not None and pulses < 1:
            raise ConfigError(f"pulses must be at least 1 a turn, not {pulses}.")
        self._factor = _HZ.get(unit, 1.0)
        self._scale = None if pulses is None else spec.rate_hz / pulses
        self._threshold, self._kernel = threshold, speeds.compiled
        self.reset()

    def push(self, values: Frames) -> Frames:
        """Take float32[n, channels]; return float32[n], Hz."""
        column = np.asarray(values[:, self._place], np.float32)
        if self._scale is None:
            return column * np.float32(self._factor)
        y: Frames = np.empty(len(column), np.float32)
        self._kernel(column, self._threshold, self._scale, self._past, self._since, y)
        return y

    def reset(self) -> None:
        """Forget all pulses."""
        self._past, self._since = np.array([np.nan, 0.0, np.nan]), np.array([_NO_PULSE])
