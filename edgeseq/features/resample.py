"""A stream at another rate: a polyphase FIR filter that takes any ratio."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.jit import REASSOCIATED, entry
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec, TimesNs

MAX_FACTOR = 1 << 14
"""Of both numbers of a ratio whose phases are all kept (2 * half_length * factor taps), and of how far rates may lie
apart."""
ROUNDING = 1e-12
"""A rate such as 100 / 3 Hz is not exact as a float; a ratio is what it is but for this."""
MAX_NUMBER = 1 << 31
"""Of both numbers of any other ratio: it is off by 2.4e-10 at most, 8 ms a year, and places stay whole numbers."""
FINE = 1 << 12
"""Phases that are kept of one whose own are too many, for a filter as short as the samples: what lies between two of
them is off by 3e-8 (a curve's second derivative, here pi**2 / 3, times the square of their distance, by 8)."""
LEAST_FINE = 16
MAX_HALF_LENGTH = 1 << 10
_F, _I = types.float32, types.int64


def design(up: int, down: float, half_length: int, beta: float) -> NDArray[np.float64]:
    """Return a low-pass, float64[2 * half_length * max(up, down) + 1], of gain `up`, cut off at half the lower rate.

    Where up / down is no ratio of whole numbers, its ends lie between two taps.
    Source: Kaiser's window method, Oppenheim & Schafer, "Discrete-Time Signal Processing", section 7.6; the same taps
    as scipy.signal.firwin(..., window=("kaiser", beta)).
    """
    factor = max(up, down)
    end = math.floor(half_length * factor)
    n = np.arange(-end, end + 1)
    window = np.i0(beta * np.sqrt(1 - (n / (half_length * factor)) ** 2)) / np.i0(beta)
    taps: NDArray[np.float64] = np.sinc(n / factor) * window
    taps *= up / taps.sum()
    return taps


def reference(x: NDArray[Any], up: int, down: int, half_length: int = 10, beta: float = 5.0) -> NDArray[np.float64]:
    """Return x [samples] at up / down times its rate, in float64, zeros before and after it.

    Output m is the sum over k of taps[m * down - k * up + middle] x[k]. Source: scipy.signal.resample_poly, whose
    defaults are these.
    """
    taps = design(up, down, half_length, beta)
    middle = len(taps) // 2
    y = np.zeros(-(-len(x) * up // down))
    for m in range(len(y)):
        for k in range(max(0, -(-(m * down - middle) // up)), min(len(x) - 1, (m * down + middle) // up) + 1):
            y[m] += taps[m * down - k * up + middle] * x[k]
    return y


@entry(types.void(_F[:, ::1], _F[:, ::1], _I[::1], _I[::1], _F[:, ::1]), fastmath=REASSOCIATED)
def polyphase(x: Any, phases: Any, phase: Any, first: Any, y: Any) -> None:
    """Write y[output, channel]: the taps of phase[output] times x[channel] from first[output] on."""
    size = phases.shape[1]
    for m in range(y.shape[0]):
        h = phases[phase[m]]
        for c in range(y.shape[1]):
            w = x[c, first[m] : first[m] + size]
            total = np.float32(0)
            for i in range(size):
                total += h[i] * w[i]
            y[m, c] = total


@entry(types.void(_F[:, ::1], _F[:, ::1], _I[::1], _F[::1], _I[::1], _F[:, ::1]), fastmath=REASSOCIATED)
def between(x: Any, phases: Any, phase: Any, share: Any, first: Any, y: Any) -> None:
    """Write y[output, channel] as `polyphase` does, its taps a share of the way from phase[output] to the next.

    Source: Smith & Gossett, "A flexible sampling-rate conversion method", ICASSP 1984.
    """
    size = phases.shape[1]
    for m in range(y.shape[0]):
        h, following, w = phases[phase[m]], phases[phase[m] + 1], share[m]
        for c in range(y.shape[1]):
            given = x[c, first[m] : first[m] + size]
            total = np.float32(0)
            for i in range(size):
                total += (h[i] + w * (following[i] - h[i])) * given[i]
            y[m, c] = total


def ratio_of(rate_hz: float, to_hz: float) -> Fraction:
    """Return to_hz / rate_hz: one of small whole numbers where it is one, else of whole numbers below MAX_NUMBER."""
    exact = to_hz / rate_hz
    small = Fraction(exact).limit_denominator(MAX_FACTOR)
    if small.numerator <= MAX_FACTOR and math.isclose(small, exact, rel_tol=ROUNDING):
        return small
    if exact < 1:
        return Fraction(exact).limit_denominator(MAX_NUMBER)
    return 1 / (1 / Fraction(exact)).limit_denominator(MAX_NUMBER)


class Resample(Remembering):
    """Gives each channel at another rate, up or down, low-pass filtered so that nothing folds back.

    rate_hz: samples a second that come out, up to 16,384 times as many or as few as come in. half_length: of the
    filter, in samples at the lower of the two rates; beta: of its Kaiser window. The defaults, 10 and 5, are those of
    scipy.signal.resample_poly: 6 dB down at half the lower rate, 50 dB from 16 % beyond it; 64 and 12, as soxr at its
    best: 115 dB from 6 % beyond it, flat up to 6 % before it. channels: names; default: all.

    The filter looks half_length samples (at the lower rate) ahead: so much later than its own time a sample comes out,
    and the last of a stream do not come at all. Their times are exact all the same: between the times of the samples
    that came in, with no drift. Before the first sample there are zeros. A NaN or infinity makes all samples NaN or
    infinite that it reaches, half_length to each side. An offset stays; clipped samples are filtered as they are.
    """

    _remembers = ("_past", "_times", "_next")
    _grows = ("_past", "_times")

    def __init__(
        self, *, rate_hz: float, half_length: int = 10, beta: float = 5.0, channels: list[str] | None = None
    ) -> None:
        if not (rate_hz > 0 and math.isfinite(rate_hz)):
            raise ConfigError(f"rate_hz must be above 0, not {rate_hz:g}.", "rate_hz")
        if not 1 <= half_length <= MAX_HALF_LENGTH:
            raise ConfigError(f"half_length must be 1 to {MAX_HALF_LENGTH}, not {half_length}.", "half_length")
        if not 0 <= beta <= 100:  # noqa: PLR2004 - beyond it the window is narrower than a sample
            raise ConfigError(f"beta must be 0 to 100, not {beta:g}.", "beta")
        self._rate_hz, self._half_length, self._beta, self._channels = rate_hz, half_length, beta, channels
        self._past: Frames = np.empty((0, 0), np.float32)
        self._times: TimesNs = np.empty(0, np.int64)
        self._next = 0

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"rate_hz": 150.0, "half_length": 4, "channels": ["a", "c"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels and make the filter. Raises ConfigError for one that is missing, and for a wild ratio."""
        self._picked = picked(spec, self._channels)
        if not 1 / MAX_FACTOR <= self._rate_hz / spec.rate_hz <= MAX_FACTOR:
            raise ConfigError(
                f"{spec.rate_hz:g} Hz and {self._rate_hz:g} Hz lie more than {MAX_FACTOR:,} times apart.", "rate_hz"
            )
        ratio = ratio_of(spec.rate_hz, self._rate_hz)
        self._up, self._down = ratio.numerator, ratio.denominator
        # Filter and phases are those of the ratio itself, or of one of as many phases as curves need.
        self._kept, down = self._up, float(self._down)
        if max(self._up, self._down) > MAX_FACTOR:
            self._kept = max(math.ceil(FINE * min(1.0, float(ratio))), LEAST_FINE)
            down = float(self._kept / ratio)
        taps = design(self._kept, down, self._half_length, self._beta)
        middle = len(taps) // 2
        self._ahead = -(-middle // self._kept)
        self._size = 2 * self._ahead + 1
        # Phase p weighs the samples around the newest at or before an output's time, which lies p / kept after it.
        offsets = np.arange(self._kept + 1)[:, None] + (self._ahead - np.arange(self._size)) * self._kept + middle
        inside = (offsets >= 0) & (offsets < len(taps))
        self._phases = np.where(inside, taps[np.where(inside, offsets, 0)], 0).astype(np.float32)
        self._kernels = polyphase.compiled, between.compiled
        self.reset()
        return StreamSpec(tuple(spec.channels[place] for place in self._picked), self._rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return the samples that are complete with these, at their own times."""
        x = np.ascontiguousarray(np.concatenate([self._past, values[:, self._picked]]).T, np.float32)
        times = np.concatenate([self._times, t_ns])
        # Output m stands `phase` / up after the sample in the middle of its window, which begins at `first`.
        count = max(0, ((x.shape[1] - self._size + 1) * self._up - 1 - self._next) // self._down + 1)
        at = self._next + np.arange(count, dtype=np.int64) * self._down
        first, phase = np.divmod(at, self._up)
        y = np.empty((count, len(self._picked)), np.float32)
        self._filter(x, phase, first, y)
        before, after = times[first + self._ahead], times[first + self._ahead + 1]
        # (after - before) * phase // up, which might be more than 64 bits hold.
        whole, rest = np.divmod(after - before, self._up)
        out = before + whole * phase + rest * phase // self._up
        following = self._next + count * self._down
        used = min(following // self._up, x.shape[1])
        self._next = following - used * self._up
        self._past = x[:, used:].T.copy()
        self._times = times[used:].copy()
        return out, y

    def _filter(self, x: Frames, phase: NDArray[np.int64], first: NDArray[np.int64], y: Frames) -> None:
        """Write y[output, channel], phase / up of a sample after the one in the middle of its window."""
        exact, near = self._kernels
        if self._kept == self._up:
            exact(x, self._phases, phase, first, y)
        else:
            place, rest = np.divmod(phase * self._kept, self._up)
            near(x, self._phases, place, (rest / self._up).astype(np.float32), first, y)

    def reset(self) -> None:
        """Forget the samples so far: zeros stand before the next."""
        self._past = np.zeros((self._ahead, len(self._picked)), np.float32)
        self._times = np.zeros(self._ahead, np.int64)
        self._next = 0
