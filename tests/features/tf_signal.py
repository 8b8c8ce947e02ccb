"""tf.signal's few functions in NumPy, float64, as its API documentation defines them; TensorFlow itself is 1.5 GB."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def hann_window(size: int) -> NDArray[np.float64]:
    """Return the periodic window; for odd sizes tf.signal's "periodic" adds nothing, which makes it symmetric."""
    even = 1 - size % 2
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size + even - 1)))


def stft(x: NDArray[Any], size: int, hop: int) -> NDArray[np.complex128]:
    """Frames without padding, transformed at the next power of two: fft_length's default."""
    points = 1
    while points < size:
        points *= 2
    starts = range(0, len(x) - size + 1, hop)
    return np.array([np.fft.rfft(np.asarray(x[k : k + size], np.float64) * hann_window(size), points) for k in starts])


def mel_weights(bands: int, bins: int, rate_hz: float, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return linear_to_mel_weight_matrix: float64[bins, bands], its first row zero."""

    def mel(hz: Any) -> Any:
        return 1127.0 * np.log(1.0 + np.asarray(hz) / 700.0)

    at = mel(np.linspace(0.0, rate_hz / 2, bins)[1:])[:, None]
    edges = np.linspace(mel(low_hz), mel(high_hz), bands + 2)
    lower, centre, upper = edges[None, :-2], edges[None, 1:-1], edges[None, 2:]
    weights = np.maximum(0.0, np.minimum((at - lower) / (centre - lower), (upper - at) / (upper - centre)))
    return np.pad(weights, [[1, 0], [0, 0]])


def log_mel(x: NDArray[Any], size: int, hop: int, bands: int) -> NDArray[np.float64]:
    """Return what the guide to tf.signal computes, at 16 kHz, with the defaults of the band's edges."""
    magnitudes = np.abs(stft(x, size, hop))
    return np.asarray(np.log(magnitudes @ mel_weights(bands, magnitudes.shape[1], 16_000, 125.0, 3800.0) + 1e-6))


def mfcc(log_mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mfccs_from_log_mel_spectrograms: an unscaled DCT-II (which counts twice) over sqrt(2 * bands)."""
    bands = log_mels.shape[1]
    k, n = np.arange(bands)[:, None], np.arange(bands)[None, :]
    return np.asarray(log_mels @ (2 * np.cos(np.pi * k * (n + 0.5) / bands)).T / np.sqrt(2.0 * bands))
