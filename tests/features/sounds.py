"""Sounds to try features on, and the shortest way to push one through a feature."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.types import Channel, Feature, Frames, StreamSpec

RATE_HZ = 16_000
SPEC = StreamSpec((Channel("x", "Pa"),), float(RATE_HZ))
FRAMING = {"window": 0.025, "hop": 0.01}


def sweep(seconds: float = 1.0, rate_hz: int = RATE_HZ, noise: float = 1e-3) -> NDArray[np.float32]:
    """Return float32[n] within ±1: a rising tone that swells and fades, over noise of so much rms."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    tone = np.sin(2 * np.pi * (50 * t + rate_hz / 5 * t**2 / seconds)) * np.sin(np.pi * t / seconds)
    return (0.5 * tone + np.random.default_rng(0).normal(0, noise, len(t))).astype(np.float32)


def pushed(feature: Feature, x: NDArray[Any], spec: StreamSpec = SPEC) -> Frames:
    """Return the frames of one channel's samples, all at once."""
    return opened(feature, spec).push(np.arange(len(x), dtype=np.int64), np.asarray(x, np.float32)[:, None])[1]


def opened(feature: Feature, spec: StreamSpec = SPEC) -> Feature:
    feature.open(spec)
    return feature


def near(found: NDArray[Any], expected: NDArray[Any], share: float = 1e-5) -> None:
    """Hold the frames both have against each other, to a share of full scale: the reference's largest number."""
    expected = np.asarray(expected, np.float64)[: len(found)]
    assert len(expected)
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=0, atol=share * np.abs(expected).max())
