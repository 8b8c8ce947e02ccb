"""What becomes of missing values: held, interpolated, replaced by a constant; and marked where asked."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._windows import MAX_SAMPLES, samples
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

Policy = Literal["hold", "interpolate", "constant"]
_F, _D, _I = types.float32, types.float64, types.int64


def reference(x: NDArray[Any], t_ns: NDArray[np.int64], policy: Policy, most: int, value: float = 0.0) -> NDArray[Any]:
    """Return x [samples] with its missing values replaced, in float64. most: as Missing's `longest`, in samples.

    Source: pandas' ffill(limit=most), interpolate("index") of gaps that are no longer, fillna(value).
    """
    x = np.where(np.isfinite(x), x, np.nan).astype(np.float64)
    good = np.flatnonzero(np.isfinite(x))
    y = x.copy()
    for i in np.flatnonzero(np.isnan(x)):
        before, after = good[good < i], good[good > i]
        if policy == "constant":
            y[i] = value
        elif policy == "hold" and len(before) and i - before[-1] <= most:
            y[i] = x[before[-1]]
        elif policy == "interpolate" and len(before) and len(after) and after[0] - before[-1] <= most:
            a, b = before[-1], after[0]
            y[i] = x[a] + (x[b] - x[a]) * (t_ns[i] - t_ns[a]) / (t_ns[b] - t_ns[a])
    return y


@entry(types.void(_F[:, ::1], _I[::1], _I, _F[::1], _I[::1]))
def hold(x: Any, places: Any, most: Any, last: Any, age: Any) -> None:
    """Fill x[sample, channel] in place: last[c] is the last good value of channel places[c], age[c] samples old."""
    for i in range(x.shape[0]):
        for c in range(places.shape[0]):
            v = x[i, places[c]]
            if np.isfinite(v):
                last[c], age[c] = v, 0
                continue
            age[c] = min(age[c] + 1, most + 1)
            x[i, places[c]] = last[c] if age[c] <= most else np.nan


@entry(types.void(_F[:, ::1], _I[::1], _I, _I[::1], _I, _F[::1], _I[::1], _I[::1]))
def interpolate(x: Any, t_ns: Any, begin: Any, places: Any, most: Any, last: Any, when: Any, age: Any) -> None:
    """Fill gaps that end in x[sample, channel] from row `begin` on, in place; when[c]: the time of last[c]."""
    for i in range(begin, x.shape[0]):
        for c in range(places.shape[0]):
            v = x[i, places[c]]
            age[c] = min(age[c] + 1, most + 1)
            if not np.isfinite(v):
                x[i, places[c]] = np.nan
                continue
            if 1 < age[c] <= most:
                slope = (np.float64(v) - last[c]) / (t_ns[i] - when[c])
                for k in range(i - age[c] + 1, i):
                    x[k, places[c]] = last[c] + slope * (t_ns[k] - when[c])
            last[c], when[c], age[c] = v, t_ns[i], 0


class Missing(Remembering):
    """Fills in what is missing: a NaN, or an infinity. All channels come out, those not named as they are.

    policy: "hold", the channel's last good value, as long as that is at most `longest` seconds old; "interpolate", the
    straight line over time between the good values on both sides, where these are at most `longest` apart: everything
    comes out `longest` seconds later for it, at its own times, and the last of a stream does not come at all;
    "constant", `value`, in the channel's unit. `longest` counts in samples at the stream's rate.
    channels: names; default: all. mark: add a channel `<channel>.missing` for each, behind all others: 1 where a value
    was missing, otherwise 0.

    What is missing for longer, and before a channel's first good value, is NaN: such a frame never reaches the model.
    """

    _remembers = ("_rows", "_times", "_last", "_when", "_age")
    _grows = ("_rows", "_times")

    def __init__(
        self,
        *,
        policy: Policy,
        longest: float | None = None,
        value: float | None = None,
        channels: list[str] | None = None,
        mark: bool = False,
    ) -> None:
        if (policy == "constant") != (longest is None):
            raise ConfigError("longest, in seconds, goes with the policies 'hold' and 'interpolate'.", "longest")
        if (policy == "constant") != (value is not None) or not math.isfinite(value or 0.0):
            raise ConfigError("value, a finite number, goes with the policy 'constant'.", "value")
        self._policy, self._longest, self._value = policy, longest, value
        self._channels, self._mark = channels, mark
        self._rows: Frames = np.empty((0, 0), np.float32)
        self._times: TimesNs = np.empty(0, np.int64)

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"policy": "interpolate", "longest": 0.05, "channels": ["a"], "mark": True}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing, and for a time of no samples."""
        self._picked = picked(spec, self._channels)
        self._most = 0 if self._longest is None else samples("longest", self._longest, spec)
        if self._most > MAX_SAMPLES:
            raise ConfigError(f"longest must come to at most {MAX_SAMPLES:,} samples, not {self._most:,}.", "longest")
        self._delay = self._most if self._policy == "interpolate" else 0
        self._hold, self._interpolate = hold.compiled, interpolate.compiled
        marks = [Channel(f"{spec.channels[place].name}.missing") for place in self._picked] if self._mark else []
        self._width = len(spec.channels) + len(marks)
        self.reset()
        return StreamSpec((*spec.channels, *marks), spec.rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return a frame a sample, at its time, `longest` later with "interpolate"."""
        begin = len(self._times)
        x = np.empty((begin + len(values), self._width), np.float32)
        x[:begin], x[begin:, : values.shape[1]] = self._rows, values
        if self._mark:
            x[begin:, values.shape[1] :] = ~np.isfinite(values[:, self._picked])
        times = np.concatenate([self._times, t_ns])
        if self._policy == "hold":
            self._hold(x, self._picked, self._most, self._last, self._age)
        elif self._policy == "interpolate":
            self._interpolate(x, times, begin, self._picked, self._most, self._last, self._when, self._age)
        else:
            chosen = x[:, self._picked]
            x[:, self._picked] = np.where(np.isfinite(chosen), chosen, np.float32(self._value or 0.0))
        done = max(0, len(x) - self._delay)
        self._rows = x[done:].copy()
        self._times = times[done:].copy()
        return times[:done], x[:done]

    def reset(self) -> None:
        """Forget the last good values, and what waits for the next."""
        self._rows = np.empty((0, self._width), np.float32)
        self._times = np.empty(0, np.int64)
        self._last: Frames = np.full(len(self._picked), np.nan, np.float32)
        self._when: TimesNs = np.zeros(len(self._picked), np.int64)
        self._age: NDArray[np.int64] = np.full(len(self._picked), self._most + 1, np.int64)
