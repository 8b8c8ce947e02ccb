"""Vibration by turns of the shaft instead of by time: what a machine does at once, twice, 7.5 times its speed."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._fft import Taper, plan, power, taper, tapered
from edgeseq.features._per_window import Number
from edgeseq.features._tachometer import Intervals
from edgeseq.features._windows import MAX_SAMPLES, Windows
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec, TimesNs

_F, _D, _I = types.float32, types.float64, types.int64
CROSSINGS = 16
"""Zeros of the interpolating sinc to each side: it is flat up to PASSED of the rate it is for, 74 dB down behind."""
PASSED = 0.4


def reference(x: NDArray[Any], start: float, length: float, points: int) -> NDArray[np.float64]:
    """Return x [samples] at `points` places from `start` on, evenly over `length` samples, in float64.

    A sinc under a Blackman window, as wide as the coarser of the two rates asks for; weights sum to 1.
    Source: Fyfe and Munck, "Analysis of computed order tracking", MSSP 11, 1997; Smith, "Digital audio resampling".
    """
    narrow = min(1.0, points / length)
    places = start + np.arange(points) * length / points
    away = (places[:, None] - np.arange(len(x))) * narrow
    window = 0.42 + 0.5 * np.cos(np.pi * away / CROSSINGS) + 0.08 * np.cos(2 * np.pi * away / CROSSINGS)
    weights = np.where(np.abs(away) < CROSSINGS, np.sinc(away) * window, 0)
    return np.asarray((weights @ np.asarray(x, np.float64)) / weights.sum(axis=1))


@numba.njit(error_model="numpy")
def weight(away: float) -> float:
    """Return the weight of a sample so far away, in samples of the coarser rate."""
    if abs(away) >= CROSSINGS:
        return 0.0
    turn = np.pi * away
    sinc = 1.0 if away == 0 else np.sin(turn) / turn
    cosine = np.cos(turn / CROSSINGS)
    return sinc * (0.34 + 0.5 * cosine + 0.16 * cosine * cosine)


@entry(types.void(_F[:, ::1], _I[::1], _D[::1], _D[::1], types.boolean[::1], _I, _F[:, ::1], _I[::1]))
def resampled(x: Any, first: Any, part: Any, length: Any, broken: Any, points: Any, y: Any, at: Any) -> None:
    """Write y[interval * points, channel] of x[sample, channel], and at[interval * points], the samples at or before.

    Interval i begins at sample first[i] + part[i] and is length[i] samples long; one that is broken gives NaN.
    """
    for i in range(len(first)):
        narrow = min(1.0, points / length[i])
        reach = CROSSINGS / narrow
        for j in range(points):
            place, row = part[i] + j * length[i] / points, i * points + j
            at[row] = first[i] + np.int64(np.floor(place))
            y[row] = np.nan
            if not broken[i]:
                low, high = np.int64(np.ceil(place - reach)), np.int64(np.floor(place + reach))
                for c in range(y.shape[1]):
                    total = weights = 0.0
                    for n in range(low, high + 1):
                        w = weight((place - n) * narrow)
                        weights += w
                        total += w * x[first[i] + n, c]
                    y[row, c] = total / weights


@entry(types.void(_F[:, ::1], _I, _I, _D[::1], _I[::1], _I[::1], _F[:, :, ::1]))
def amplitudes(x: Any, size: Any, hop: Any, weights: Any, plan: Any, lines: Any, y: Any) -> None:
    """Write y[window, channel, line], the peak amplitude of each of `lines` of the spectrum of x[channel, sample]."""
    row, squares = np.empty(size), np.empty(size // 2 + 1)
    scale = 2 / weights.sum()
    for k in range(y.shape[0]):
        for c in range(y.shape[1]):
            tapered(x[c, k * hop : k * hop + size], weights, row)
            power(plan, row, squares)
            for b in range(len(lines)):
                y[k, c, b] = scale * np.sqrt(squares[lines[b]]) * (0.5 if lines[b] == 0 else 1.0)


class OrderTracking(Remembering):
    """Gives the amplitudes of orders, multiples of the shaft's speed, over so many turns, a frame for those turns.

    Between two pulses of a tachometer the shaft is taken to turn evenly, and each channel is resampled to so many
    points a turn. Speed may change from pulse to pulse: an order stays where it is.

    tachometer: the channel with pulses; pulses: how many rises through `threshold` it makes a turn.
    turns: of a frame; orders lie 1 / turns apart. hop_turns: from one frame to the next, default: turns.
    orders: which, multiples of 1 / turns; default: all from 1 / turns to the last. `x.order_2.5` is the peak amplitude
    of channel x at 2.5 times the speed, in its unit. taper: hann, hamming, blackman, flattop, boxcar.
    points: samples a turn, a multiple of pulses; orders up to 0.4 times as many can be asked for. What is higher is
    filtered out, whatever the speed, and does not fold back.
    slowest_hz: turns a second below which the shaft counts as standing. It bounds what is kept.
    channels: names; default: all but the tachometer.

    A frame's time is that of the sample at or before its last point. It is given when the pulse behind that has come,
    and 16 samples more, or as many as 16 points take at slowest_hz; as many must lie before the first turn. While the
    shaft stands or turns too slowly no frame comes, and turns begin anew afterwards. The rate that is told of frames is
    that at slowest_hz. A zero channel gives zeros; an offset is left in order 0, and with "hann" in the line beside it.
    A NaN or infinity makes NaN the frames that hold it, one in the tachometer those with the turn in which it came.
    What the sensor has clipped counts as it came; a tachometer is best clipped. Less than its turns give no frame.
    """

    _remembers = ("_intervals", "_windows")

    def __init__(
        self,
        *,
        tachometer: str,
        slowest_hz: float,
        turns: int,
        hop_turns: int | None = None,
        pulses: int = 1,
        threshold: float = 0.5,
        points: int = 64,
        orders: list[float] | None = None,
        taper: Taper = "hann",
        channels: list[str] | None = None,
    ) -> None:
        if turns < 1 or (hop_turns is not None and hop_turns < 1):
            raise ConfigError("turns and hop_turns must be 1 or more.")
        if pulses < 1 or points < 1 or points % pulses:
            raise ConfigError(f"points must be a multiple of pulses, the {pulses} of a turn, not {points}.")
        if points * turns > MAX_SAMPLES:
            raise ConfigError(f"a frame of {turns} turns with {points} points each has more than {MAX_SAMPLES:,}.")
        if orders is not None and not (orders and all(map(math.isfinite, orders))):
            raise ConfigError(f"orders must be numbers, one or more, not {orders}.")
        last = int(PASSED * points * turns)
        self._places = [*range(1, last + 1)] if orders is None else [round(order * turns) for order in orders]
        for order, place in zip(orders or [], self._places, strict=False):
            if not 0 <= place <= last or not math.isclose(order * turns, place, abs_tol=1e-6):
                raise ConfigError(
                    f"order {order:g} must be a multiple of 1 / turns = {1 / turns:g} up to {last / turns:g}, which is "
                    f"{PASSED:g} of {points} points."
                )
        if not self._places:
            raise ConfigError(f"{points} points a turn have no order below {PASSED * points:g}: take more.")
        self._tachometer, self._slowest_hz, self._turns, self._taper = tachometer, slowest_hz, turns, taper
        self._hop_turns, self._pulses, self._threshold = hop_turns or turns, pulses, threshold
        self._points, self._channels = points, channels

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz: c is no tachometer, but rises."""
        return {"tachometer": "c", "slowest_hz": 10, "turns": 2, "hop_turns": 1, "points": 8, "channels": ["b"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing, and for a slowest_hz that cannot be."""
        names = self._channels
        if names is None:
            names = [name for name in spec.names if name != self._tachometer]
        self._picked = picked(spec, names)
        longest = spec.rate_hz / (self._slowest_hz * self._pulses) if self._slowest_hz > 0 else 0
        if not 2 <= longest <= spec.rate_hz * 3600:  # noqa: PLR2004 - samples between two rises
            raise ConfigError(
                f"slowest_hz = {self._slowest_hz:g}: two pulses must lie 2 samples to an hour apart at "
                f"{self._pulses} a turn and {spec.rate_hz:g} samples a second."
            )
        reach = math.ceil(CROSSINGS * max(1.0, longest * self._pulses / self._points)) + 1
        (place,) = picked(spec, [self._tachometer])
        self._intervals = Intervals(int(place), self._picked, self._threshold, math.floor(longest), reach)
        self._windows = Windows(self._turns * self._points, self._hop_turns * self._points, len(names))
        self._weights, self._plan = taper(self._taper, self._windows.size), plan(self._windows.size)
        self._lines = np.array(self._places, np.int64)
        self._resampled, self._amplitudes = resampled.compiled, amplitudes.compiled
        numbers = [Number(f"order_{line / self._turns:.10g}") for line in self._places]
        channels = (spec.channels[place] for place in self._picked)
        rate_hz = self._slowest_hz / self._hop_turns
        return StreamSpec(tuple(number.of(channel) for channel in channels for number in numbers), rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return float32[frames, channels * orders] and the times of the samples at which their turns end."""
        count, each = len(self._picked), self._points // self._pulses
        times, frames = [np.empty(0, np.int64)], [np.empty((0, count, len(self._lines)), np.float32)]
        for run in self._intervals.push(t_ns, values):
            if run.anew:
                self._windows.reset()
            even = np.empty((len(run.first) * each, count), np.float32)
            at = np.empty(len(even), np.int64)
            self._resampled(run.values, run.first, run.part, run.length, run.broken, each, even, at)
            cut = self._windows.push(run.t_ns[at], even)
            y = np.empty((len(cut.t_ns), count, len(self._lines)), np.float32)
            size, hop = self._windows.size, self._windows.hop
            self._amplitudes(cut.samples, size, hop, self._weights, self._plan, self._lines, y)
            times.append(cut.t_ns)
            frames.append(y)
        together = np.concatenate(frames)
        return np.concatenate(times), together.reshape(len(together), count * len(self._lines))

    def reset(self) -> None:
        """Forget all pulses and the points of unfinished turns."""
        self._intervals.reset()
        self._windows.reset()
