"""TensorFlow's micro frontend in Python's own integers: what `micro_frontend` computes, as its sources say it.

Sources, of tensorflow/lite/experimental/microfrontend/lib: frontend.c, window.c, fft.cc, filterbank.c,
noise_reduction.c, pcan_gain_control.c, log_scale.c, a function each; of KISS FFT 1.3.0: kiss_fft.c, kiss_fftr.c,
_kiss_fft_guts.h. The constants that their set-up computes are those of `_micro`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgeseq.features import _micro

Complex = tuple[int, int]
_LARGEST = 2**15 - 1
_WORD = 2**32 - 1


def reference(
    x: Sequence[int], rate_hz: float, *, size: int, hop: int, bands: int, low_hz: float, high_hz: float
) -> list[list[int]]:
    """Return for each window of `size` samples of 16 bits, one every `hop`, what the frontend gives of its bands."""
    points = 2
    while points < size:
        points *= 2
    weights, slopes = _micro.window(size).tolist(), _micro.bands(rate_hz, points, bands, low_hz, high_hz)
    correction = points.bit_length() - 1 - _micro.BAND_BITS // 2
    gains, curve = _micro.gains(_micro.SMOOTHING_BITS - correction).tolist(), _micro.logarithms().tolist()
    estimate, found = [0] * bands, []
    for begin in range(0, len(x) - size + 1, hop):
        windowed = [
            sample * w >> _micro.WINDOW_BITS for sample, w in zip(x[begin : begin + size], weights, strict=True)
        ]
        shift = 15 - max(_short(abs(sample)) for sample in [0, *windowed]).bit_length()
        spectrum = transform([_short(sample << shift) for sample in windowed] + [0] * (points - size))
        signals = [root >> shift for root in _filterbank([a * a + b * b for a, b in spectrum], slopes)]
        estimate, signals = _noise_reduction(signals, estimate)
        shift_of_gain = _micro.GAIN_BITS - correction - _micro.SNR_BITS
        snrs = [(s * _gain(e, gains) >> shift_of_gain) & _WORD for s, e in zip(signals, estimate, strict=True)]
        shrunk = [_shrink(snr) for snr in snrs]
        corrected = [(s << correction) & _WORD if correction > 0 else s >> -correction for s in shrunk]
        found.append([_log(s, curve) for s in corrected])
    return found


def transform(x: Sequence[int]) -> list[Complex]:
    """Return the n / 2 + 1 lines of x [n]: kiss_fftr, the transform of pairs, put right."""
    half = len(x) // 2
    pairs = _fft([*zip(x[::2], x[1::2], strict=True)])
    a, b = _divided(pairs[0], 2)
    lines = [(0, 0)] * (half + 1)
    lines[0], lines[half] = (_short(a + b), 0), (_short(a - b), 0)
    for k in range(1, half // 2 + 1):
        p, q = _divided(pairs[k], 2), _divided((pairs[half - k][0], _short(-pairs[half - k][1])), 2)
        both = _short(p[0] + q[0]), _short(p[1] + q[1])
        turned = _times((_short(p[0] - q[0]), _short(p[1] - q[1])), -math.pi * (k / half + 0.5))
        lines[k] = _short((both[0] + turned[0]) >> 1), _short((both[1] + turned[1]) >> 1)
        lines[half - k] = _short((both[0] - turned[0]) >> 1), _short((turned[1] - both[1]) >> 1)
    return lines


def _fft(x: Sequence[Complex]) -> list[Complex]:
    """Return the transform of x [n], divided by n: kf_work, of every fourth, or at the end every second number."""
    n = len(x)
    if n == 1:
        return [*x]
    radix = 4 if n % 4 == 0 else 2
    parts = [_fft(x[k::radix]) for k in range(radix)]
    lines = []
    for line in range(n):
        # Sums wrap around at 16 bits, so that their order does not matter.
        real, imaginary = 0, 0
        for k, part in enumerate(parts):
            j, quarter = line % (n // radix), line // (n // radix) * k * (4 // radix) % 4
            a, b = _divided(part[j], radix)
            a, b = _times((a, b), -2 * math.pi * (j * k) / n) if k else (a, b)
            a, b = ((a, b), (b, -a), (-a, -b), (-b, a))[quarter]
            real, imaginary = real + a, imaginary + b
        lines.append((_short(real), _short(imaginary)))
    return lines


def _short(x: int) -> int:
    """Return what an int16_t keeps of it."""
    return (x + 2**15) % 2**16 - 2**15


def _rounded(x: int) -> int:
    """Return sround(x)."""
    return _short((x + 2**14) >> 15)


def _divided(x: Complex, by: int) -> Complex:
    """Return C_FIXDIV(x, by)."""
    return _rounded(x[0] * (_LARGEST // by)), _rounded(x[1] * (_LARGEST // by))


def _times(x: Complex, angle: float) -> Complex:
    """Return C_MUL of x and kf_cexp(angle)."""
    a, b = (math.floor(0.5 + _LARGEST * part) for part in (math.cos(angle), math.sin(angle)))
    return _rounded(x[0] * a - x[1] * b), _rounded(x[0] * b + x[1] * a)


def _filterbank(energy: Sequence[int], slopes: _micro.Bands) -> list[int]:
    """Return the root of each band's weighted energy: what rises on its first slope and falls on its second."""
    starts = slopes.starts.tolist()
    rising, falling = slopes.rising.tolist(), slopes.falling.tolist()
    return [
        _sqrt(
            sum(rising[b] * energy[b] for b in range(starts[k], starts[k + 1]))
            + sum(falling[b] * energy[b] for b in range(starts[k + 1], starts[k + 2]))
        )
        for k in range(len(starts) - 2)
    ]


def _sqrt(x: int) -> int:
    """Return Sqrt64, rounded to the nearest; numbers of 32 bits go through Sqrt32, whose result has 16."""
    root = math.isqrt(x)
    rounded = root + (x > root * (root + 1))
    return min(rounded, 2**16 - 1) if x <= _WORD else rounded


def _noise_reduction(signals: Sequence[int], estimate: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the new estimate of the noise, and the signals without it."""
    one, bits = 1 << _micro.NOISE_BITS, _micro.SMOOTHING_BITS
    estimates, left = [], []
    for k, (signal, before) in enumerate(zip(signals, estimate, strict=True)):
        smoothing = int(_micro.SMOOTHING[k % 2])
        up = (signal << bits) & _WORD
        estimates.append((up * smoothing + before * (one - smoothing)) // one)
        left.append(max((up - min(estimates[-1], up)) >> bits, signal * _micro.REMAINING // one))
    return estimates, left


def _gain(noise: int, gains: Sequence[Sequence[int]]) -> int:
    """Return WideDynamicFunction(noise): a parabola over the ten bits behind the highest."""
    interval = noise.bit_length()
    start, slope, bend = gains[interval]
    if noise <= 2:  # noqa: PLR2004 - up to there the table holds the gain itself
        return start
    place = (noise << 11 >> interval) - 1024
    return _short(((((bend * place >> 5) + (slope << 5)) * place + 2**14) >> 15) + start)


def _shrink(snr: int) -> int:
    """Return PcanShrink(snr)."""
    if snr < 2 << _micro.SNR_BITS:
        return snr * snr >> (2 + 2 * _micro.SNR_BITS - _micro.OUTPUT_BITS)
    return (snr >> (_micro.SNR_BITS - _micro.OUTPUT_BITS)) - (1 << _micro.OUTPUT_BITS)


def _log(x: int, curve: Sequence[int]) -> int:
    """Return Log(x) as LogScaleApply writes it."""
    if x <= 1:
        return 0
    integer, one = x.bit_length() - 1, 1 << _micro.LOG_BITS
    fraction = (x << _micro.LOG_BITS >> integer) - one
    segment, behind = divmod(fraction, one >> _micro.SEGMENT_BITS)
    fraction += curve[segment] + ((curve[segment + 1] - curve[segment]) * behind >> _micro.LOG_BITS)
    natural = (_micro.LN_2 * (integer * one + fraction) + one // 2) // one
    return min(((natural << _micro.SCALE_SHIFT) + one // 2) // one, 2**16 - 1)
