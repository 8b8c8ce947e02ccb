"""The rate at which samples come by their own times, held against the one that was said."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import SourceError
from edgeseq.types import TimesNs

DIFFERS = 0.05
"""A clock may run a little fast or slow; beyond this share it is another rate."""
FEW = 10
"""So few steps in time do not tell a rate."""


class Rate:
    """Whether one stream of a file comes at rate_hz, by the steps between its times.

    It is another rate where both say so: most steps, which hang on no hole and no jitter, and their mean, which hangs
    on no coarse clock. The mean is that of steps over gaps where these are the most, else of the others.
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._before: int | None = None
        self._steps = {False: 0, True: 0}
        self._span_ns = {False: 0, True: 0}
        self._short = self._long = 0

    def take(self, t_ns: TimesNs, gaps: NDArray[np.bool_]) -> None:
        """Count steps. gaps: bool[n], whether something was lost before each sample."""
        if len(t_ns) == 0:
            return
        known = slice(1 if self._before is None else 0, None)
        steps = np.diff(t_ns, prepend=np.int64(self._before or 0))[known]
        for gap in (False, True):
            mine = steps[gaps[known] == gap]
            self._steps[gap] += len(mine)
            self._span_ns[gap] += int(mine.sum())
        periods = steps * (self._rate_hz / 1e9)
        self._short += int((periods < 1 - DIFFERS).sum())
        self._long += int((periods > 1 + DIFFERS).sum())
        self._before = int(t_ns[-1])

    def check(self, where: str, whose: str) -> None:
        """Raise SourceError where it is another. where: file and column; whose: who takes the rate that was said."""
        count = sum(self._steps.values())
        if count < FEW or 2 * max(self._short, self._long) <= count:
            return
        gap = self._steps[True] > self._steps[False]
        period = self._span_ns[gap] / self._steps[gap] / 1e9
        if abs(period * self._rate_hz - 1) > DIFFERS:
            found = f"{1 / period:g} Hz" if period else "one and the same time"
            raise SourceError(
                f"{where} samples come at {found}, {whose} {self._rate_hz:g} Hz. Correct rate_hz, or resample in the "
                "chain."
            )
