"""Times of samples that bring none along, or such as their sender's clock gives them: one policy for both.

A stream's times only ever increase. See docs/times.md.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq.sources._times import GAP_PERIODS, MAX_NS
from edgeseq.types import TimesNs

SETTLE_S = 10.0
"""Within so much time the samples' own rate follows the arrivals'."""
LATE_S, LATE_PERIODS = 2.0, 3.0
"""Samples that arrive later than this after the ones before let them expect are behind a gap."""
RATE_DIFFERS = 0.05
"""A sender may measure so much faster or slower than it says."""
SET_BACK_S = 60.0
"""Times that run back further are no messages out of order, but a clock that was set."""


class Arrivals:
    """Dates samples by when they arrive: evenly spaced, following the arrivals slowly, so that jitter evens out.

    rate_hz: nominal; a sender a little faster or slower is followed. The newest sample of what arrives together is
    taken to be measured then; delays of a network are in the times.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = 1e9 / rate_hz
        self._late_ns = max(LATE_S * 1e9, LATE_PERIODS * self._period_ns)
        self._last_ns: int | None = None

    def dated(self, count: int, now_ns: int, *, lost: bool = False) -> tuple[TimesNs, bool]:
        """Return int64[count] for samples that arrive now, and whether something is missing before them.

        lost: it is known that something is; they are dated anew.
        """
        before, span = self._last_ns, round(count * self._period_ns)
        if before is None:
            first, last, gap = now_ns - span, now_ns, False
        else:
            behind = now_ns - before - span
            gap = lost or behind > self._late_ns
            if gap:
                # As old as their number says, but newer than what came before.
                last = max(now_ns, before + count)
                first = max(last - span, before)
            else:
                first = before
                last = max(first + span + round(behind * min(1.0, span / (SETTLE_S * 1e9))), first + count)
        t_ns = first + np.floor(np.arange(1, count + 1) * ((last - first) / count)).astype(np.int64)
        self._last_ns = int(t_ns[-1])
        return t_ns, gap


@dataclass(frozen=True, slots=True)
class Kept:
    """Which samples are kept, bool[n]; of these: their times, int64[k], and which of them a gap precedes, bool[k]."""

    keep: NDArray[np.bool_]
    t_ns: TimesNs
    gaps: NDArray[np.bool_]


class Stamps:
    """Takes the times that samples bring along, as long as they make sense; what does not is counted in `dropped`.

    A time that was there already is a duplicate, one that lies before it is late: both samples are dropped. Times that
    run back by more than a minute are a clock that was set back: what follows is moved to behind what came before, with
    a gap, until the clock is there again. A step of more than 1.5 periods is a gap.
    """

    def __init__(self, rate_hz: float, dropped: Counter[str]) -> None:
        self._period_ns = 1e9 / rate_hz
        self._dropped = dropped
        self._last_ns: int | None = None
        self._moved_ns = 0
        # When the block that follows the last one begins, by the rate, and how far from it that may be.
        self._next_ns = self._slack_ns = 0

    def spread(self, first_ns: int, count: int) -> Kept:
        """Return what is kept of `count` samples of which the first one's time is given.

        The others follow by the rate. Blocks that follow each other, as nearly as a rate that is not quite right lets
        them, have no gap between them, and do not overlap.
        """
        offsets = np.rint(np.arange(count) * self._period_ns).astype(np.int64)
        begins = first_ns + self._moved_ns
        if self._last_ns is not None and abs(begins - self._next_ns) <= self._slack_ns:
            t_ns = np.maximum(begins + offsets, self._last_ns + 1 + np.arange(count))
            self._last_ns = int(t_ns[-1])
            kept = Kept(np.ones(count, np.bool_), t_ns, np.zeros(count, np.bool_))
        else:
            kept = self.checked(first_ns + offsets)
        if kept.keep.any():
            span = count * self._period_ns
            self._next_ns = first_ns + self._moved_ns + round(span)
            self._slack_ns = round(max((GAP_PERIODS - 1) * self._period_ns, RATE_DIFFERS * span))
        return kept

    def checked(self, given: TimesNs) -> Kept:
        """Return what is kept of samples with these times, int64[n], n >= 1."""
        keep, gaps, times = np.ones(len(given), np.bool_), np.zeros(len(given), np.bool_), given.copy()
        for place, t_ns in enumerate(given.tolist()):
            last = self._last_ns
            if last is None:
                self._last_ns = t_ns
                continue
            if abs(t_ns - last) < abs(t_ns + self._moved_ns - last):
                self._moved_ns = 0
            if last - (t_ns + self._moved_ns) > SET_BACK_S * 1e9:
                self._dropped["clock_set_back"] += 1
                self._moved_ns = last + round(self._period_ns) - t_ns
                gaps[place] = True
            moved = t_ns + self._moved_ns
            if moved > MAX_NS:
                self._dropped["too_far"] += 1
                keep[place] = False
                continue
            if moved <= last:
                self._dropped["duplicate" if moved == last else "late"] += 1
                keep[place] = False
                continue
            gaps[place] |= moved - last > GAP_PERIODS * self._period_ns
            times[place] = self._last_ns = moved
        return Kept(keep, times[keep], gaps[keep])
