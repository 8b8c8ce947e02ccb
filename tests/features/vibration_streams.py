"""What the tests of vibration features push: made signals, whole or in pieces."""

import itertools
from typing import Any

import numpy as np

from edgeseq.types import Channel, Feature, Frames, StreamSpec, TimesNs

RATE_HZ = 1000.0
SPEC = StreamSpec((Channel("x", "g"), Channel("y", "m/s²"), Channel("t")), RATE_HZ)
AGREES = 1e-5
"""Of full scale: what a feature may be off its reference."""


def noise(count: int, seed: int = 0) -> Frames:
    """float32[count, 3], x and y as a machine might shake, t a square wave of 10 turns a second."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, 3)).astype(np.float32)
    values[:, 0] += 3 * np.sin(2 * np.pi * 47 * np.arange(count) / RATE_HZ)
    values[:, 2] = (np.arange(count) // 50) % 2
    return values


def opened(feature: Any, spec: StreamSpec = SPEC) -> Any:
    feature.open(spec)
    return feature


def times(count: int, rate_hz: float = RATE_HZ) -> TimesNs:
    return np.round(np.arange(count) * 1e9 / rate_hz).astype(np.int64)


def push(feature: Feature, values: Frames) -> tuple[TimesNs, Frames]:
    return feature.push(times(len(values)), values)


def frames(feature: Feature, values: Frames, spec: StreamSpec = SPEC) -> Frames:
    """What an unopened feature gives of values [samples, channels]."""
    feature.open(spec)
    return feature.push(times(len(values), spec.rate_hz), values)[1]


def in_pieces(feature: Feature, values: Frames, cuts: list[int]) -> tuple[TimesNs, Frames]:
    """What an open feature gives where the input is cut at these samples."""
    t_ns = times(len(values))
    edges = sorted({0, len(values), *cuts})
    parts = [feature.push(t_ns[i:j], values[i:j]) for i, j in itertools.pairwise(edges)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def agree(found: Any, expected: Any, tolerance: float = AGREES) -> None:
    """Within a share of the greatest expected magnitude; NaN where NaN is expected."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.nanmax(np.abs(expected)))
