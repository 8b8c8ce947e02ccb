"""What a gap in a stream means for its model and its decider, judged by how long it was."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from edgeseq.types import TimesNs

SHARE = 0.5
"""A record that begins so much of a duty cycle early or late is still the expected one."""


class Gap(Enum):
    """PAUSE: the duty cycle's own; nothing was lost. SHORT: the state holds over it. LONG: the state does not."""

    PAUSE = auto()
    SHORT = auto()
    LONG = auto()


@dataclass(frozen=True, slots=True)
class Gaps:
    """How gaps are judged. duty_cycle_s: a record of samples begins so often; None: samples come without a pause.

    limit_s: a gap, from the last sample before it to the first behind, of up to so many seconds is short.
    """

    duty_cycle_s: float | None = None
    limit_s: float = 0.0

    def length(self, ns: int) -> Gap:
        """Judge a gap by its length alone."""
        return Gap.SHORT if ns <= self.limit_s * 1e9 else Gap.LONG


ALL_GAPS = Gaps()
"""Every gap counts."""


class Records:
    """The same stream's records and its newest sample, so that the pause between records is told from a loss in one."""

    def __init__(self, gaps: Gaps) -> None:
        self._gaps = gaps
        self.began_ns: int | None = None
        self.last_ns: int | None = None

    def passed(self, t_ns: TimesNs) -> None:
        """Take note of samples, one at least."""
        self.began_ns = int(t_ns[0]) if self.began_ns is None else self.began_ns
        self.last_ns = int(t_ns[-1])

    def judge(self, t_ns: int) -> Gap:
        """Say what the gap before the sample at t_ns is."""
        if self.began_ns is None or self.last_ns is None:
            return Gap.LONG
        if t_ns <= self.last_ns:
            # The process before this one had another clock: how long it was nobody knows, and records count anew.
            self.began_ns = t_ns
            return Gap.LONG
        if self._gaps.duty_cycle_s is not None:
            cycles = (t_ns - self.began_ns) / 1e9 / self._gaps.duty_cycle_s
            if cycles >= 1 - SHARE:
                self.began_ns = t_ns
                if cycles <= 1 + SHARE:
                    return Gap.PAUSE
        return self._gaps.length(t_ns - self.last_ns)
