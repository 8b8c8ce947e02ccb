"""TensorFlow's micro frontend for microcontrollers, to the last bit: what many wake words are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features import _fixed_fft, _micro
from edgeseq.features._micro import (
    BAND_BITS,
    GAIN_BITS,
    LN_2,
    LOG_BITS,
    NOISE_BITS,
    OUTPUT_BITS,
    REMAINING,
    SCALE_SHIFT,
    SEGMENT_BITS,
    SMOOTHING,
    SMOOTHING_BITS,
    SNR_BITS,
    WINDOW_BITS,
)
from edgeseq.features._per_window import Number, PerWindow
from edgeseq.features._recipe import whole
from edgeseq.jit import entry
from edgeseq.types import Frames, StreamSpec

SHORT, WORD = 2**15, 2**32 - 1
_I, _F = types.int64, types.float32
_EVEN, _ODD = int(SMOOTHING[0]), int(SMOOTHING[1])
helper = numba.njit(error_model="numpy")


@helper
def _bits(x: Any) -> Any:
    """Return how many bits a number of at least 0 takes."""
    bits = 0
    while x >> bits:
        bits += 1
    return bits


@helper
def _windowed(samples: Any, gain: Any, window: Any, x: Any) -> Any:
    """Write x[points], scaled up as far as 16 bits hold; return by how many bits, -1 where a sample is not finite."""
    largest = 0
    for i in range(len(samples)):
        if not np.isfinite(samples[i]):
            return -1
        sample = np.int64(min(max(np.rint(samples[i] * gain), -SHORT), SHORT - 1))
        x[i] = (sample * window[i]) >> WINDOW_BITS
        if x[i] != -SHORT:  # whose size 16 bits do not hold
            largest = max(largest, abs(x[i]))
    shift = 15 - _bits(largest)
    for i in range(len(samples)):
        x[i] = np.int64(np.int16(x[i] << shift))
    return shift


@helper
def _root(x: Any) -> Any:
    """Return the square root, rounded to the nearest."""
    root = np.int64(np.sqrt(np.float64(x)))
    while root * root > x:
        root -= 1
    while (root + 1) * (root + 1) <= x:
        root += 1
    # A number of 32 bits has a root of 16.
    return root + (x - root * root > root and not (root == 2 * SHORT - 1 and x <= WORD))


@helper
def _without_noise(signal: Any, estimate: Any, k: Any) -> Any:
    """Return what a band's signal has above its noise, of which the estimate is carried on."""
    up = (signal << SMOOTHING_BITS) & WORD
    smoothing = _EVEN if k % 2 == 0 else _ODD
    estimate[k] = (up * smoothing + estimate[k] * ((1 << NOISE_BITS) - smoothing)) >> NOISE_BITS
    return max((up - min(estimate[k], up)) >> SMOOTHING_BITS, (signal * REMAINING) >> NOISE_BITS)


@helper
def _gained(signal: Any, noise: Any, gains: Any, shift: Any) -> Any:
    """Return the signal times the gain that its noise asks for, its low end squared."""
    interval = _bits(noise)
    start, slope, bend = gains[interval]
    gain = start
    if noise > 2:  # noqa: PLR2004 - up to there the table holds the gain itself
        place = (noise << (11 - interval) if interval < 11 else noise >> (interval - 11)) & 0x3FF  # noqa: PLR2004
        gain = np.int64(np.int16((((((bend * place) >> 5) + (slope << 5)) * place + (1 << 14)) >> 15) + start))
    ratio = ((signal * gain) >> shift) & WORD
    if ratio < 2 << SNR_BITS:
        return (ratio * ratio) >> (2 + 2 * SNR_BITS - OUTPUT_BITS)
    return (ratio >> (SNR_BITS - OUTPUT_BITS)) - (1 << OUTPUT_BITS)


@helper
def _logarithm(x: Any, table: Any) -> Any:
    """Return ln x in SCALE_SHIFT bits, 0 of 0 and 1."""
    if x <= 1:
        return 0
    whole = _bits(x) - 1
    part = x - (1 << whole)
    part = part << (LOG_BITS - whole) if whole < LOG_BITS else part >> (whole - LOG_BITS)
    segment = part >> (LOG_BITS - SEGMENT_BITS)
    behind = part - (segment << (LOG_BITS - SEGMENT_BITS))
    # It is by LOG_BITS that the frontend shifts here, so that hardly anything is left of the way between two numbers.
    part += table[segment] + (((table[segment + 1] - table[segment]) * behind) >> LOG_BITS)
    half = 1 << (LOG_BITS - 1)
    natural = (LN_2 * ((whole << LOG_BITS) + part) + half) >> LOG_BITS
    return min(((natural << SCALE_SHIFT) + half) >> LOG_BITS, 2 * SHORT - 1)


_ROWS, _TABLES = types.UniTuple(_I[::1], 7), types.UniTuple(_I[:, ::1], 5)  # type: ignore[attr-defined]


@entry(types.void(_F[:, ::1], _I, _I, types.float64, _ROWS, _TABLES, _I[:, ::1], _F[:, :, ::1]))
def frontend(samples: Any, size: Any, hop: Any, gain: Any, rows: Any, tables: Any, estimates: Any, y: Any) -> None:
    """Write y[window, channel, band] of samples[channel, sample], and carry estimates[channel, band] on.

    rows: x, order, window, starts, rising, falling, curve; tables: stages, turn, last, z, gains. x: points, zeros
    behind the window; z: [points / 2 + 1, 2].
    """
    x, order, window, starts, rising, falling, curve = rows
    stages, turn, last, z, gains = tables
    correction = _bits(len(x)) - 1 - BAND_BITS // 2
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            shift = _windowed(samples[c, n * hop : n * hop + size], gain, window, x)
            if shift < 0:
                y[n, c] = np.nan
                continue
            _fixed_fft.forward(x, order, stages, turn, last, z)
            risen, estimate = 0, estimates[c]
            for k in range(len(starts) - 1):
                fell, rises = 0, 0
                for b in range(starts[k], starts[k + 1]):
                    energy = z[b, 0] * z[b, 0] + z[b, 1] * z[b, 1]
                    fell += falling[b] * energy
                    rises += rising[b] * energy
                if k:
                    signal = _without_noise(_root(risen + fell) >> shift, estimate, k - 1)
                    signal = _gained(signal, estimate[k - 1], gains, GAIN_BITS - correction - SNR_BITS)
                    signal = (signal << correction) & WORD if correction > 0 else signal >> -correction
                    y[n, c, k - 1] = _logarithm(signal, curve)
                risen = rises


class MicroFrontend(PerWindow):
    """Gives what the micro frontend makes of each channel, a frame a hop, at the time of the window's last sample.

    In 16-bit integers: Hann window, Fourier transform of the next power of two, magnitudes in mel bands, noise
    subtracted (weights of the newest 0.025 in even bands and 0.06 in odd ones, 0.05 of the signal left at least), PCAN
    (strength 0.95, offset 80, 21 bits), ln times 64. The numbers are the frontend's integers, 0 to 65535; what
    pymicro-features multiplies by 0.0390625, `standardize` divides by std = 25.6.
    window, hop: seconds that come to whole samples, mostly 0.03 and 0.02 or 0.01. bands: how many, mostly 40. low_hz,
    high_hz: their limits. channels: names; default: all. `x.micro0` is the lowest band of channel x.
    gain: what samples are multiplied by to fill 16 bits: 32768 where they lie within ±1, 1 where they are integers of
    16 bits. What goes beyond is clipped, as by a sound card.

    A window that holds a NaN or infinity gives a frame of NaN and leaves the noise as it was; zeros give zeros. An
    offset is in no band. What is shorter than a window gives no frame. A gap in the stream makes it forget the noise.
    Source: Wang, Getreuer, Hughes, Lyon and Saurous, "Trainable frontend for robust and far-field keyword spotting",
    ICASSP 2017; the integers of tensorflow/lite/experimental/microfrontend. Reference, in Python's own integers:
    `_micro_reference.reference`.
    """

    _remembers = ("_windows", "_estimates")

    def __init__(
        self,
        *,
        window: float,
        hop: float,
        bands: int,
        low_hz: float = 125.0,
        high_hz: float = 7500.0,
        gain: float = 32768.0,
        channels: list[str] | None = None,
    ) -> None:
        super().__init__(window, hop, channels)
        if bands < 1:
            raise ConfigError(f"bands must be at least 1, not {bands}.")
        if not 0 < abs(gain) < np.inf:
            raise ConfigError(f"gain must be a number other than 0, not {gain:g}.")
        self._bands, self._low, self._high, self._gain = bands, low_hz, high_hz, gain

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.3, "hop": 0.1, "bands": 4, "low_hz": 5.0, "high_hz": 45.0, "gain": 8000.0}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing, and for what does not fit the rate."""
        whole("window", self._window, spec, 4)
        whole("hop", self._hop, spec)
        if not 0 <= self._low < self._high <= spec.rate_hz / 2:
            raise ConfigError(
                f"low_hz = {self._low:g} and high_hz = {self._high:g} must lie in this order between 0 and "
                f"{spec.rate_hz / 2:g} Hz, half the stream's rate: was the model trained at another rate?"
            )
        return super().open(spec)

    def reset(self) -> None:
        """Forget the samples of unfinished windows, and the noise."""
        super().reset()
        self._estimates[:] = 0

    def _open(self, size: int, rate_hz: float) -> Sequence[Number]:
        points = 1 << (size - 1).bit_length()
        if self._bands > points:
            raise ConfigError(f"bands = {self._bands} are more than the transform's {points} points can tell apart.")
        fft = _fixed_fft.tables(points)
        bands = _micro.bands(rate_hz, points, self._bands, self._low, self._high)
        correction = points.bit_length() - 1 - BAND_BITS // 2
        x, z = np.zeros(points, np.int64), np.zeros((points // 2 + 1, 2), np.int64)
        curve = _micro.logarithms()
        self._rows = (x, fft.order, _micro.window(size), bands.starts, bands.rising, bands.falling, curve)
        self._tables = (fft.stages, fft.turn, fft.last, z, _micro.gains(SMOOTHING_BITS - correction))
        self._estimates: NDArray[np.int64] = np.zeros((len(self._picked), self._bands), np.int64)
        self._kernel = frontend.compiled
        return [Number(f"micro{band}", "") for band in range(self._bands)]

    def _compute(self, x: Frames, size: int, hop: int, y: Frames) -> None:
        self._kernel(x, size, hop, self._gain, self._rows, self._tables, self._estimates, y)
