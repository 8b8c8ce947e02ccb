"""window_quantiles against NumPy's quantiles of every window."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.errors import ConfigError
from edgeseq.features import window_quantiles
from edgeseq.features.window_quantiles import WindowQuantiles
from edgeseq.types import Channel, Frames, StreamSpec

SPEC = StreamSpec((Channel("a", "m"), Channel("b")), 50.0)
X = np.random.default_rng(0).normal(7, 3, (400, 2)).astype(np.float32)
Q = [0.0, 0.1, 0.25, 0.5, 0.999, 1.0]


def push(x: Frames = X, *, size: int = 20, hop: int = 1, quantiles: list[float] = Q, **more: Any) -> tuple[Any, Frames]:
    feature = WindowQuantiles(window=size / 50, hop=hop / 50, quantiles=quantiles, **more)
    feature.open(SPEC)
    return feature.push(np.arange(len(x), dtype=np.int64), x)


# Hops below an eighth of the window keep the order, others sort; some leave samples out between windows.
@pytest.mark.parametrize(("size", "hop"), [(20, 1), (1, 1), (2, 1), (64, 7), (64, 8), (20, 20), (7, 30), (400, 1)])
def test_they_are_numpys(size: int, hop: int) -> None:
    t_ns, y = push(size=size, hop=hop)
    assert t_ns.tolist() == list(range(size - 1, 400, hop))
    for c in range(2):
        expected = window_quantiles.reference(X[:, c], size, hop, Q)
        np.testing.assert_allclose(y[:, c * len(Q) : (c + 1) * len(Q)], expected, rtol=0, atol=1e-5 * np.ptp(X))


few = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, np.inf, -np.inf, np.nan])


@settings(deadline=None)
@given(st.lists(few, min_size=16, max_size=80), st.sampled_from([1, 2, 5]))
def test_ties_infinities_and_nan_in_any_order(values: list[float], hop: int) -> None:
    x = np.array([values, values[::-1]], np.float32).T
    y = push(x, size=16, hop=hop, quantiles=[0, 1])[1]
    for k, row in enumerate(y):
        window = x[k * hop : k * hop + 16]
        np.testing.assert_array_equal(
            row, [window[:, 0].min(), window[:, 0].max(), window[:, 1].min(), window[:, 1].max()]
        )


def test_names_and_units() -> None:
    feature = WindowQuantiles(window=1, quantiles=[0, 0.05, 0.5, 0.999, 1], channels=["a"])
    spec = feature.open(SPEC)
    assert spec.names == ("a.min", "a.q5", "a.q50", "a.q99.9", "a.max")
    assert {channel.unit for channel in spec.channels} == {"m"}
    assert spec.rate_hz == 1


@pytest.mark.parametrize("hop", [1, 10])
def test_a_nan_leaves_with_its_window(hop: int) -> None:
    x = X.copy()
    x[100, 0] = np.nan
    t_ns, y = push(x, size=20, hop=hop)
    assert t_ns[np.isnan(y[:, 0])].tolist() == [t for t in range(19, 400, hop) if 100 <= t < 120]
    np.testing.assert_array_equal(y[:, len(Q) :], push(size=20, hop=hop)[1][:, len(Q) :])


def test_an_infinity_has_its_place() -> None:
    x = X.copy()
    x[100, 0] = np.inf
    y = push(x, size=5, quantiles=[0, 0.5, 0.9, 1])[1][100 - 4]
    assert np.isfinite(y[:2]).all()
    assert y[2] == y[3] == np.inf


def test_zeros_and_constants() -> None:
    assert (push(np.zeros((50, 2), np.float32))[1] == 0).all()
    assert (push(np.full((50, 2), -3.3, np.float32))[1] == np.float32(-3.3)).all()


def test_too_short_gives_nothing() -> None:
    assert push(X[:19])[1].shape == (0, 2 * len(Q))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"quantiles": []}, "different numbers from 0 to 1"),
        ({"quantiles": [0.5, 0.5]}, "different numbers from 0 to 1"),
        ({"quantiles": [1.1]}, "different numbers from 0 to 1"),
        ({"quantiles": [np.nan]}, "different numbers from 0 to 1"),
        ({"size": 0}, "window = 0 s is less than one sample"),
        ({"hop": 1 << 25}, "hop must come to 1 to 16,777,216 samples"),
        ({"channels": ["c"]}, "no channel 'c'"),
    ],
)
def test_what_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        push(**more)
