"""SciPy and NumPy as people write features of vibration with them, in float64, a window a call.

Filters keep their state. Everything that does not hang on the window is made once: windows, coefficients, scales.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import fft, integrate, signal, stats

from edgeseq.features.velocity import DROOP

NAME = "SciPy"
BAND = (2000.0, 8000.0)
Row = NDArray[np.float64]


class Peer(Protocol):
    """What gives the numbers of a window."""

    def push(self, x: Row) -> NDArray[Any]:
        """Return them of x [samples]."""
        ...

    def reset(self) -> None:
        """Forget all windows before."""
        ...


class Stateless:
    """Looks at one window alone."""

    def reset(self) -> None:
        """Nothing is remembered."""


class Statistics(Stateless):
    """The 14 statistics in the order of window_statistics."""

    def push(self, x: Row) -> NDArray[Any]:
        """Return them."""
        size = np.abs(x)
        rms, absolute, peak = np.sqrt(np.mean(x**2)), np.mean(size), np.max(size)
        return np.array([
            np.mean(x), np.std(x), rms, absolute, np.min(x), np.max(x), peak, np.ptp(x), stats.skew(x),
            stats.kurtosis(x, fisher=False), peak / rms, rms / absolute, peak / absolute,
            peak / np.mean(np.sqrt(size)) ** 2,
        ])  # fmt: skip


class Envelope:
    """Band-pass, analytic signal or rectifier, amplitude spectrum of the envelope."""

    def __init__(self, rate_hz: float, *, analytic: bool = True) -> None:
        self._sections = signal.butter(4, BAND, "bandpass", fs=rate_hz, output="sos")
        self._past: Row = np.empty(0)
        self._analytic = analytic
        self._weights = np.empty(0)
        self.reset()

    def push(self, x: Row) -> NDArray[Any]:
        """Return the lines."""
        if len(self._weights) != len(x):
            self._weights = signal.get_window("hann", len(x))
        passed, self._past = signal.sosfilt(self._sections, x, zi=self._past)
        envelope = np.abs(signal.hilbert(passed) if self._analytic else passed)
        lines: NDArray[Any] = np.abs(fft.rfft((envelope - envelope.mean()) * self._weights)) * (2 / self._weights.sum())
        lines[[0, -1]] /= 2
        return lines

    def reset(self) -> None:
        """Put the filter to rest."""
        self._past = np.zeros((len(self._sections), 2))


class Welch(Stateless):
    """SciPy's own, over segments of 256 samples."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz

    def push(self, x: Row) -> NDArray[Any]:
        """Return the density."""
        return np.asarray(signal.welch(x, self._rate_hz, nperseg=256)[1])


class SpectralKurtosis(Stateless):
    """Moments of SciPy's spectrogram over segments of 256 samples, three quarters in common."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz

    def push(self, x: Row) -> NDArray[Any]:
        """Return the kurtosis of the lines between zero and half the rate."""
        squares = signal.spectrogram(x, self._rate_hz, "hann", 256, 192, detrend="constant")[2]
        return np.asarray((np.mean(squares**2, axis=1) / np.mean(squares, axis=1) ** 2 - 2)[1:-1])


class Cepstrum(Stateless):
    """Inverse transform of the logarithm of a Hann window's magnitudes."""

    def __init__(self) -> None:
        self._weights = np.empty(0)

    def push(self, x: Row) -> NDArray[Any]:
        """Return the lags up to half the window."""
        if len(self._weights) != len(x):
            self._weights = signal.get_window("hann", len(x))
        return np.asarray(fft.irfft(np.log(np.abs(fft.rfft(x * self._weights))), len(x))[: len(x) // 2 + 1])


class Velocity:
    """High-pass, trapezoidal integral, low-pass and RMS, from g to mm/s."""

    def __init__(self, rate_hz: float) -> None:
        self._above = signal.butter(4, 10, "highpass", fs=rate_hz, output="sos")
        self._below = signal.butter(4, 1000, fs=rate_hz, output="sos")
        self._dx = 9806.65 / rate_hz
        self._before: Row = np.empty(0)
        self._between: Row = np.empty(0)
        self._behind: Row = np.empty(0)
        self._last: Row = np.empty(0)
        self._sum = 0.0
        self.reset()

    def push(self, x: Row) -> NDArray[Any]:
        """Return the RMS."""
        above, self._before = signal.sosfilt(self._above, x, zi=self._before)
        moving = integrate.cumulative_trapezoid(np.concatenate([self._last, above]), dx=self._dx) + self._sum
        self._last, self._sum = above[-1:], moving[-1]
        lifted, self._between = signal.lfilter(DROOP, 1, moving, zi=self._between)
        passed, self._behind = signal.sosfilt(self._below, lifted, zi=self._behind)
        return np.asarray(np.sqrt(np.mean(passed**2, keepdims=True)))

    def reset(self) -> None:
        """Put filters and integral to rest."""
        self._before, self._behind = np.zeros((len(self._above), 2)), np.zeros((len(self._below), 2))
        self._between, self._last, self._sum = np.zeros(len(DROOP) - 1), np.zeros(1), 0.0
