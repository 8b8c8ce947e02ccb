"""Vibration velocity from acceleration, in the band of ISO 20816, as it comes or as RMS over windows."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._sos import Filter, Sections, butterworth
from edgeseq.features._sos import reference as filtered
from edgeseq.features._windows import Windows, samples
from edgeseq.jit import REASSOCIATED, entry
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

_F, _I = types.float32, types.int64
_MM_PER_S2 = {"g": 9806.65, "m/s²": 1000.0, "m/s^2": 1000.0, "m/s2": 1000.0, "mm/s²": 1.0}
"""Millimetres a second squared in each unit of acceleration."""
LEAST_RATE = 4
"""Samples to a period of the band's upper edge."""
DROOP = (-1 / 12, 7 / 6, -1 / 12)
"""Weights of three samples that lift high frequencies as much as the trapezoidal rule takes from them, up to (2 pi f /
rate)⁴: the trapezoidal rule gives (w / 2) / tan(w / 2) of an integral at w = 2 pi f / rate, these 1 + (1 - cos w) / 6.
"""


def reference(x: NDArray[Any], rate_hz: float, low: float, high: float, order: int) -> NDArray[np.float64]:
    """Return the integral of x [samples], from rest at its first value, between low and high Hz, in float64.

    Source: ISO 2954 for the band's filters, taken as Butterworth; the trapezoidal rule, with DROOP behind it.
    """
    x = filtered(x, butterworth(order, low, None, rate_hz))
    before = np.concatenate([[0.0], x[:-1]])
    lifted = filtered(np.cumsum(x + before) / (2 * rate_hz), np.array([[*DROOP, 1, 0, 0]]))
    return filtered(lifted, butterworth(order, None, high, rate_hz))


def integrator(rate_hz: float, low: float, high: float, order: int) -> Sections:
    """Return the sections of `reference`. A zero of the high-pass cancels the integral's pole, so nothing drifts."""
    above, below = butterworth(order, low, None, rate_hz), butterworth(order, None, high, rate_hz)
    above[0, :3] = above[0, 0] / (2 * rate_hz) * np.array([1.0, 0.0, -1.0])  # of (1 - 1 / z)² one is (1 + 1 / z) now
    return np.concatenate([above, [[*DROOP, 1, 0, 0]], below])


@entry(types.void(_F[:, ::1], _I, _I, _F[:, ::1]), fastmath=REASSOCIATED)
def levels(x: Any, size: Any, hop: Any, y: Any) -> None:
    """Write y[window, channel], the root mean square of x[channel, sample]."""
    for k in range(y.shape[0]):
        for c in range(y.shape[1]):
            w = x[c, k * hop : k * hop + size]
            squares = 0.0
            for i in range(size):
                squares += np.float64(w[i]) * w[i]
            y[k, c] = np.sqrt(squares / size)


class Velocity(Remembering):
    """Integrates acceleration to velocity in mm/s between two frequencies, and gives it, or its RMS over windows.

    low, high: the band in Hz; 10 to 1000 is that of ISO 20816 for most machines (2 to 1000 below 600 turns a minute).
    order: of each slope of the Butterworth filters, 2 or more; at an edge 3 dB are lost.
    window: seconds; a frame is `x.velocity_rms`, the RMS over a window, at the time of its last sample. hop: from one
    window to the next, default: the window. Without a window every sample gives a frame, `x.velocity`.
    channels: names, of acceleration in g, m/s² or mm/s²; default: all. unit: which, for channels that do not say.

    Inside the band it is the integral within 0.3 % up to a tenth of the rate, 4 % too low at a fifth, 8 % at a quarter;
    the rate must be at least four times `high`. Everything is causal: it lags by about order / (9 high) s, which is not
    taken off times. The filter starts as if the first value had always been there: an offset, as gravity, gives no
    velocity, nor does a constant or zero channel; a vibration that is there from the start is right after about
    order / low s. A NaN or infinity comes out as NaN, in every window that holds it, and the filter starts anew. What
    the sensor has clipped counts as it came: its velocity is too low. Less than a window gives no frame.
    """

    _remembers = ("_filter", "_windows")

    def __init__(
        self,
        *,
        low: float = 10.0,
        high: float = 1000.0,
        order: int = 4,
        window: float | None = None,
        hop: float | None = None,
        unit: Literal["g", "m/s²", "m/s^2", "m/s2", "mm/s²"] | None = None,
        channels: list[str] | None = None,
    ) -> None:
        if order < 2:  # noqa: PLR2004 - the integral takes one
            raise ConfigError(f"order must be 2 or more, not {order}: with less an offset would pass.")
        if not 0 < low < high:
            raise ConfigError(f"low must lie above 0 and below high, not {low:g} and {high:g} Hz.")
        if hop is not None and window is None:
            raise ConfigError("hop is from one window to the next, and window is missing.")
        self._low, self._high, self._order, self._unit = low, high, order, unit
        self._window, self._hop, self._channels = window, window if hop is None else hop, channels

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz, without units."""
        return {"low": 2, "high": 20, "window": 0.3, "hop": 0.1, "unit": "g", "channels": ["a", "b"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels and design the filter. Raises ConfigError where rate, band, unit or windows do not fit."""
        self._picked = picked(spec, self._channels)
        if spec.rate_hz < LEAST_RATE * self._high:
            raise ConfigError(
                f"velocity up to {self._high:g} Hz needs {LEAST_RATE * self._high:g} samples a second, not "
                f"{spec.rate_hz:g}: take a lower `high`."
            )
        chosen = [spec.channels[place] for place in self._picked]
        units = {channel.name: channel.unit or self._unit or "" for channel in chosen}
        for name, unit in units.items():
            if unit not in _MM_PER_S2:
                told = f"the unit '{unit}'" if unit else "no unit"
                raise ConfigError(
                    f"the channel '{name}' has {told}; acceleration comes in "
                    f"{', '.join(_MM_PER_S2)}. The key unit says which, where the stream does not."
                )
        self._scale = np.array([_MM_PER_S2[unit] for unit in units.values()])
        self._filter = Filter(integrator(spec.rate_hz, self._low, self._high, self._order), len(chosen))
        self._windows = None
        rate_hz = spec.rate_hz
        if self._window is not None and self._hop is not None:
            size, hop = samples("window", self._window, spec), samples("hop", self._hop, spec)
            self._windows, self._kernel, rate_hz = Windows(size, hop, len(chosen)), levels.compiled, rate_hz / hop
        what = "velocity" if self._windows is None else "velocity_rms"
        return StreamSpec(tuple(Channel(f"{channel.name}.{what}", "mm/s") for channel in chosen), rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return float32[n or windows, channels], mm/s, at the times of the samples or of the windows' last."""
        with np.errstate(over="ignore"):  # beyond float32 it is infinite, and its window too
            moving = np.asarray(self._filter.push(values[:, self._picked]) * self._scale, np.float32)
        if self._windows is None:
            return t_ns, moving
        cut = self._windows.push(t_ns, moving)
        y: Frames = np.empty((len(cut.t_ns), len(self._picked)), np.float32)
        self._kernel(cut.samples, self._windows.size, self._windows.hop, y)
        return cut.t_ns, y

    def reset(self) -> None:
        """Forget the filter's past and the samples of an unfinished window."""
        self._filter.reset()
        if self._windows is not None:
            self._windows.reset()
