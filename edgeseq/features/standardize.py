"""(x - mean) / std in float32, with statistics of the whole training set or of the operating regime of each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._channels import picked
from edgeseq.features._per_sample import BLOCK
from edgeseq.jit import entry
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

_F, _I = types.float32, types.int64


def reference(x: NDArray[Any], mean: NDArray[Any], std: NDArray[Any], clip: float = np.inf) -> NDArray[np.float64]:
    """Return (x - mean) / std of x [samples, channels], mean and std [channels] or [samples, channels], in float64.

    Source: scikit-learn's StandardScaler, whose mean_ and scale_ these are; held within +-clip, but for a NaN.
    """
    return np.clip((np.asarray(x, np.float64) - mean) / std, -clip, clip)


def nearest(x: NDArray[Any], centres: NDArray[Any], scale: NDArray[Any]) -> list[int | None]:
    """Return for each of x [samples, settings] the place of its nearest centre [regimes, settings]; None: unknown."""
    away = ((np.asarray(x, np.float64)[:, None] - centres) / scale) ** 2
    distance = away.sum(axis=2)
    return [int(row.argmin()) if np.isfinite(row.min()) else None for row in distance]


@entry(types.void(BLOCK, _I[::1], _F[:, ::1], _F[:, ::1], _I[::1], _F[:, ::1], _F[::1], _F, _F[:, ::1]))
def standardized(
    x: Any, places: Any, mean: Any, std: Any, settings: Any, centres: Any, scale: Any, clip: Any, y: Any
) -> None:
    """Write y[sample, channel] of x[sample, places[channel]] by the statistics of the nearest centre.

    Without settings it is the first row's. Float32 all through: what a recipe in NumPy computes, bit for bit.
    """
    for i in range(x.shape[0]):
        regime, least = -1 if len(settings) else 0, np.float32(np.inf)
        for r in range(centres.shape[0]):
            distance = np.float32(0)
            for k in range(len(settings)):
                away = (x[i, settings[k]] - centres[r, k]) / scale[k]
                distance += away * away
            if distance < least:
                regime, least = r, distance
        for c in range(len(places)):
            if regime < 0:  # NaN, or infinitely far from all of them: any statistics would be a guess
                y[i, c] = np.nan
                continue
            z = (x[i, places[c]] - mean[regime, c]) / std[regime, c]
            y[i, c] = clip if z > clip else -clip if z < -clip else z  # noqa: FURB136 - max might lose a NaN


class Standardize(Remembering):
    """Brings every channel to mean 0 and standard deviation 1, as it was in training; what comes out has no unit.

    channels: names of the channels that come out, in order; default: all that come in. What is not named, a regime
    channel too, is dropped.
    mean, std: one number a channel that comes out; with regimes, one such list a regime.
    regime_channels: names of the channels that tell the operating regime (altitude, speed, load); none: one regime.
    regime_centres: one list a regime, a number for each of regime_channels, in their units. A sample belongs to the
    nearest centre: the least Euclidean distance after each difference is divided by regime_scale; of equals, the first.
    regime_scale: a number for each of regime_channels, in its unit; default 1.
    clip: values are held within +-clip standard deviations; default: not at all.

    A NaN comes out as NaN in its own channel. A NaN in a regime channel makes the whole frame NaN: its regime is
    unknown, and any statistics would be a guess.
    """

    def __init__(
        self,
        *,
        mean: list[float | list[float]],
        std: list[float | list[float]],
        channels: list[str] | None = None,
        regime_channels: list[str] | None = None,
        regime_centres: list[list[float]] | None = None,
        regime_scale: list[float] | None = None,
        clip: float | None = None,
    ) -> None:
        self._channels = channels
        self._regime_channels = regime_channels or []
        self._mean = _matrix("mean", mean)
        self._std = _matrix("std", std)
        self._centres = _matrix("regime_centres", regime_centres) if regime_centres else np.empty((0, 0), np.float32)
        self._scale = np.asarray(regime_scale or [1.0] * len(self._regime_channels), np.float32)
        self._clip = np.float32(np.inf if clip is None else clip)
        self._check()

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c: two regimes told by c."""
        return {
            "channels": ["a", "b"],
            "mean": [[0.5, -1.0], [2.0, 3.0]],
            "std": [[1.0, 2.0], [0.5, 0.25]],
            "regime_channels": ["c"],
            "regime_centres": [[0.0], [10.0]],
            "clip": 5.0,
        }

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Find the channels. Raises ConfigError if one is missing or the statistics are not one for each."""
        names = list(spec.names) if self._channels is None else self._channels
        if self._mean.shape[1] != len(names):
            raise ConfigError(f"mean and std have {self._mean.shape[1]} numbers for {len(names)} channels.")
        self._picked = picked(spec, names)
        self._settings = picked(spec, self._regime_channels) if self._regime_channels else np.empty(0, np.intp)
        self._kernel = standardized.compiled
        return StreamSpec(tuple(Channel(name) for name in names), spec.rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return float32[n, channels out] for float32[n, channels in], at the same times; in standard deviations."""
        y: Frames = np.empty((len(values), len(self._picked)), np.float32)
        # Beyond float32 a value is infinite, without a warning: it is clipped, or its frame dropped and counted.
        self._kernel(
            np.asarray(values, np.float32), self._picked, self._mean, self._std, self._settings, self._centres,
            self._scale, self._clip, y,
        )  # fmt: skip
        return t_ns, y

    def reset(self) -> None:
        """Nothing is remembered from sample to sample."""

    def _check(self) -> None:
        """Raise ConfigError where the parameters contradict each other."""
        if self._mean.shape != self._std.shape:
            raise ConfigError(f"mean is {_shape(self._mean)} and std {_shape(self._std)}; they must be alike.")
        if not (self._std > 0).all():
            raise ConfigError("std must be above 0 everywhere; a channel that never varied takes 1.")
        if bool(self._regime_channels) != bool(len(self._centres)):
            raise ConfigError("regime_channels and regime_centres come together, or not at all.")
        regimes = len(self._centres) or 1
        if len(self._mean) != regimes:
            raise ConfigError(f"mean and std have {len(self._mean)} rows for {regimes} regimes.")
        if len(self._centres) and self._centres.shape[1] != len(self._regime_channels):
            raise ConfigError(
                f"regime_centres have {self._centres.shape[1]} numbers for "
                f"{len(self._regime_channels)} regime_channels."
            )
        if len(self._scale) != len(self._regime_channels) or not (self._scale > 0).all():
            raise ConfigError("regime_scale must be one number above 0 for each of regime_channels.")
        if not self._clip > 0:
            raise ConfigError("clip must be above 0.")


def _matrix(
    name: str, rows: Sequence[float] | Sequence[list[float]] | Sequence[float | list[float]]
) -> NDArray[np.float32]:
    """Return float32[regimes, n]; a plain list is one regime."""
    try:
        matrix = np.atleast_2d(np.array(rows, np.float32))
    except ValueError:
        raise ConfigError(f"{name}: its lists are not equally long.") from None
    if matrix.ndim > 2 or matrix.size == 0 or not np.isfinite(matrix).all():  # noqa: PLR2004 - a matrix
        raise ConfigError(f"{name} must be finite numbers, one list or one a regime.")
    return matrix


def _shape(matrix: NDArray[np.float32]) -> str:
    return " x ".join(str(size) for size in matrix.shape)
