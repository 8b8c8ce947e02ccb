"""Recorded samples let out as they once came: in real time, at any speed-up, or as fast as possible."""

from __future__ import annotations

import math
import threading
import time
from typing import Literal

from edgeseq.errors import ConfigError

PaceKey = Literal["fast", "real-time"] | float
"""The TOML key `pace`: "fast", "real-time", or how many times faster than real time."""

SLICE_S = 0.01
"""A paced chunk spans at most this much waiting, so that samples come as evenly as anyone can see."""
LONGEST_WAIT_S = 3600.0


class Pace:
    """Waits until samples are due, on the monotonic clock. Every stream's clock starts at its own first sample.

    hurried: set while samples are read that nobody takes; they are due at once, and start no clock.
    """

    def __init__(self, pace: PaceKey) -> None:
        if isinstance(pace, str) and pace not in ("fast", "real-time"):
            raise ConfigError(f"pace must be 'fast', 'real-time' or a number above 0, not {pace!r}.")
        self._speed = None if pace == "fast" else 1.0 if pace == "real-time" else float(pace)
        if self._speed is not None and not (self._speed > 0 and math.isfinite(self._speed)):
            raise ConfigError(f"pace must be 'fast', 'real-time' or a number above 0, not {pace!r}.")
        self._anchors: dict[str, tuple[float, int]] = {}
        self._closed = threading.Event()
        self.hurried = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def close(self) -> None:
        """End every wait, now and later."""
        self._closed.set()

    def most_rows(self, rate_hz: float, most: int) -> int:
        """Return how many samples at `rate_hz` may go out together, at most `most`."""
        return most if self._speed is None else max(1, min(most, int(rate_hz * self._speed * SLICE_S)))

    def wait(self, clock: str, t_ns: int) -> bool:
        """Wait until the sample of time t_ns is due on this clock. Returns False if closed before."""
        if self._speed is None or self.hurried:
            return not self._closed.is_set()
        begun, origin_ns = self._anchors.setdefault(clock, (time.monotonic(), t_ns))
        due = begun + (t_ns - origin_ns) / 1e9 / self._speed
        while not self._closed.is_set():
            left = due - time.monotonic()
            if left <= 0:
                return True
            self._closed.wait(min(left, LONGEST_WAIT_S))
        return False

    def forget(self, clock: str) -> None:
        """Free a clock whose stream has ended."""
        self._anchors.pop(clock, None)

    def words(self) -> str:
        """Return the pace as a person says it."""
        if self._speed is None:
            return "as fast as possible"
        return "in real time" if self._speed == 1.0 else f"{self._speed:g} times as fast as real time"
