"""The constants of TensorFlow's micro frontend, computed in float32, as its set-up does: that decides their last bits.

Source: tensorflow/lite/experimental/microfrontend in the tflite-micro repository; its defaults, PCAN and logarithm on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError

WINDOW_BITS, BAND_BITS, NOISE_BITS, SNR_BITS, OUTPUT_BITS = 12, 12, 14, 12, 6
SMOOTHING_BITS, GAIN_BITS, LOG_BITS, SCALE_SHIFT = 10, 21, 16, 6
STRENGTH, OFFSET = np.float32(0.95), np.float32(80)
SMOOTHING = np.array([np.float32(0.025) * 2**NOISE_BITS, np.float32(0.06) * 2**NOISE_BITS]).astype(np.int64)
"""Weight of the newest in the estimate of the noise, of even and of odd bands."""
REMAINING = int(np.float32(0.05) * 2**NOISE_BITS)
"""What is left of a signal at least."""
LN_2 = 45426
"""In LOG_BITS bits, as the frontend has it."""
SEGMENT_BITS = 7
INTERVALS = 32


@dataclass(frozen=True)
class Bands:
    """Which bins are in which band.

    starts: int64[bands + 2]: the bins from starts[k] to starts[k + 1] lie on a slope, where band k rises and band k - 1
    falls. rising, falling: int64[bins], a bin's weights in the two, in BAND_BITS bits.
    """

    starts: NDArray[np.int64]
    rising: NDArray[np.int64]
    falling: NDArray[np.int64]


def window(size: int) -> NDArray[np.int64]:
    """Return the Hann window, between its samples, in WINDOW_BITS bits."""
    half, turn = np.float32(0.5), np.float32(np.pi) * np.float32(2) / np.float32(size)
    angle = turn * (np.arange(size, dtype=np.float32) + half)
    return _quantized(half - half * np.cos(angle.astype(np.float64)).astype(np.float32), WINDOW_BITS)


def bands(rate_hz: float, points: int, count: int, low_hz: float, high_hz: float) -> Bands:
    """Return the slopes of so many bands. Raises ConfigError where the highest ends in the last bin."""
    bins = points // 2 + 1
    step = np.float32(0.5 * rate_hz / np.float32(bins - 1))
    low, high = (_mel(np.float32(hz)) for hz in (low_hz, high_hz))
    spacing = np.float32((high - low) / np.float32(count + 1))
    centres = (low + spacing * np.arange(1, count + 2).astype(np.float32)).astype(np.float32)
    first = int(1.5 + np.float32(low_hz) / step)
    mels = np.array([_mel(np.float32(np.float32(k) * step)) for k in range(bins)], np.float32)
    starts = np.array([first, *(max(first, int(np.searchsorted(mels, centre, "right"))) for centre in centres)])
    if starts[-1] >= bins:
        raise ConfigError(f"high_hz = {high_hz:g} leaves no bin above the bands; the last one is {rate_hz / 2:g} Hz.")
    rising, falling, before = np.zeros(bins, np.int64), np.zeros(bins, np.int64), low
    for k, centre in enumerate(centres):
        inside = slice(starts[k], starts[k + 1])
        weight = ((centre - mels[inside]) / np.float32(centre - before)).astype(np.float32)
        falling[inside] = _quantized(weight, BAND_BITS)
        rising[inside] = _quantized(np.float32(1) - weight, BAND_BITS)
        before = centre
    return Bands(starts.astype(np.int64), rising, falling)


def _mel(hz: np.float32) -> np.float32:
    return np.float32(1127) * log1p(hz / np.float32(700))


def log1p(x: np.float32) -> np.float32:
    """Return ln(1 + x), rounded to the nearest: the same on all devices, as glibc's log1pf is from 2.41 on.

    C libraries whose log1pf is in places one float32 off, as glibc's before, have a weight or two one bit off.
    """
    return np.float32(np.log1p(np.float64(x)))


def _quantized(weights: NDArray[np.float32], bits: int) -> NDArray[np.int64]:
    return np.floor(weights * np.float32(2**bits) + np.float32(0.5)).astype(np.int64)


def gains(input_bits: int) -> NDArray[np.int64]:
    """Return PCAN's gain (x + OFFSET)^-STRENGTH as parabolas, three numbers for each power of two."""

    def gain(x: int) -> int:
        base = np.float32(np.float32(x) / np.float32(2.0**input_bits)) + OFFSET
        value = np.float32(2**GAIN_BITS) * np.float32(float(base) ** -float(STRENGTH))
        return int(min(value + np.float32(0.5), np.float32(2**15 - 1)))

    table = np.zeros((INTERVALS + 1, 3), np.int64)
    table[0, 0], table[1, 0] = gain(0), gain(1)
    for interval in range(2, INTERVALS + 1):
        left = 2 ** (interval - 1)
        right = 2 * left - (interval == INTERVALS)
        start, middle, end = gain(left), gain(left + left // 2), gain(right)
        slope = 4 * (middle - start) - (end - start)
        table[interval] = start, slope, end - start - slope
    return table


def logarithms() -> NDArray[np.int64]:
    """Return log2(1 + x) - x in LOG_BITS bits, of x in steps of a segment."""
    x = np.arange(2**SEGMENT_BITS + 1) / 2**SEGMENT_BITS
    return np.round(2**LOG_BITS * (np.log2(1 + x) - x)).astype(np.int64)
