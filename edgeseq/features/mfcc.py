"""Mel-frequency cepstral coefficients of sound, in the dialects of librosa, Kaldi and TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._mel import Bands, Dialect
from edgeseq.features._recipe import not_causal
from edgeseq.features._spectra import Spectra
from edgeseq.types import Channel, StreamSpec


def cosines(coefficients: int, bands: int) -> NDArray[np.float64]:
    """Return float64[coefficients, bands], which makes cepstra of log energies: the orthonormal DCT-II.

    Source: Davis & Mermelstein, "Comparison of parametric representations", IEEE Trans. ASSP 28, 1980. librosa, Kaldi
    and SciPy's dct(norm="ortho") have it so.
    """
    at = np.pi * np.arange(coefficients)[:, None] * (np.arange(bands) + 0.5) / bands
    return np.cos(at) * np.where(np.arange(coefficients) == 0, 1, np.sqrt(2))[:, None] / np.sqrt(bands)


class Mfcc(Spectra):
    """Gives the first cepstral coefficients of each channel, a frame a hop, at the time of the window's last sample.

    dialect: whose numbers they are: those of `log_mel` by that library's defaults, and then
      `librosa`: the orthonormal DCT, as of librosa.feature.mfcc(S=power_to_db(..., top_db=None)); without S it cuts off
        at 80 dB below the recording's loudest moment, which a stream has not heard yet.
      `kaldi`: the orthonormal DCT, lifter 22, and ln of the window's energy for the first coefficient.
      `tensorflow`: tf.signal.mfccs_from_log_mel_spectrograms: the DCT, its first coefficient times sqrt(2).
    window, hop, bands, points, low_hz, high_hz, floor, gain, center, top_db, channels: as of `log_mel`.
    coefficients: how many, at most bands.
    lifter: L: coefficient n is multiplied by 1 + L/2 sin(pi n / L), of librosa by that of n + 1; default: 22 of Kaldi,
    else 0, which is none.
    energy: ln of the sum of the window's squares, its mean subtracted, takes the first coefficient's place; of Kaldi
    alone; default: true.

    A window that holds a NaN gives a frame of NaN; an infinity leaves nothing finite of it either. A window of zeros
    gives the cepstrum of the floor. Clipped samples are taken as they are; an offset is in the lowest bands, but of
    Kaldi, which subtracts it. What is shorter than a window gives no frame. `x.mfcc0` is channel x's first coefficient.
    Source: the three libraries.
    Kernel, shared: `_spectra.windows`. Reference: `_recipe.reference`.
    """

    def __init__(
        self,
        *,
        dialect: Dialect,
        window: float,
        hop: float,
        bands: int,
        coefficients: int,
        points: int | None = None,
        low_hz: float | None = None,
        high_hz: float | None = None,
        floor: float | None = None,
        gain: float = 1.0,
        lifter: float | None = None,
        energy: bool | None = None,
        center: bool = False,
        top_db: float | None = None,
        channels: list[str] | None = None,
    ) -> None:
        not_causal(center=center, top_db=top_db)
        self._bands = Bands(
            dialect=dialect,
            window=window,
            hop=hop,
            bands=bands,
            points=points,
            low_hz=low_hz,
            high_hz=high_hz,
            spectrum=None,
            logarithm=None,
            floor=floor,
            gain=gain,
        )
        if not 1 <= coefficients <= bands:
            raise ConfigError(f"coefficients must be 1 to the number of bands, {bands}, not {coefficients}.")
        if energy and dialect != "kaldi":
            raise ConfigError(f"energy = true is Kaldi's; the dialect '{dialect}' has none. Take the feature 'energy'.")
        lifter = (22.0 if dialect == "kaldi" else 0.0) if lifter is None else lifter
        if not 0 <= lifter < np.inf:
            raise ConfigError(f"lifter must be a number of at least 0, not {lifter:g}.")
        self._energy, self._channels = dialect == "kaldi" if energy is None else energy, channels
        self._matrix = cosines(coefficients, bands)
        if dialect == "tensorflow":
            self._matrix[0] *= np.sqrt(2)
        if lifter:
            place = np.arange(coefficients) + (dialect == "librosa")
            self._matrix *= (1 + lifter / 2 * np.sin(np.pi * place / lifter))[:, None]

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"dialect": "librosa", "window": 0.25, "hop": 0.1, "bands": 6, "coefficients": 4, "channels": ["a", "c"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing, and for what does not fit the rate."""
        places = picked(spec, self._channels)
        recipe = replace(self._bands.recipe(spec), matrix=self._matrix, energy=self._energy)
        self._begin(recipe, places)
        names = [f"{spec.names[place]}.mfcc{number}" for place in places for number in range(recipe.width)]
        return StreamSpec(tuple(map(Channel, names)), spec.rate_hz / recipe.hop)
