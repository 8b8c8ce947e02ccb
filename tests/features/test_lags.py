"""lags against indexing the past."""

from typing import Any

import numpy as np
import pytest

from edgeseq.errors import ConfigError
from edgeseq.features.lags import Lags, reference
from edgeseq.types import Channel, Frames, StreamSpec

SPEC = StreamSpec((Channel("a", "m"), Channel("b")), 50.0)
X = np.random.default_rng(0).normal(0, 3, (60, 2)).astype(np.float32)


def push(x: Frames = X, **more: Any) -> tuple[Any, Frames]:
    feature = Lags(**more)
    feature.open(SPEC)
    return feature.push(np.arange(len(x), dtype=np.int64), x)


def test_each_is_the_past() -> None:
    t_ns, y = push(lags=[3, 0, 10])
    assert t_ns.tolist() == list(range(10, 60))
    for t, row in zip(t_ns, y, strict=True):
        assert row.tolist() == [X[t - lag, c] for c in range(2) for lag in (3, 0, 10)]


def test_it_is_the_reference() -> None:
    found = push(lags=[3, 0, 10])[1]
    np.testing.assert_array_equal(found, np.concatenate([reference(x, [3, 0, 10]) for x in X.T], axis=1))


def test_names_and_units() -> None:
    out = Lags(lags=[0, 2], channels=["b", "a"]).open(SPEC)
    assert out.channels == (Channel("b.lag0"), Channel("b.lag2"), Channel("a.lag0", "m"), Channel("a.lag2", "m"))


def test_a_nan_shows_where_it_is_looked_back_at() -> None:
    x = X.copy()
    x[20, 1] = np.nan
    t_ns, y = push(x, lags=[1, 5])
    assert [t_ns[np.isnan(column)].tolist() for column in y.T] == [[], [], [21], [25]]


def test_too_short_gives_nothing() -> None:
    assert push(X[:5], lags=[5])[1].shape == (0, 2)


@pytest.mark.parametrize("lags", [[], [-1], [1, 1], [1 << 24]])
def test_lags_that_are_none(lags: list[int]) -> None:
    with pytest.raises(ConfigError, match="lags must be different numbers of samples"):
        Lags(lags=lags)


def test_a_channel_that_is_missing() -> None:
    with pytest.raises(ConfigError, match="no channel 'c'"):
        push(lags=[1], channels=["c"])
