"""Differences between consecutive samples: what a channel gains per sample or per second."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._per_sample import beside, outgoing
from edgeseq.features._windows import Windows
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

MAX_ORDER = 8
_F, _D, _I = types.float32, types.float64, types.int64


def reference(x: NDArray[Any], order: int, rate_hz: float = 1.0) -> NDArray[np.float64]:
    """Return the backward difference of x [samples], applied `order` times, times rate_hz^order, in float64.

    Source: Oppenheim and Schafer, "Discrete-time signal processing", 3rd edition, 2010, section 2.2; NumPy's diff.
    """
    for _ in range(order):
        x = np.array([(after - before) * rate_hz for before, after in itertools.pairwise(x)], np.float64)
    return np.asarray(x, np.float64)


@entry(types.void(_F[:, ::1], _I[::1], _I, _D, _F[:, ::1]))
def differences(x: Any, places: Any, order: Any, scale: Any, y: Any) -> None:
    """Write y[frame, channel] of x[places[channel], sample], whose frame k ends with sample k + order."""
    row = np.empty(order + 1)
    for k in range(y.shape[0]):
        for c in range(len(places)):
            for j in range(order + 1):
                row[j] = x[places[c], k + j]
            for left in range(order, 0, -1):
                for j in range(left):
                    row[j] = row[j + 1] - row[j]
            y[k, c] = row[0] * scale


class Difference(Remembering):
    """Gives `<channel>.difference`, the backward difference of each channel, at the time of its newest sample.

    order: how often the difference is taken (1: slope, 2: its change), 1 to 8. per: "sample" leaves it in the
    channel's unit; "second" multiplies it by the stream's rate as often, in unit/s, unit/s^2, ... channels: names;
    default: all. keep: let all the channels that come in come out too, before these.

    The first frame comes with sample order + 1. The order + 1 frames that lean on a NaN are NaN; an infinity makes
    them infinite or NaN. A constant gives zeros.
    """

    _remembers = ("_windows",)

    def __init__(
        self,
        *,
        order: int = 1,
        per: Literal["sample", "second"] = "sample",
        channels: list[str] | None = None,
        keep: bool = False,
    ) -> None:
        if not 1 <= order <= MAX_ORDER:
            raise ConfigError(f"order must be 1 to {MAX_ORDER}, not {order}.", "order")
        self._order, self._per, self._channels, self._keep = order, per, channels, keep

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"order": 2, "per": "second", "channels": ["a", "c"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing."""
        self._picked = picked(spec, self._channels)
        self._scale = spec.rate_hz**self._order if self._per == "second" else 1.0
        self._windows = Windows(self._order + 1, 1, len(spec.channels))
        self._kernel = differences.compiled
        chosen = [spec.channels[place] for place in self._picked]
        made = [Channel(f"{each.name}.difference", self._unit(each.unit)) for each in chosen]
        return outgoing(spec, made, keep=self._keep)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return a frame a sample, from sample order + 1 on."""
        cut = self._windows.push(t_ns, values)
        y: Frames = np.empty((len(cut.t_ns), len(self._picked)), np.float32)
        self._kernel(cut.samples, self._picked, self._order, self._scale, y)
        return cut.t_ns, beside(cut.samples.T, y, keep=self._keep)

    def reset(self) -> None:
        """Forget the samples before the next."""
        self._windows.reset()

    def _unit(self, unit: str) -> str:
        """Return the unit of the difference of a channel."""
        if self._per == "sample":
            return unit
        return f"{unit or '1'}/s" if self._order == 1 else f"{unit or '1'}/s^{self._order}"
