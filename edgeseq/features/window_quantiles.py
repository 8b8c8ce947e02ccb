"""Minimum, maximum and quantiles over sliding windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._windows import Windows, samples
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

SORT_FROM = 8
"""Where the hop is at least 1 / SORT_FROM of the window each is sorted anew; below, samples are kept in order."""
_F, _D, _I = types.float32, types.float64, types.int64


def reference(x: NDArray[Any], size: int, hop: int, quantiles: list[float]) -> NDArray[np.float64]:
    """Return float64[windows, quantiles] of x [samples].

    Between two samples it is linear.
    Source: Hyndman & Fan, "Sample quantiles in statistical packages", The American Statistician 50 (1996), definition
    7, which is NumPy's default.
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(x, np.float64), size)[::hop]
    return np.quantile(windows, quantiles, axis=1).T


@entry(types.void(_F[:, ::1], _I, _D[::1], _I[::1], _F[:, ::1], _F[:, ::1], _I[::1], _F[:, :, ::1]))
def slide(x: Any, hop: Any, quantiles: Any, at: Any, ring: Any, order: Any, missing: Any, y: Any) -> None:
    """Write y[window, channel, quantile] of x[channel, sample].

    ring[channel]: the last samples; order[channel]: the same in order, a NaN as infinity, and missing[channel] counts
    those. at: the place in the ring, and how many samples are missing until the next window is complete.
    """
    size, k = ring.shape[1], 0
    for i in range(x.shape[1]):
        for c in range(x.shape[0]):
            new, old = x[c, i], ring[c, at[0]]
            ring[c, at[0]] = new
            missing[c] += int(np.isnan(new)) - int(np.isnan(old))
            new = np.float32(np.inf) if np.isnan(new) else new
            old = np.float32(np.inf) if np.isnan(old) else old
            # The old one's place is filled by moving what lies between it and where the new one belongs.
            s = order[c]
            p = np.searchsorted(s, old)
            while p + 1 < size and s[p + 1] < new:
                s[p] = s[p + 1]
                p += 1
            while p > 0 and s[p - 1] > new:
                s[p] = s[p - 1]
                p -= 1
            s[p] = new
        at[0] = at[0] + 1 if at[0] + 1 < size else 0
        at[1] -= 1
        if at[1] == 0:
            at[1] = hop
            for c in range(x.shape[0]):
                for q in range(quantiles.shape[0]):
                    exact = quantiles[q] * (size - 1)
                    low = int(exact)
                    s, part = order[c], exact - low
                    between = s[low] if part == 0 else s[low] + part * (np.float64(s[low + 1]) - s[low])
                    y[k, c, q] = between if missing[c] == 0 else np.nan
            k += 1


def sort(windows: NDArray[np.float32], quantiles: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return float32[..., quantiles] of float32[..., samples], which is put in order; NumPy sorts a NaN to the end."""
    windows.sort(axis=-1)
    exact = quantiles * (windows.shape[-1] - 1)
    low = exact.astype(np.int64)
    below, above = windows[..., low].astype(np.float64), windows[..., np.minimum(low + 1, windows.shape[-1] - 1)]
    with np.errstate(invalid="ignore"):  # infinity less infinity
        found = np.where(exact == low, below, below + (exact - low) * (above - below))
    found[np.isnan(windows[..., -1])] = np.nan
    return found.astype(np.float32)


class WindowQuantiles(Remembering):
    """Gives quantiles of each channel over windows, a frame a window, at the time of the window's last sample.

    quantiles: from 0, the minimum, to 1, the maximum; between two samples they are interpolated linearly, as NumPy does
    by default. Names: `<channel>.min`, `<channel>.q25`, `<channel>.q99.9`, `<channel>.max`, in the channel's unit; a
    frame has those of the first channel in this order, then those of the second. window, hop: seconds; hop: from one
    window to the next, default: the window. channels: names; default: all.

    A window with a NaN is NaN. An infinity takes its place in the order; what is interpolated beside it is infinite or
    NaN. Clipped samples count as they are.
    """

    _remembers = ("_windows", "_at", "_ring", "_order", "_missing")

    def __init__(
        self,
        *,
        window: float,
        quantiles: list[float],
        hop: float | None = None,
        channels: list[str] | None = None,
    ) -> None:
        if not quantiles or not all(0 <= q <= 1 for q in quantiles) or len({*quantiles}) < len(quantiles):
            raise ConfigError(f"quantiles must be different numbers from 0 to 1, not {quantiles}.", "quantiles")
        self._window, self._hop = window, window if hop is None else hop
        self._quantiles, self._channels = np.array(quantiles, np.float64), channels

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"window": 0.2, "hop": 0.02, "quantiles": [0.0, 0.25, 1.0], "channels": ["a", "c"]}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError for one that is missing, and for windows of no samples."""
        self._picked = picked(spec, self._channels)
        self._size, self._every = samples("window", self._window, spec), samples("hop", self._hop, spec)
        self._sorted = self._every * SORT_FROM >= self._size
        self._windows = Windows(self._size, self._every, len(self._picked))
        self._kernel = slide.compiled
        self.reset()
        chosen = [spec.channels[place] for place in self._picked]
        made = tuple(Channel(f"{each.name}.{_word(q)}", each.unit) for each in chosen for q in self._quantiles)
        return StreamSpec(made, spec.rate_hz / self._every)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return float32[windows, channels * quantiles] and the times of the windows' last samples."""
        if self._sorted:
            cut = self._windows.push(t_ns, values[:, self._picked])
            begins = np.arange(len(cut.t_ns)) * self._every
            windows = cut.samples.T[begins[:, None] + np.arange(self._size)]
            return cut.t_ns, self._flat(sort(np.ascontiguousarray(windows.transpose(0, 2, 1)), self._quantiles))
        first = int(self._at[1])
        count = max(0, (len(values) - first) // self._every + 1)
        y = np.empty((count, len(self._picked), len(self._quantiles)), np.float32)
        x = np.ascontiguousarray(values[:, self._picked].T, np.float32)
        self._kernel(x, self._every, self._quantiles, self._at, self._ring, self._order, self._missing, y)
        return t_ns[first - 1 :: self._every], self._flat(y)

    def reset(self) -> None:
        """Forget the samples of unfinished windows."""
        self._windows.reset()
        shape = len(self._picked), 0 if self._sorted else self._size
        self._at = np.array([0, self._size], np.int64)
        self._ring, self._order = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._missing = np.zeros(len(self._picked), np.int64)

    def _flat(self, y: NDArray[np.float32]) -> Frames:
        """Return the quantiles of all channels of a window in a row."""
        return y.reshape(len(y), len(self._picked) * len(self._quantiles))


def _word(quantile: float) -> str:
    """Return what a quantile is called in a channel's name."""
    return {0.0: "min", 1.0: "max"}.get(quantile, f"q{100 * quantile:.12g}")
