"""The intervals between a tachometer's pulses, and the samples around them, as soon as all of those have come."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.features._per_sample import COLUMN
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Frames, TimesNs

_D, _I = types.float64, types.int64


@entry(_I(COLUMN, _D, _D[::1], _I[::1], _D[::1], types.boolean[::1]))
def rises(x: Any, threshold: Any, past: Any, first: Any, part: Any, broken: Any) -> Any:
    """Return how many rises through the threshold x[sample] has: the i-th, part[i] behind sample first[i].

    broken[i]: since the rise before came a value that is no number. past: the value before x; 1 if one came since.
    """
    count = 0
    for i in range(len(x)):
        before, v = past[0], np.float64(x[i])
        past[0] = v
        if not np.isfinite(v):
            past[1] = 1
        elif before < threshold <= v and np.isfinite(before):
            first[count], part[count] = i - 1, (threshold - before) / (v - before)
            broken[count] = past[1] > 0
            past[1] = 0
            count += 1
    return count


@dataclass(frozen=True, slots=True)
class Run:
    """Intervals that follow each other. anew: the first of them does not follow the last of the run before.

    Interval i begins part[i] (0 to 1) behind sample first[i] of values, and is length[i] samples long; broken[i]: a NaN
    or infinity of the tachometer lies in it, so there may be pulses that were not seen.
    t_ns: int64[n]. values: float32[n, channels], what is around all of them.
    """

    anew: bool
    first: NDArray[np.int64]
    part: NDArray[np.float64]
    length: NDArray[np.float64]
    broken: NDArray[np.bool_]
    t_ns: TimesNs
    values: Frames


class Intervals(Remembering):
    """Finds intervals of up to `longest` samples in channel `place`, and keeps `reach` samples to both sides of them.

    A pulse is a rise through threshold, placed where the line between its two samples meets that. A longer interval,
    and one with less than `reach` samples before it, as at the start, is left out: what follows begins anew.
    """

    _remembers = ("_t_ns", "_values", "_past", "_first", "_part", "_broken", "_anew")
    _grows = ("_t_ns", "_values", "_first", "_part", "_broken")

    def __init__(self, place: int, channels: NDArray[np.intp], threshold: float, longest: int, reach: int) -> None:
        self._place, self._channels, self._threshold = place, channels, threshold
        self._longest, self._reach = longest, reach
        self._kernel = rises.compiled
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._t_ns: TimesNs = np.empty(0, np.int64)
        self._values: Frames = np.empty((0, len(self._channels)), np.float32)
        self._past = np.array([np.nan, 0.0])
        # Of the pulses that an interval may still begin with: place in the kept samples, part, broken before.
        self._first, self._part = np.empty(0, np.int64), np.empty(0)
        self._broken = np.empty(0, np.bool_)
        self._anew = True

    def push(self, t_ns: TimesNs, values: Frames) -> Iterator[Run]:
        """Take int64[n] ns and float32[n, channels]; yield the runs that are complete with them."""
        kept = len(self._t_ns)
        self._see(values[:, self._place], kept)
        self._t_ns = np.concatenate([self._t_ns, t_ns])
        self._values = np.concatenate([self._values, np.ascontiguousarray(values[:, self._channels], np.float32)])
        length = np.diff(self._first) + np.diff(self._part)
        # An interval needs what lies around its last point, which comes before its end.
        ready = int(np.searchsorted(self._first[1:] + 1 + self._reach, len(self._t_ns)))
        good = (length[:ready] <= self._longest) & (self._first[:ready] >= self._reach)
        edges = [0, *(np.flatnonzero(np.diff(good)) + 1).tolist(), ready]
        for start, end in itertools.pairwise(edges):
            if end > start and good[start]:
                chosen = slice(start, end)
                yield Run(
                    self._anew, self._first[chosen].copy(), self._part[chosen].copy(), length[chosen].copy(),
                    self._broken[1:][chosen].copy(), self._t_ns, self._values,
                )  # fmt: skip
            if end > start:
                self._anew = not good[start]
        self._forget(ready)

    def _see(self, tachometer: NDArray[np.float32], kept: int) -> None:
        """Add the pulses among new samples, of which the first is sample `kept`."""
        n = len(tachometer)
        first, part, broken = np.empty(n, np.int64), np.empty(n), np.empty(n, np.bool_)
        count = self._kernel(np.asarray(tachometer, np.float32), self._threshold, self._past, first, part, broken)
        self._first = np.concatenate([self._first, first[:count] + kept])
        self._part = np.concatenate([self._part, part[:count]])
        self._broken = np.concatenate([self._broken, broken[:count]])

    def _forget(self, ready: int) -> None:
        """Drop the pulses and samples that no interval needs any more."""
        self._first, self._part, self._broken = self._first[ready:], self._part[ready:], self._broken[ready:]
        if len(self._first) == 1 and len(self._t_ns) - self._first[0] > self._longest + 1:  # the next one is too late
            self._first, self._part, self._broken = self._first[1:], self._part[1:], self._broken[1:]
            self._anew = True
        oldest = int(self._first[0]) if len(self._first) else len(self._t_ns) - 1
        drop = max(0, oldest - self._reach)
        self._t_ns, self._values = self._t_ns[drop:].copy(), self._values[drop:].copy()
        self._first = self._first - drop
