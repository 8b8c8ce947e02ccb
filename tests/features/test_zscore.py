"""zscore against NumPy's statistics of every window, and against Finch's recurrence."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.errors import ConfigError
from edgeseq.features import zscore
from edgeseq.features.zscore import Zscore
from edgeseq.types import Channel, Frames, StreamSpec

SPEC = StreamSpec((Channel("a", "m"), Channel("b")), 50.0)
X = np.random.default_rng(0).normal(7, 3, (500, 2)).astype(np.float32)


def push(x: Frames = X, **more: Any) -> tuple[Any, Frames]:
    feature = Zscore(**more)
    feature.open(SPEC)
    return feature.push(np.arange(len(x), dtype=np.int64), x)


@pytest.mark.parametrize("size", [1, 2, 3, 17, 100, 500])
def test_over_a_window(size: int) -> None:
    t_ns, y = push(window=size / 50)
    assert t_ns.tolist() == list(range(size - 1, 500))
    for c in range(2):
        np.testing.assert_allclose(y[:, c], zscore.reference(X[:, c], size), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 25, 9.6, 10.49, 499])
def test_exponentially_weighted(size: float) -> None:
    t_ns, y = push(time_constant=size / 50)
    assert t_ns.tolist() == list(range(round(size) - 1, 500))
    for c in range(2):
        expected = zscore.weighted_reference(X[:, c], 1 - np.exp(-1 / size))
        np.testing.assert_allclose(y[:, c], expected[round(size) - 1 :], rtol=0, atol=1e-5)


def test_the_weighted_warm_up_ends_in_plain_statistics() -> None:
    first = X[:100, 0].astype(float)
    expected = (first[-1] - first.mean()) / first.std()
    assert push(time_constant=2.0)[1][0, 0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("offset", [1e3, -1e5])
def test_an_offset_changes_nothing(offset: float) -> None:
    whole = np.random.default_rng(1).integers(-9, 10, (300, 2)).astype(np.float32)
    for key in ("window", "time_constant"):
        np.testing.assert_allclose(
            push(whole + np.float32(offset), **{key: 0.4})[1], push(whole, **{key: 0.4})[1], atol=1e-5
        )


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=8, max_size=60), st.integers(2, 8))
def test_over_a_window_of_anything(values: list[float], size: int) -> None:
    x = np.array([values, values], np.float32).T
    y = push(x, window=size / 50)[1][:, 0]
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0].astype(float), size)
    expected = zscore.reference(x[:, 0], size)
    # Where a window is constant but for rounding, its standard deviation is rounding too: nothing can be held to it.
    clear = (windows.std(axis=1) > 1e-9 * np.abs(windows).max(axis=1)) | (np.ptp(windows, axis=1) == 0)
    np.testing.assert_allclose(y[clear], np.where(np.ptp(windows, axis=1) == 0, 0, expected)[clear], atol=1e-5)


@pytest.mark.parametrize("key", ["window", "time_constant"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e9])
def test_a_constant_has_the_score_0(key: str, value: float) -> None:
    assert (push(np.full((200, 2), value, np.float32), **{key: 0.5})[1] == 0).all()


@pytest.mark.parametrize("key", ["window", "time_constant"])
def test_the_least_standard_deviation(key: str) -> None:
    x = np.zeros((200, 2), np.float32)
    x[150] = 0.01
    free, held = (push(x, **{key: 1.0}, min_std=least)[1] for least in (0.0, 1.0))
    assert free.max() > 5
    assert 0 < held.max() < 0.01


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_window_with_what_is_not_finite_is_nan(bad: float) -> None:
    x = X.copy()
    x[105, 0] = bad
    t_ns, y = push(x, window=0.2)
    assert t_ns[np.isnan(y[:, 0])].tolist() == list(range(105, 115))
    np.testing.assert_array_equal(y[:, 1], push(window=0.2)[1][:, 1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weighted_statistics_leave_out_what_is_not_finite(bad: float) -> None:
    x = X.copy()
    x[[3, 105], 0] = bad
    t_ns, y = push(x, time_constant=0.2)
    assert t_ns[np.isnan(y[:, 0])].tolist() == [9, 105], "a sample that is left out prolongs the warm-up"
    others = push(np.delete(x, [3, 105], 0), time_constant=0.2)[1][:, 0]
    np.testing.assert_array_equal(y[~np.isnan(y[:, 0]), 0], others)


def test_names_and_what_is_kept() -> None:
    assert Zscore(window=1).open(SPEC).channels == (Channel("a.zscore"), Channel("b.zscore"))
    assert Zscore(window=1, channels=["b"], keep=True).open(SPEC).channels == (*SPEC.channels, Channel("b.zscore"))
    _, y = push(window=0.2, keep=True)
    np.testing.assert_array_equal(y[:, :2], X[9:])


def test_too_short_gives_nothing() -> None:
    assert push(X[:9], window=0.2)[1].shape == (0, 2)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "either window or time_constant"),
        ({"window": 1, "time_constant": 1}, "either window or time_constant"),
        ({"window": 0.001}, "less than one sample"),
        ({"time_constant": np.nan}, "less than one sample"),
        ({"window": 1e9}, "at most 16,777,216 samples"),
        ({"window": 1, "min_std": -1}, "min_std must be 0 or more"),
        ({"window": 1, "channels": ["c"]}, "no channel 'c'"),
    ],
)
def test_what_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        push(**more)
