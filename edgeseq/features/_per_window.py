"""What features have in common that give the same numbers of every channel's windows, whatever the numbers are."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.features._channels import picked
from edgeseq.features._windows import Windows, samples
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs


@dataclass(frozen=True, slots=True)
class Number:
    """One of the numbers: its name behind the channel's, and its unit, in which {} is the channel's.

    {}² of m/s is (m/s)².
    """

    name: str
    unit: str = "{}"

    def of(self, channel: Channel) -> Channel:
        """Return what it is of a channel; without a unit where the channel has none."""
        unit = channel.unit if channel.unit.isalpha() or self.unit == "{}" else f"({channel.unit})"
        return Channel(f"{channel.name}.{self.name}", self.unit.format(unit) if channel.unit else "")


class PerWindow(Remembering, ABC):
    """Cuts channels into windows and gives, a frame a window, the numbers of the first channel, then of the second."""

    _remembers: tuple[str, ...] = ("_windows",)

    def __init__(self, window: float, hop: float | None, channels: list[str] | None) -> None:
        self._window, self._hop, self._channels = window, window if hop is None else hop, channels

    @abstractmethod
    def _open(self, size: int, rate_hz: float) -> Sequence[Number]:
        """Prepare for windows of `size` samples and return what is given of each. Raises ConfigError."""

    @abstractmethod
    def _compute(self, x: Frames, size: int, hop: int, y: Frames) -> None:
        """Write y[window, channel, number] of the windows x[channel, k * hop : k * hop + size]."""

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing, and for windows of no samples."""
        self._picked: NDArray[np.intp] = picked(spec, self._channels)
        size, hop = samples("window", self._window, spec), samples("hop", self._hop, spec)
        self._windows = Windows(size, hop, len(self._picked))
        numbers = self._open(size, spec.rate_hz)
        self._shape = (len(self._picked), len(numbers))
        channels = (spec.channels[place] for place in self._picked)
        out = tuple(number.of(channel) for channel in channels for number in numbers)
        return StreamSpec(out, spec.rate_hz / hop)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return float32[windows, channels * numbers] and the times of the windows' last samples."""
        cut = self._windows.push(t_ns, values[:, self._picked])
        y: NDArray[Any] = np.empty((len(cut.t_ns), *self._shape), np.float32)
        self._compute(cut.samples, self._windows.size, self._windows.hop, y)
        return cut.t_ns, y.reshape(len(y), math.prod(self._shape))

    def reset(self) -> None:
        """Forget the samples of an unfinished window."""
        self._windows.reset()
