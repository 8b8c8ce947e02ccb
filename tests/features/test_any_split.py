"""Settings that no example shows: the same for any split, after a reset, and when a state is handed over."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.features.difference import Difference
from edgeseq.features.envelope import Envelope
from edgeseq.features.ewma import Ewma
from edgeseq.features.lags import Lags
from edgeseq.features.missing import Missing
from edgeseq.features.resample import Resample
from edgeseq.features.velocity import Velocity
from edgeseq.features.window_quantiles import WindowQuantiles
from edgeseq.features.zscore import Zscore
from edgeseq.types import Channel, Feature, Frames, StreamSpec

SPEC = StreamSpec((Channel("a"), Channel("b")), 100.0)
BALLS = {"balls": 8, "ball_diameter": 7.9, "pitch_diameter": 39}
BEARING = {"band": [10, 40], "window": 0.5, "hop": 0.2, "bearing": BALLS}
FEATURES: list[tuple[type[Any], dict[str, Any]]] = [
    (Zscore, {"time_constant": 0.1, "keep": True}),
    (Zscore, {"window": 0.01}),
    (Zscore, {"window": 0.07, "keep": True, "min_std": 0.5}),
    (WindowQuantiles, {"window": 0.1, "hop": 0.05, "quantiles": [0.0, 0.3, 1.0]}),
    (WindowQuantiles, {"window": 0.03, "hop": 0.08, "quantiles": [0.5]}),
    (WindowQuantiles, {"window": 0.2, "hop": 0.01, "quantiles": [0.1, 0.9]}),
    (Difference, {"order": 3, "keep": True}),
    (Ewma, {"time_constant": 1e-6}),
    (Lags, {"lags": [9]}),
    (Missing, {"policy": "hold", "longest": 0.03, "mark": True}),
    (Missing, {"policy": "interpolate", "longest": 0.03}),
    (Resample, {"rate_hz": 1.0, "half_length": 1}),
    (Resample, {"rate_hz": 441.0}),
    (Velocity, {"low": 2, "high": 20, "unit": "g"}),
    (Velocity, {"low": 2, "high": 20, "unit": "g", "window": 0.1, "hop": 0.03}),
    (Envelope, {**BEARING, "speed_channel": "b", "pulses": 1, "threshold": 2.0}),
]


def made(at: int) -> Feature:
    cls, keys = FEATURES[at]
    feature: Feature = cls(**keys)
    feature.open(SPEC)
    return feature


@pytest.mark.parametrize("at", range(len(FEATURES)), ids=[f"{cls.__name__} {keys}" for cls, keys in FEATURES])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(1, 299), max_size=12))
def test_any_split(at: int, seed: int, cuts: list[int]) -> None:
    random = np.random.default_rng(seed)
    x: Frames = random.normal(0, 10, (300, 2)).astype(np.float32)
    x[random.random((300, 2)) < 0.03] = np.nan
    t_ns = np.arange(300, dtype=np.int64) * 10_000_000
    whole_t, whole = made(at).push(t_ns, x)
    feature, heir = made(at), made(at)
    feature.push(t_ns[:77], x[:77])
    feature.reset()
    parts, inherited = [], []
    for i, j in itertools.pairwise(sorted({0, 300, *cuts})):
        parts.append(feature.push(t_ns[i:j], x[i:j]))
        inherited.append(heir.push(t_ns[i:j], x[i:j]))
        heir, before = made(at), heir
        heir.set_state(before.get_state())
    for pushed in (parts, inherited):
        np.testing.assert_array_equal(np.concatenate([part[0] for part in pushed]), whole_t)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in pushed]), whole)
    assert len(whole)
