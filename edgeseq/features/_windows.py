"""Windows of consecutive samples, cut from blocks of any length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeseq.errors import ConfigError
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec, TimesNs

MAX_SAMPLES = 1 << 24
"""Of a window, and from one to the next: beyond it a mistake is more likely than a use."""

COUNTABLE = 1 << 53
"""Samples, up to which a time in seconds tells one from the next."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Windows that a block completed: window k of channel c is samples[c, k * hop : k * hop + size].

    t_ns: int64[windows], the time of each one's last sample. samples: float32[channels, n], each channel in a row.
    """

    t_ns: TimesNs
    samples: Frames


class Windows(Remembering):
    """Cuts a stream into windows of `size` samples, one every `hop`; the first is complete with sample `size`.

    At most size + hop samples are kept from block to block.
    """

    _remembers = ("_kept", "_skip")
    _grows = ("_kept",)

    def __init__(self, size: int, hop: int, channels: int) -> None:
        for name, value in (("window", size), ("hop", hop)):
            if not 1 <= value <= MAX_SAMPLES:
                raise ConfigError(f"{name} must come to 1 to {MAX_SAMPLES:,} samples, not {value}.")
        self.size, self.hop = size, hop
        self._kept: Frames = np.empty((0, channels), np.float32)
        self._skip = 0

    def push(self, t_ns: TimesNs, values: Frames) -> Cut:
        """Take int64[n] ns and float32[n, channels]; return the windows that are complete with them."""
        if self._skip:  # a hop longer than the window leaves samples out between two of them
            skipped = min(self._skip, len(values))
            self._skip -= skipped
            t_ns, values = t_ns[skipped:], values[skipped:]
        before = len(self._kept)
        joined = np.concatenate([self._kept, values], dtype=np.float32) if before else np.array(values, np.float32)
        count = max(0, (len(joined) - self.size) // self.hop + 1)
        following = count * self.hop
        self._skip += max(0, following - len(joined))
        self._kept = joined[following:].copy()
        ends = t_ns[self.size - 1 - before :: self.hop][:count] if count else t_ns[:0]
        return Cut(ends, np.ascontiguousarray(joined.T))

    def reset(self) -> None:
        """Forget the samples that wait."""
        self._kept = self._kept[:0].copy()
        self._skip = 0


def samples(name: str, seconds: float, spec: StreamSpec) -> int:
    """Return how many samples a time is at a stream's rate, to the nearest. Raises ConfigError below one."""
    exact = seconds * spec.rate_hz
    if exact > COUNTABLE:
        raise ConfigError(f"{name} = {seconds:g} s is {exact:g} samples at {spec.rate_hz:g} Hz; nobody counts so far.")
    if not exact > 0.5:  # noqa: PLR2004 - what is rounded to one; NaN is none
        raise ConfigError(f"{name} = {seconds:g} s is less than one sample at {spec.rate_hz:g} Hz.")
    return round(exact)
