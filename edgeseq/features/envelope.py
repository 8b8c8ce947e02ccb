"""The spectrum of a band's envelope: how often something strikes, and how hard at the beats of a bearing's faults."""

from __future__ import annotations

import math
from typing import Any, Literal

import numba
import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq import bearings
from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._fft import Taper, backward, forward, plan, power, taper, tapered
from edgeseq.features._per_window import Number
from edgeseq.features._sos import Filter, butterworth
from edgeseq.features._speed import Speed
from edgeseq.features._windows import Windows, samples
from edgeseq.jit import REASSOCIATED, entry
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec, TimesNs

_F, _D, _I = types.float32, types.float64, types.int64


def reference(x: NDArray[Any], weights: NDArray[np.float64], method: str) -> NDArray[np.float64]:
    """Return the amplitude spectrum of the envelope of x [samples], which has passed the band already, in float64.

    Source: Randall and Antoni, "Rolling element bearing diagnostics: a tutorial", MSSP 25, 2011, section 5.
    """
    x = np.asarray(x, np.float64)
    if method == "analytic":
        spectrum = np.fft.fft(x)
        spectrum[1 : (len(x) + 1) // 2] *= 2
        spectrum[len(x) // 2 + 1 :] = 0
        x = np.fft.ifft(spectrum)
    envelope = np.abs(x)
    amplitude = np.abs(np.fft.rfft((envelope - envelope.mean()) * weights)) * 2 / weights.sum()
    amplitude[0] /= 2
    if len(x) % 2 == 0:
        amplitude[-1] /= 2
    return np.asarray(amplitude)


@numba.njit(fastmath=set(REASSOCIATED))
def enveloped(w: Any, analytic: Any, plan: Any, row: Any, turned: Any, spectrum: Any) -> None:
    """Write row[size], the envelope of w[size] without its mean, by way of the others."""
    size = len(w)
    for i in range(size):
        row[i] = w[i]
    if analytic:
        forward(plan, row, spectrum)
        for b in range(len(spectrum)):  # a quarter of a turn back
            spectrum[b] = complex(spectrum[b].imag, -spectrum[b].real)
        spectrum[0] = 0
        if size % 2 == 0:
            spectrum[size // 2] = 0
        backward(plan, spectrum, turned)
    else:
        turned[:] = 0
    mean = 0.0
    for i in range(size):
        row[i] = np.sqrt(row[i] * row[i] + turned[i] * turned[i])
        mean += row[i]
    mean /= size
    for i in range(size):
        row[i] -= mean


@entry(types.void(_F[:, ::1], _I, _I, _D[::1], _I[::1], types.boolean, _F[:, :, ::1]))
def spectra(x: Any, size: Any, hop: Any, weights: Any, plan: Any, analytic: Any, y: Any) -> None:
    """Write y[window, channel, line] of x[channel, sample], whose envelope is taken window by window."""
    row, turned, spectrum = np.empty(size), np.empty(size), np.empty(size // 2 + 1, np.complex128)
    squares = np.empty(len(spectrum))
    scale = 2 / weights.sum()
    for k in range(y.shape[0]):
        for c in range(y.shape[1]):
            enveloped(x[c, k * hop : k * hop + size], analytic, plan, row, turned, spectrum)
            tapered(row, weights, row)
            power(plan, row, squares)
            for b in range(y.shape[2]):
                y[k, c, b] = scale * np.sqrt(squares[b])
            y[k, c, 0] /= 2
            if size % 2 == 0 and y.shape[2] == len(spectrum):
                y[k, c, size // 2] /= 2


@entry(types.void(_F[:, :, ::1], _D, _D[:, ::1], _I, _D, _F[:, :, ::1]))
def strikes(lines: Any, apart: Any, hz: Any, harmonics: Any, width: Any, y: Any) -> None:
    """Write y[window, channel, fault], the greatest line near each harmonic of hz[window, fault], summed.

    lines[window, channel, line] lie `apart` Hz apart. A harmonic beyond the last counts nothing.
    """
    for k in range(y.shape[0]):
        for f in range(y.shape[2]):
            known = hz[k, f] >= apart and hz[k, f] < apart * lines.shape[2]
            for c in range(y.shape[1]):
                total = 0.0
                if known:
                    for h in range(1, harmonics + 1):
                        place = h * hz[k, f] / apart
                        first = max(np.int64(1), np.int64(round(place * (1 - width))))
                        if first >= lines.shape[2]:
                            break
                        last = min(np.int64(round(place * (1 + width))), lines.shape[2] - 1)
                        most = 0.0
                        for line in range(first, last + 1):
                            most = max(most, np.float64(lines[k, c, line]))
                        total += most
                y[k, c, f] = np.nan if not known or np.isnan(lines[k, c, 0]) else total


class Envelope(Remembering):
    """Gives the amplitude spectrum of the envelope of each channel's band over windows, a frame a window.

    band: from and to in Hz, about a resonance that shocks excite; order: of each slope of the Butterworth filter that
    runs on the stream ahead of the windows. It lags by about order / (4 (to - from)) s, which is not taken off times.
    method: "analytic", the magnitude of the analytic signal of a window, or "rectified", that of the signal.
    window, hop: seconds; hop: from one window to the next, default: the window. channels: names; default: all but
    speed_channel. taper: hann, hamming, blackman, flattop, boxcar, of the envelope without its mean.
    max_hz: where the spectrum ends, default: half the rate.

    Without a bearing a frame has the lines of the spectrum, 1 / window Hz apart, as peak amplitudes in the channel's
    unit: `x.envelope_50Hz`. With one it has, for the faults of outer race, inner race, ball and cage, `x.bpfo`,
    `x.bpfi`, `x.bsf` and `x.ftf`: the greatest line around each harmonic of its frequency, summed.
    bearing: balls, ball_diameter, pitch_diameter, contact_angle (degrees, default 0); the outer ring stands still.
    harmonics: how many, those beyond the spectrum's end left out. width: how far around one, as a share of its
    frequency, for slip and speed that is not quite known; the nearest line at least.
    speed_hz: the shaft's turns a second; or speed_channel: where they are measured, in Hz, rpm or 1/min, averaged over
    the window; with pulses, a tachometer that rises through threshold so often a turn.

    A fault whose frequency lies below the first line, as when the shaft stands still, or beyond the spectrum's end, or
    is not known (two pulses of the tachometer must have come) is NaN. A constant or zero channel gives zeros: the
    filter starts as if the first value had always been there, so an offset does nothing. A NaN or infinity makes NaN
    every window of its channel that holds it, and the filter starts anew. What the sensor has clipped counts as it
    came; its harmonics may lie in the band. Less than a window gives no frame.
    """

    _remembers = ("_filter", "_speed", "_windows")

    def __init__(
        self,
        *,
        band: list[float],
        window: float,
        hop: float | None = None,
        order: int = 4,
        method: Literal["analytic", "rectified"] = "analytic",
        taper: Taper = "hann",
        max_hz: float | None = None,
        bearing: dict[str, float] | None = None,
        speed_hz: float | None = None,
        speed_channel: str | None = None,
        pulses: int | None = None,
        threshold: float = 0.5,
        harmonics: int = 3,
        width: float = 0.02,
        channels: list[str] | None = None,
    ) -> None:
        if len(band) != 2:  # noqa: PLR2004
            raise ConfigError(f"band must be two frequencies in Hz, from and to, not {band}.")
        if (bearing is not None) != (speed_hz is not None or speed_channel is not None):
            raise ConfigError("bearing and a speed, speed_hz or speed_channel, come together, or not at all.")
        if speed_hz is not None and (speed_channel is not None or not speed_hz > 0):
            raise ConfigError("speed_hz must be above 0, and speed_channel not there beside it.")
        if pulses is not None and speed_channel is None:
            raise ConfigError("pulses are those of a speed_channel, which is missing.")
        if harmonics < 1 or not 0 <= width < 0.5:  # noqa: PLR2004 - half way to the next
            raise ConfigError("harmonics must be 1 or more, and width 0 to below 0.5.")
        self._band, self._order, self._analytic, self._taper = band, order, method == "analytic", taper
        self._window, self._hop, self._max_hz = window, window if hop is None else hop, max_hz
        self._faults = None if bearing is None else np.array(bearings.per_turn(bearing))
        self._speed_hz, self._speed_channel, self._pulses, self._threshold = speed_hz, speed_channel, pulses, threshold
        self._harmonics, self._width, self._channels = harmonics, width, channels

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {
            "band": [10, 40],
            "order": 2,
            "window": 0.5,
            "hop": 0.2,
            "bearing": {"balls": 8, "ball_diameter": 7.9, "pitch_diameter": 39},
            "speed_hz": 6,
        }

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels and design the filter. Raises ConfigError where band, speed or windows do not fit."""
        names = self._channels
        if names is None:
            names = [name for name in spec.names if name != self._speed_channel]
        self._picked = picked(spec, names)
        count = len(names)
        size, hop = samples("window", self._window, spec), samples("hop", self._hop, spec)
        self._apart = spec.rate_hz / size
        end = spec.rate_hz / 2 if self._max_hz is None else self._max_hz
        self._lines = int(end / self._apart + 1e-9) + 1 if math.isfinite(end) else 0
        if not 2 <= self._lines <= size // 2 + 1:  # noqa: PLR2004
            raise ConfigError(
                f"max_hz must lie between {self._apart:g}, the first line, and half the rate, not {end:g}."
            )
        self._filter = Filter(butterworth(self._order, self._band[0], self._band[1], spec.rate_hz), count)
        self._weights, self._plan = taper(self._taper, size), plan(size)
        self._speed = None
        if self._speed_channel is not None:
            self._speed = Speed(spec, self._speed_channel, self._pulses, self._threshold)
        elif self._faults is not None and self._speed_hz is not None:
            self._fit(self._faults * self._speed_hz, self._apart * self._lines)
        self._windows = Windows(size, hop, count + (self._speed is not None))
        self._spectra, self._strikes = spectra.compiled, strikes.compiled
        numbers = [Number(name) for name in bearings.FAULTS]
        if self._faults is None:
            numbers = [Number(f"envelope_{line * self._apart:.10g}Hz") for line in range(self._lines)]
        return StreamSpec(
            tuple(number.of(spec.channels[place]) for place in self._picked for number in numbers), spec.rate_hz / hop
        )

    def _fit(self, hz: NDArray[np.float64], end: float) -> None:
        """Raise ConfigError for the frequencies that a fixed speed gives, where one could never be seen."""
        for name, each in zip(bearings.FAULTS, hz, strict=True):
            if not self._apart <= each < end:
                raise ConfigError(
                    f"{name} is {each:.4g} Hz at speed_hz = {self._speed_hz:g}; the envelope's spectrum goes from "
                    f"{self._apart:.4g}, the first line, to {end:.4g} Hz. Longer windows begin lower."
                )

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return float32[windows, channels * numbers] and the times of the windows' last samples."""
        passed = self._filter.push(values[:, self._picked])
        if self._speed is not None:
            passed = np.concatenate([passed, self._speed.push(values)[:, None]], axis=1)
        cut = self._windows.push(t_ns, passed)
        size, hop, count = self._windows.size, self._windows.hop, len(cut.t_ns)
        lines = np.empty((count, len(self._picked), self._lines), np.float32)
        self._spectra(cut.samples, size, hop, self._weights, self._plan, self._analytic, lines)
        if self._faults is None:
            return cut.t_ns, lines.reshape(count, len(self._picked) * self._lines)
        turning = np.full(count, self._speed_hz, np.float64)
        if self._speed is not None:
            with np.errstate(invalid="ignore"):  # infinity less infinity: not known
                for k in range(count):
                    turning[k] = cut.samples[-1, k * hop : k * hop + size].mean(dtype=np.float64)
        y = np.empty((count, len(self._picked), len(bearings.FAULTS)), np.float32)
        self._strikes(lines, self._apart, turning[:, None] * self._faults, self._harmonics, self._width, y)
        return cut.t_ns, y.reshape(count, len(self._picked) * len(bearings.FAULTS))

    def reset(self) -> None:
        """Forget the filter's past, the pulses and the samples of an unfinished window."""
        self._filter.reset()
        self._windows.reset()
        if self._speed is not None:
            self._speed.reset()
