"""Mel bands as people train on them: what librosa, Kaldi and TensorFlow compute, each to its own rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._fft import taper
from edgeseq.features._recipe import LOG_FLOOR, Logarithm, Recipe, transform, whole
from edgeseq.types import StreamSpec

Dialect = Literal["librosa", "kaldi", "tensorflow"]
Spectrum = Literal["power", "magnitude"]
PREEMPHASIS = 0.97


@dataclass(frozen=True)
class Bands:
    """Parameters of log_mel and mfcc, as their users give them; None: what the dialect's library does by itself."""

    dialect: Dialect
    window: float
    hop: float
    bands: int
    points: int | None
    low_hz: float | None
    high_hz: float | None
    spectrum: Spectrum | None
    logarithm: Logarithm | None
    floor: float | None
    gain: float

    def __post_init__(self) -> None:
        if self.bands < 1:
            raise ConfigError(f"bands must be at least 1, not {self.bands}.")
        if self.floor is not None and not 0 < self.floor < np.inf:
            raise ConfigError(f"floor must be a number above 0, not {self.floor:g}: there is no logarithm of zero.")
        if not 0 < abs(self.gain) < np.inf:
            raise ConfigError(f"gain must be a number other than 0, not {self.gain:g}.")

    @property
    def magnitude(self) -> bool:
        """Whether bands are of magnitudes, not of their squares. TensorFlow's guide takes tf.abs of the transform."""
        return (self.spectrum or ("magnitude" if self.dialect == "tensorflow" else "power")) == "magnitude"

    @property
    def taken(self) -> Logarithm:
        """The logarithm: librosa.power_to_db's, Kaldi's, or that of TensorFlow's guide."""
        defaults: dict[Dialect, Logarithm] = {"librosa": "db", "kaldi": "log", "tensorflow": "log_offset"}
        return self.logarithm or defaults[self.dialect]

    def recipe(self, spec: StreamSpec) -> Recipe:
        """Return the recipe at a stream's rate. Raises ConfigError for times and frequencies that do not fit it."""
        size, hop = whole("window", self.window, spec, 2), whole("hop", self.hop, spec)
        points = transform(self.points, size, size if self.dialect == "librosa" else 1 << (size - 1).bit_length())
        if self.bands > points:
            raise ConfigError(f"bands = {self.bands} are more than the transform's {points} points can tell apart.")
        low, high = self._limits(spec)
        floors = {"librosa": 1e-5 if self.magnitude else 1e-10, "kaldi": LOG_FLOOR, "tensorflow": 1e-6}
        kaldi = self.dialect == "kaldi"
        return Recipe(
            hop=hop,
            window=WINDOWS[self.dialect](size),
            points=points,
            # librosa puts a window that is shorter than the transform into the middle of it.
            lead=(points - size) // 2 if self.dialect == "librosa" else 0,
            gain=self.gain,
            centred=kaldi,
            emphasis=PREEMPHASIS if kaldi else 0.0,
            magnitude=self.magnitude,
            bank=BANKS[self.dialect](spec.rate_hz, points, self.bands, low, high),
            logarithm=self.taken,
            floor=floors[self.dialect] if self.floor is None else self.floor,
        )

    def _limits(self, spec: StreamSpec) -> tuple[float, float]:
        """Return the lowest and the highest frequency, in Hz."""
        half = spec.rate_hz / 2
        lows, highs = {"kaldi": 20.0, "tensorflow": 125.0}, {"tensorflow": 3800.0}
        low = lows.get(self.dialect, 0.0) if self.low_hz is None else self.low_hz
        high = highs.get(self.dialect, half) if self.high_hz is None else self.high_hz
        if not 0 <= low < high <= half:
            raise ConfigError(
                f"low_hz = {low:g} and high_hz = {high:g} must lie in this order between 0 and {half:g} Hz, half the "
                f"stream's rate: was the model trained at another rate?"
            )
        return low, high


def librosa_bank(rate_hz: float, points: int, bands: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return float64[bands, bins] as of librosa.filters.mel: triangles over Hz of area 1, their corners even in mel.

    Source: Slaney, "Auditory Toolbox", 1998: mel is linear up to 1 kHz, then logarithmic.
    """
    step, corner, log_step = 200 / 3, 1000.0, np.log(6.4) / 27

    def mel(hz: float) -> float:
        return hz / step if hz < corner else float(corner / step + np.log(hz / corner) / log_step)

    mels = np.linspace(mel(low_hz), mel(high_hz), bands + 2)
    straight, curved = mels * step, corner * np.exp(log_step * (mels - corner / step))
    edges = np.where(mels < corner / step, straight, curved).astype(np.float64)
    triangles = _triangles(np.arange(points // 2 + 1) * (rate_hz / points), edges)
    return triangles * (2 / (edges[2:] - edges[:-2]))[:, None]


def htk_bank(rate_hz: float, points: int, bands: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return float64[bands, bins] as of Kaldi and of tf.signal.linear_to_mel_weight_matrix: triangles over mel.

    Source: Young et al., "The HTK Book", section 5.4: mel = 1127 ln(1 + Hz / 700). The bin of 0 Hz is in no band, nor,
    where there is one, is that of half the rate, at which a band can only end.
    """
    edges = np.linspace(_htk(low_hz), _htk(high_hz), bands + 2)
    return _triangles(_htk(np.arange(points // 2 + 1) * (rate_hz / points)), edges)


def _htk(hz: float | NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(1127 * np.log1p(np.asarray(hz) / 700))


def _triangles(at: NDArray[Any], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64[bands, bins]: band k rises from edges[k] to 1 at edges[k + 1] and falls to edges[k + 2]."""
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0.0, np.minimum((at - low) / (middle - low), (high - at) / (high - middle)))


def _hann(size: int) -> NDArray[np.float64]:
    return taper("hann", size)


def _povey(size: int) -> NDArray[np.float64]:
    """Kaldi's own: a Hann window that does not go to zero so early."""
    return np.asarray(taper("hann", size, symmetric=True) ** 0.85)


def _tensorflow_hann(size: int) -> NDArray[np.float64]:
    """tf.signal.hann_window's: what it calls periodic is so for even sizes only."""
    return taper("hann", size, symmetric=size % 2 == 1)


BANKS = {"librosa": librosa_bank, "kaldi": htk_bank, "tensorflow": htk_bank}
WINDOWS = {"librosa": _hann, "kaldi": _povey, "tensorflow": _tensorflow_hann}
