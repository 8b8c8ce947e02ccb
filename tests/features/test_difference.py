"""difference against plain loops, and undone by a cumulative sum."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import ConfigError
from edgeseq.features import difference
from edgeseq.features.difference import Difference
from edgeseq.types import Channel, Frames, StreamSpec

SPEC = StreamSpec((Channel("a", "m"), Channel("b")), 50.0)
X = np.random.default_rng(0).normal(0, 3, (300, 2)).astype(np.float32)


def push(x: Frames = X, **more: Any) -> tuple[Any, Frames]:
    feature = Difference(**more)
    feature.open(SPEC)
    return feature.push(np.arange(len(x), dtype=np.int64), x)


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize("per", ["sample", "second"])
def test_it_is_the_difference(order: int, per: str) -> None:
    t_ns, y = push(order=order, per=per)
    assert t_ns.tolist() == list(range(order, 300))
    for c in range(2):
        expected = difference.reference(X[:, c], order, 50.0 if per == "second" else 1.0)
        np.testing.assert_allclose(y[:, c], expected, rtol=0, atol=1e-5 * np.ptp(expected))


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=40))
def test_a_sum_undoes_it(whole: list[int]) -> None:
    x = np.array([whole, whole], np.float32).T
    _, y = push(x)
    np.testing.assert_array_equal(np.cumsum(np.concatenate([x[:1], y]), axis=0), x)


def test_a_ramp_has_its_slope_and_no_curvature() -> None:
    ramp = np.arange(100, dtype=np.float32)[:, None].repeat(2, 1) * 0.5
    assert (push(ramp, per="second")[1] == 25).all()
    assert (push(ramp, order=2, per="second")[1] == 0).all()


def test_names_and_units() -> None:
    assert Difference().open(SPEC).channels == (Channel("a.difference", "m"), Channel("b.difference"))
    assert Difference(per="second").open(SPEC).channels == (
        Channel("a.difference", "m/s"),
        Channel("b.difference", "1/s"),
    )
    assert Difference(per="second", order=2, channels=["a"], keep=True).open(SPEC).channels == (
        *SPEC.channels,
        Channel("a.difference", "m/s^2"),
    )
    _, y = push(order=2, channels=["a"], keep=True)
    np.testing.assert_array_equal(y[:, :2], X[2:])


def test_a_nan_and_what_leans_on_it() -> None:
    x = X.copy()
    x[50, 0] = np.nan
    t_ns, y = push(x, order=2)
    assert t_ns[np.isnan(y[:, 0])].tolist() == [50, 51, 52]
    assert np.isfinite(y[:, 1]).all()


@pytest.mark.filterwarnings("error")
def test_what_is_infinite_or_too_large_passes_without_a_warning() -> None:
    x = np.array([[np.inf, 3e38], [np.inf, -3e38], [0, 0]], np.float32)
    y = push(x)[1]
    assert np.isnan(y[0, 0])
    assert y[0, 1] == -np.inf


def test_too_short_gives_nothing() -> None:
    assert push(X[:2], order=2)[1].shape == (0, 2)


@pytest.mark.parametrize("order", [0, 9])
def test_orders_that_are_none(order: int) -> None:
    with pytest.raises(ConfigError, match="order must be 1 to 8"):
        Difference(order=order)


def test_a_channel_that_is_missing() -> None:
    with pytest.raises(ConfigError, match="no channel 'c'"):
        push(channels=["c"])
