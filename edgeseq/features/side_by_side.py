"""Several features of the same samples in one frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq import plugins, tables
from edgeseq.errors import ConfigError
from edgeseq.states import Remembering
from edgeseq.types import Feature, Frames, StreamSpec, TimesNs

MAX_WAITING = 1 << 16


def reference(given: Sequence[tuple[TimesNs, Frames]]) -> dict[int, list[float]]:
    """Return the joined values by time, of what several features have given of a whole stream.

    Source: an inner join, as pandas' concat(axis=1, join="inner").
    """
    frames = [dict(zip(t_ns.tolist(), values.tolist(), strict=True)) for t_ns, values in given]
    return {t: [x for each in frames for x in each[t]] for t in frames[0] if all(t in each for each in frames)}


class _Inside(tables.Document):
    """Tables inside a feature's own: what is wrong is told to whoever made the feature, who knows the file."""

    __slots__ = ()

    def fail(self, message: str, *keys: str | int) -> ConfigError:
        return ConfigError(message, *keys)


class SideBySide(Remembering):
    """Passes samples to several features and joins what they give: a frame has the first's values, then the second's.

    features: their tables, each as it would stand in [[features]] alone; all take the same samples. They must give
    frames at the same rate. None may be made from a file.

    Frames are joined by their time, to the nanosecond. One that not all of them give, as from the start on with windows
    of different lengths, is left out. A frame waits for the slowest feature, behind at most 65,536 others. Bad input is
    each feature's own affair: a NaN that one of them gives is in the frame. Units are the features'.

    No kernel: the features inside have theirs, and NumPy joins their frames.
    """

    _remembers = ("_features", "_times", "_frames")
    _grows = ("_times", "_frames")

    def __init__(self, *, features: list[dict[str, Any]]) -> None:
        if not features:
            raise ConfigError("features lists none.", "features")
        inside = _Inside(Path("features"), "", {}, ConfigError)
        self._features: list[Feature] = []
        for place, table in enumerate(features):
            _, parameters = plugins.resolve(inside, "features", table, "features", place)
            for key, value in parameters.items():
                if isinstance(value, Path):
                    raise ConfigError(
                        "a feature made from a file stands in [[features]] by itself: only there the file is found "
                        "beside the table and goes into the bundle.",
                        "features",
                        place,
                        key,
                    )
            self._features.append(plugins.create(inside, "features", table, "features", place))

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz: windows of two lengths, a fifth apart."""
        return {
            "features": [
                {"type": "window_statistics", "window": 0.5, "hop": 0.2, "channels": ["a", "c"]},
                {"type": "band_energy", "window": 0.3, "hop": 0.2, "bands": {"low": [5, 20]}},
            ],
        }

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Open all of them. Raises ConfigError where one does not fit the stream, or their rates differ."""
        specs = []
        for place, feature in enumerate(self._features):
            try:
                specs.append(feature.open(spec))
            except ConfigError as cause:
                raise ConfigError(str(cause), "features", place, *cause.keys) from cause
            if not math.isclose(specs[place].rate_hz, specs[0].rate_hz, rel_tol=1e-9):
                raise ConfigError(
                    f"it gives {specs[place].rate_hz:g} frames a second and the first {specs[0].rate_hz:g}: they "
                    "cannot stand side by side. Give both the same hop.",
                    "features",
                    place,
                )
        self._widths = [len(each.channels) for each in specs]
        self.reset()
        return StreamSpec(tuple(channel for each in specs for channel in each.channels), specs[0].rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return float32[n, values of all] for the times at which all of them have given a frame by now."""
        for place, feature in enumerate(self._features):
            times, frames = feature.push(t_ns, values)
            if len(times):
                self._times[place] = np.concatenate([self._times[place], times])
                self._frames[place] = np.concatenate([self._frames[place], frames])
        taken, done = _matches(self._times)
        joined = np.concatenate(
            [frames[rows] for frames, rows in zip(self._frames, taken, strict=True)], axis=1, dtype=np.float32
        )
        joined_at = self._times[0][taken[0]]
        for place, (times, frames) in enumerate(zip(self._times, self._frames, strict=True)):
            start = max(done[place], len(times) - MAX_WAITING)
            self._times[place], self._frames[place] = times[start:].copy(), frames[start:].copy()
        return joined_at, joined

    def reset(self) -> None:
        """Reset all of them, and forget the frames that wait."""
        for feature in self._features:
            feature.reset()
        # What waits for the others' frames of the same times, of each feature.
        self._times = [np.empty(0, np.int64) for _ in self._widths]
        self._frames = [np.empty((0, width), np.float32) for width in self._widths]


def _matches(times: Sequence[TimesNs]) -> tuple[list[list[int]], list[int]]:
    """Return for each of several ascending rows of times where the times stand that all of them have.

    And how many at its beginning nothing that is still to come can match.
    """
    if all(np.array_equal(times[0], other) for other in times):
        count = len(times[0])
        return [list(range(count)) for _ in times], [count for _ in times]
    rows = [row.tolist() for row in times]
    at = [0 for _ in rows]
    taken: list[list[int]] = [[] for _ in rows]
    while all(place < len(row) for place, row in zip(at, rows, strict=True)):
        heads = [row[place] for place, row in zip(at, rows, strict=True)]
        latest = max(heads)
        if min(heads) == latest:
            for found, place in zip(taken, at, strict=True):
                found.append(place)
            at = [place + 1 for place in at]
        else:
            at = [place + (head < latest) for place, head in zip(at, heads, strict=True)]
    return taken, at
