"""The energy of sound, or of any signal, over windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._per_window import Number, PerWindow
from edgeseq.jit import REASSOCIATED, entry
from edgeseq.types import Frames

_F = types.float32
UNITS = {"none": "{}²", "db": "dB", "log": ""}


def reference(x: NDArray[Any]) -> float:
    """Return the mean of the squares of x [samples].

    Source: librosa.feature.rms(y, center=False), squared.
    """
    return float((np.asarray(x, np.float64) ** 2).mean())


@entry(types.void(_F[:, ::1], types.int64, types.int64, _F[:, :, ::1]), fastmath=REASSOCIATED)
def energies(x: Any, size: Any, hop: Any, y: Any) -> None:
    """Write y[window, channel, 1] of x[channel, sample]."""
    for k in range(y.shape[0]):
        for c in range(y.shape[1]):
            total, w = 0.0, x[c, k * hop : k * hop + size]
            for i in range(size):
                total += np.float64(w[i]) * w[i]
            y[k, c, 0] = total / size


class Energy(PerWindow):
    """Gives the mean of each channel's squares over windows, a frame a window, at the time of the window's last sample.

    window, hop: seconds; hop: from one window to the next, default: the window. channels: names; default: all.
    logarithm, floor: `none`: the energy x itself, in the channel's unit squared; `db`: 10 log10(max(x, floor)); `log`:
    ln(max(x, floor)). `x.energy` is that of channel x.

    A window that holds a NaN gives NaN; one of zeros, zero or the floor's logarithm. An offset is energy too. Clipped
    samples are taken as they are. What is shorter than a window gives no frame.
    """

    def __init__(
        self,
        *,
        window: float,
        hop: float | None = None,
        logarithm: Literal["none", "db", "log"] = "none",
        floor: float = 1e-10,
        channels: list[str] | None = None,
    ) -> None:
        super().__init__(window, hop, channels)
        if not 0 < floor < np.inf:
            raise ConfigError(f"floor must be a number above 0, not {floor:g}: there is no logarithm of zero.")
        self._logarithm, self._floor = logarithm, floor

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.2, "hop": 0.1, "logarithm": "db", "channels": ["a", "c"]}

    def _open(self, size: int, rate_hz: float) -> Sequence[Number]:  # noqa: ARG002 - neither changes the numbers
        self._kernel = energies.compiled
        return [Number("energy", UNITS[self._logarithm])]

    def _compute(self, x: Frames, size: int, hop: int, y: Frames) -> None:
        self._kernel(x, size, hop, y)
        if self._logarithm != "none":
            y[:] = (10 / np.log(10) if self._logarithm == "db" else 1.0) * np.log(np.maximum(y, self._floor))
