"""missing against a plain look at the neighbours."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.errors import ConfigError
from edgeseq.features import missing
from edgeseq.features.missing import Missing
from edgeseq.types import Channel, Frames, StreamSpec

SPEC = StreamSpec((Channel("a", "m"), Channel("b")), 10.0)
BAD = st.sampled_from([np.nan, np.inf, -np.inf])
SERIES = st.lists(st.one_of(st.integers(-100, 100).map(float), BAD), min_size=1, max_size=60)


def push(x: list[float] | Frames, cuts: Any = (), **more: Any) -> tuple[Any, Frames]:
    """Push x as the channel a, its reverse as b."""
    values = np.array([x, x[::-1]], np.float32).T
    t_ns = np.arange(len(values), dtype=np.int64) ** 2 * 10**6
    feature = Missing(**more)
    feature.open(SPEC)
    edges = sorted({0, len(values), *(cut % len(values) for cut in cuts)})
    parts = [feature.push(t_ns[i:j], values[i:j]) for i, j in itertools.pairwise(edges)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


@settings(deadline=None, max_examples=200)
@given(SERIES, st.integers(1, 6), st.lists(st.integers(0, 60), max_size=5))
@pytest.mark.parametrize("policy", ["hold", "interpolate", "constant"])
def test_it_is_the_reference(policy: str, x: list[float], most: int, cuts: list[int]) -> None:
    keys: dict[str, Any] = {"value": 7.5} if policy == "constant" else {"longest": most / 10}
    t_ns, y = push(x, cuts, policy=policy, mark=True, **keys)
    done = max(0, len(x) - most) if policy == "interpolate" else len(x)
    assert t_ns.tolist() == [k * k * 10**6 for k in range(done)]
    times = np.arange(len(x), dtype=np.int64) ** 2 * 10**6
    for c, series in enumerate((x, x[::-1])):
        expected = missing.reference(np.array(series), times, policy, most, 7.5)[:done]  # type: ignore[arg-type]
        np.testing.assert_allclose(y[:, c], expected, rtol=0, atol=1e-5 * 200)
        assert y[:, 2 + c].tolist() == (~np.isfinite(series)[:done]).tolist()


def test_hold_holds_as_long_as_it_may() -> None:
    _, y = push([np.nan, 1, np.nan, np.nan, np.nan, np.nan, 2, np.nan], policy="hold", longest=0.3)
    np.testing.assert_array_equal(y[:, 0], [np.nan, 1, 1, 1, 1, np.nan, 2, 2])


def test_interpolation_is_over_time() -> None:
    # At 0, 1, 4, 9 and 16 ms.
    _, y = push([0, np.nan, np.nan, 9, 0, 0, 0], policy="interpolate", longest=0.3)
    np.testing.assert_allclose(y[:, 0], [0, 1, 4, 9], atol=1e-6)


def test_a_gap_that_is_too_long_stays_as_a_whole() -> None:
    _, y = push([0, np.nan, np.nan, 9, 0, 0, 0], policy="interpolate", longest=0.2)
    np.testing.assert_array_equal(y[:, 0], [0, np.nan, np.nan, 9, 0])


def test_an_age_beyond_any_counter() -> None:
    feature = Missing(policy="hold", longest=0.1)
    feature.open(SPEC)
    feature.push(np.zeros(1, np.int64), np.ones((1, 2), np.float32))
    nothing = np.full((100_000, 2), np.nan, np.float32)
    for _ in range(30):
        _, y = feature.push(np.zeros(len(nothing), np.int64), nothing)
    assert np.isnan(y).all()
    assert feature._age.max() == 2


def test_names_and_units() -> None:
    spec = Missing(policy="hold", longest=1, channels=["b"], mark=True).open(SPEC)
    assert spec.channels == (*SPEC.channels, Channel("b.missing"))
    assert Missing(policy="hold", longest=1).open(SPEC) == SPEC


def test_other_channels_stay_as_they_are() -> None:
    _, y = push([1, np.nan, np.inf, 2], policy="constant", value=0, channels=["a"])
    np.testing.assert_array_equal(y, np.array([[1, 0, 0, 2], [2, np.inf, np.nan, 1]]).T)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"policy": "hold"}, "longest, in seconds, goes with"),
        ({"policy": "constant", "value": 1, "longest": 1}, "longest, in seconds, goes with"),
        ({"policy": "constant"}, "value, a finite number, goes with"),
        ({"policy": "constant", "value": np.nan}, "value, a finite number, goes with"),
        ({"policy": "hold", "longest": 1, "value": 1}, "value, a finite number, goes with"),
        ({"policy": "hold", "longest": 0.01}, "less than one sample"),
        ({"policy": "hold", "longest": 1e9}, "at most 16,777,216 samples"),
        ({"policy": "hold", "longest": 1, "channels": ["c"]}, "no channel 'c'"),
    ],
)
def test_what_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        push([1.0], **more)
