"""Text through a tokenizer as it comes: split anywhere."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from edgeseq.types import Channel, Feature, Frames, StreamSpec

SPEC = StreamSpec((Channel("text"),), 1000.0)


def samples(text: str) -> tuple[Any, Frames]:
    """Return the times 0, 1, 2, ... and code points of a text."""
    points = np.array([ord(each) for each in text], np.float32)
    return np.arange(len(points), dtype=np.int64), points[:, None]


def through(feature: Feature, text: str, cuts: Iterable[int] = ()) -> list[tuple[int, float]]:
    """Return (time, token) of all that comes out of a text split at these places (modulo its length).

    At each of them the feature forgets everything, and takes its own state up again.
    """
    feature.open(SPEC)
    t_ns, values = samples(text)
    edges = sorted({0, len(text), *(cut % len(text) for cut in cuts)}) if text else []
    found: list[tuple[int, float]] = []
    for i, j in itertools.pairwise(edges):
        times, frames = feature.push(t_ns[i:j], values[i:j])
        assert frames.shape == (len(times), 1)
        assert frames.dtype == np.float32
        found += zip(times.tolist(), frames[:, 0].tolist(), strict=True)
        state = feature.get_state()
        feature.reset()
        feature.set_state(state)
    return found


def tokens(found: list[tuple[int, float]]) -> list[float]:
    """Return what came out without its times."""
    return [token for _, token in found]
