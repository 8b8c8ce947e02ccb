"""How often a signal changes its sign: high for hiss and consonants, low for hum and vowels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._per_window import Number, PerWindow
from edgeseq.jit import entry
from edgeseq.types import Frames

_F = types.float32


def reference(x: NDArray[Any], threshold: float) -> float:
    """Return the share of x [samples] that differ from the one before in their sign, for the first of which is none.

    Source: librosa.feature.zero_crossing_rate(y, center=False): what lies within the threshold counts as positive.
    """
    return float(np.diff(np.asarray(x, np.float64) < -threshold).sum() / len(x))


@entry(types.void(_F[:, ::1], types.int64, types.int64, types.float64, _F[:, :, ::1]))
def crossings(x: Any, size: Any, hop: Any, threshold: Any, y: Any) -> None:
    """Write y[window, channel, 1] of x[channel, sample]."""
    for k in range(y.shape[0]):
        for c in range(y.shape[1]):
            count, w = 0, x[c, k * hop : k * hop + size]
            unknown = np.isnan(w[0])
            for i in range(1, size):
                count += (w[i] < -threshold) != (w[i - 1] < -threshold)
                unknown |= np.isnan(w[i])
            y[k, c, 0] = np.nan if unknown else count / size


class ZeroCrossings(PerWindow):
    """Gives the share of each channel's samples that change sign, a frame a window, at its last sample's time.

    window, hop: seconds; hop: from one window to the next, default: the window. channels: names; default: all.
    threshold: in the channel's unit: what lies within it counts as positive, so that a silent input's last bits do not
    count. `x.zero_crossings` is that of channel x, 0 to 1, without unit; times rate / 2 it is about a tone's pitch.

    A window that holds a NaN gives NaN; one of zeros, or with an offset that outweighs the signal, 0. Clipped samples
    keep their signs. What is shorter than a window gives no frame.
    """

    def __init__(
        self,
        *,
        window: float,
        hop: float | None = None,
        threshold: float = 1e-10,
        channels: list[str] | None = None,
    ) -> None:
        super().__init__(window, hop, channels)
        if not 0 <= threshold < np.inf:
            raise ConfigError(f"threshold must be a number of at least 0, not {threshold:g}.")
        self._threshold = threshold

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.2, "hop": 0.1, "channels": ["a", "c"]}

    def _open(self, size: int, rate_hz: float) -> Sequence[Number]:  # noqa: ARG002 - neither changes the numbers
        self._kernel = crossings.compiled
        return [Number("zero_crossings", "")]

    def _compute(self, x: Frames, size: int, hop: int, y: Frames) -> None:
        self._kernel(x, size, hop, self._threshold, y)
