"""Log-mel energies of sound, in the dialects of librosa, Kaldi and TensorFlow."""

from __future__ import annotations

from typing import Any

from edgeseq.features._channels import picked
from edgeseq.features._mel import Bands, Dialect, Spectrum
from edgeseq.features._recipe import Logarithm, not_causal, numbers
from edgeseq.features._spectra import Spectra
from edgeseq.types import StreamSpec


class LogMel(Spectra):
    """Gives the energies in mel bands of each channel, a frame a hop, at the time of the window's last sample.

    dialect: whose numbers they are.
      `librosa`: power_to_db(melspectrogram(y, center=False), top_db=None): Slaney's mel scale and norm, Hann window.
      `kaldi`: kaldi-native-fbank's and torchaudio.compliance.kaldi's fbank with dither 0: the mean subtracted,
        preemphasis 0.97, Povey window, HTK's mel scale; snip_edges, no energy.
      `tensorflow`: tf.signal.stft, tf.abs, linear_to_mel_weight_matrix, log(x + 1e-6); for the micro frontend of
        microcontrollers take the feature `micro_frontend`.
    window, hop: seconds that come to whole samples. bands: how many. points: of the Fourier transform; default: of
    librosa the window's, else the next power of two. What librosa centres in more points begins (points - window) / 2
    samples into the stream.
    low_hz, high_hz: the bands' limits; default: 0, Kaldi 20, TensorFlow 125; half the rate, TensorFlow 3800.
    spectrum: `power` or `magnitude`; default: power, of TensorFlow magnitude.
    logarithm, floor: `db`: 10 log10(max(x, floor)), 20 log10 of magnitudes, default of librosa with 1e-10 (1e-5);
    `log`: ln(max(x, floor)), Kaldi's with 1.19e-7; `log_offset`: ln(x + floor), TensorFlow's with 1e-6; `none`: x,
    which `pcen` takes.
    gain: what samples are multiplied by: 32768 where the training took 16-bit integers and the stream is within ±1.
    center, top_db: librosa's that need the whole recording; any but false and none is refused.
    channels: names; default: all. `x.mel0` is the lowest band of channel x.

    A window that holds a NaN gives a frame of NaN; an infinity leaves nothing finite of it either. A window of zeros,
    and a band without a bin, give the floor's logarithm. Clipped samples are taken as they are. An offset is in the
    lowest bands, but of Kaldi, which subtracts it. What is shorter than a window gives no frame.
    Source: the three libraries; `_mel` has their scales.
    Kernel, shared: `_spectra.windows`. Reference: `_recipe.reference`.
    """

    def __init__(
        self,
        *,
        dialect: Dialect,
        window: float,
        hop: float,
        bands: int,
        points: int | None = None,
        low_hz: float | None = None,
        high_hz: float | None = None,
        spectrum: Spectrum | None = None,
        logarithm: Logarithm | None = None,
        floor: float | None = None,
        gain: float = 1.0,
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
            spectrum=spectrum,
            logarithm=logarithm,
            floor=floor,
            gain=gain,
        )
        self._channels = channels

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"dialect": "kaldi", "window": 0.25, "hop": 0.1, "bands": 6, "low_hz": 1.0, "channels": ["a", "c"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing, and for what does not fit the rate."""
        places = picked(spec, self._channels)
        recipe = self._bands.recipe(spec)
        self._begin(recipe, places)
        channels = (spec.channels[place] for place in places)
        out = tuple(number.of(channel) for channel in channels for number in numbers("mel", recipe))
        return StreamSpec(out, spec.rate_hz / recipe.hop)
