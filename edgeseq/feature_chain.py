"""One stream's own feature chain: chunks in, frames out. A pipeline and the frames for training run this very code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeseq.errors import SourceError, StateError
from edgeseq.states import under
from edgeseq.types import Chunk, Feature, Frames, State, TimesNs


class FeatureChain:
    """Passes chunks through features that are opened. The frames are the same bit for bit however chunks are split.

    columns: which of a chunk's columns the first feature takes, in order; None for all as they come.
    """

    def __init__(self, features: Sequence[Feature], columns: Sequence[int] | None = None) -> None:
        self._features = features
        self._columns = None if columns is None else np.asarray(columns, np.intp)

    def push(self, chunk: Chunk) -> tuple[TimesNs, Frames]:
        """Return the frames that a chunk completes, float32[n, features], and their times, int64[n] ns.

        What was gathered before a gap is forgotten: no frame leans on samples from either side of one. Without a frame
        what is returned is as wide as the feature that gave none. Raises SourceError for samples without their times.
        """
        if len(chunk.t_ns) != len(chunk.values):
            raise SourceError(
                f"the source gave a chunk of {len(chunk.t_ns)} times and {len(chunk.values)} samples; it must give "
                "each sample its time."
            )
        if chunk.gap:
            for feature in self._features:
                feature.reset()
        if len(chunk.t_ns) == 0:
            return chunk.t_ns, chunk.values
        t_ns = chunk.t_ns
        values = chunk.values if self._columns is None else chunk.values[:, self._columns]
        for feature in self._features:
            t_ns, values = feature.push(t_ns, values)
            if len(t_ns) == 0:
                break
        return t_ns, values

    def get_state(self) -> State:
        """Return a copy of what all features remember, by their place in the chain."""
        return {
            f"{place}.{name}": value
            for place, feature in enumerate(self._features)
            for name, value in feature.get_state().items()
        }

    def set_state(self, state: State) -> None:
        """Take it up. Raises StateError for the state of another chain."""
        places = {str(place) for place in range(len(self._features))}
        if beyond := {name for name in state if name.partition(".")[0] not in places}:
            raise StateError(f"a chain of {len(places)} features has no {sorted(beyond)}: it was taken of another.")
        for place, feature in enumerate(self._features):
            feature.set_state(under(state, str(place)))
