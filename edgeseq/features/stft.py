"""Short-time spectra of sound or vibration, as librosa.stft and SciPy's give them."""

from __future__ import annotations

from typing import Any

from edgeseq.features._channels import picked
from edgeseq.features._fft import Taper, taper
from edgeseq.features._mel import Spectrum
from edgeseq.features._recipe import Recipe, not_causal, numbers, transform, whole
from edgeseq.features._spectra import Spectra
from edgeseq.types import StreamSpec


class Stft(Spectra):
    """Gives each channel's spectrum over windows, a frame a hop, at the time of the window's last sample.

    The numbers are those of abs(librosa.stft(y, center=False)): no division by the window's sum or by the points.
    window, hop: seconds that come to whole samples. points: of the Fourier transform; default: the window's. A window
    that is shorter lies in the middle of them, so that it begins (points - window) / 2 samples into the stream.
    shape: the window's. spectrum: `magnitude`, in the channel's unit, or `power`, its square.
    center: librosa's padding of both ends; any but false is refused.
    channels: names; default: all. `x.bin3` is 3 * rate / points Hz of channel x.

    A window that holds a NaN gives a frame of NaN; an infinity leaves nothing finite of it either. A window of zeros
    gives zeros. Clipped samples are taken as they are, an offset is in the lowest bins. What is shorter than a window
    gives no frame.
    Source: librosa.stft.
    Kernel, shared: `_spectra.windows`. Reference: `_recipe.reference`.
    """

    def __init__(
        self,
        *,
        window: float,
        hop: float,
        points: int | None = None,
        shape: Taper = "hann",
        spectrum: Spectrum = "magnitude",
        center: bool = False,
        channels: list[str] | None = None,
    ) -> None:
        not_causal(center=center)
        self._window, self._hop, self._points = window, hop, points
        self._shape, self._magnitude, self._channels = shape, spectrum == "magnitude", channels

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.1, "hop": 0.04, "points": 16, "channels": ["a", "c"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing, and for times that do not fit the rate."""
        places = picked(spec, self._channels)
        size, hop = whole("window", self._window, spec, 2), whole("hop", self._hop, spec)
        points = transform(self._points, size, size)
        recipe = Recipe(hop, taper(self._shape, size), points, lead=(points - size) // 2, magnitude=self._magnitude)
        self._begin(recipe, places)
        channels = (spec.channels[place] for place in places)
        out = tuple(number.of(channel) for channel in channels for number in numbers("bin", recipe))
        return StreamSpec(out, spec.rate_hz / recipe.hop)
