"""Features that give a frame a sample: what they make of some channels, alone or beside all that came in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba.core import types

from edgeseq.types import Channel, Frames, StreamSpec

BLOCK, COLUMN = (types.Array(types.float32, dimensions, "A", readonly=True) for dimensions in (2, 1))
"""How a kernel takes samples as they come: lying in memory anyhow, and perhaps not to be written."""


def outgoing(spec: StreamSpec, made: Sequence[Channel], *, keep: bool) -> StreamSpec:
    """Return the spec of the channels that are made, with those that came in before them where they are kept."""
    return StreamSpec((*spec.channels, *made) if keep else tuple(made), spec.rate_hz)


def beside(values: Frames, made: Frames, *, keep: bool) -> Frames:
    """Return float32[n, channels] as `outgoing` lists them, for the last n of the samples that came in."""
    return np.concatenate([values[len(values) - len(made) :], made], axis=1, dtype=np.float32) if keep else made
