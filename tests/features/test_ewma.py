"""ewma against its recurrence and against SciPy's filter."""

import numpy as np
import pytest

from edgeseq.errors import ConfigError
from edgeseq.features import ewma
from edgeseq.features.ewma import Ewma
from edgeseq.types import Channel, Frames, StreamSpec

SPEC = StreamSpec((Channel("a", "g"), Channel("b", "degC")), 50.0)
X = np.random.default_rng(0).normal(20, 3, (400, 2)).astype(np.float32)
ALPHA = 1 - np.exp(-1 / (0.4 * 50))


def push(feature: Ewma, x: Frames) -> Frames:
    return feature.push(np.arange(len(x), dtype=np.int64), x)[1]


def opened(**more: object) -> Ewma:
    feature = Ewma(**{"time_constant": 0.4, **more})  # type: ignore[arg-type]
    feature.open(SPEC)
    return feature


def test_it_is_the_recurrence() -> None:
    y = push(opened(), X)
    for c in range(2):
        np.testing.assert_allclose(y[:, c], ewma.reference(X[:, c], ALPHA), rtol=0, atol=1e-5 * np.ptp(X))


def test_the_reference_is_scipys_filter() -> None:
    signal = pytest.importorskip("scipy.signal", reason="needs SciPy: pip install 'edgeseq[dev]'")
    first = X[:1, 0].astype(float)
    expected, _ = signal.lfilter([ALPHA], [1, ALPHA - 1], X[:, 0].astype(float), zi=(1 - ALPHA) * first)
    np.testing.assert_allclose(ewma.reference(X[:, 0], ALPHA), expected, rtol=1e-12)


def test_a_step_has_come_through_to_63_percent_after_the_time_constant() -> None:
    step = np.ones((21, 2), np.float32)
    step[0] = 0
    assert push(opened(), step)[20] == pytest.approx(1 - np.exp(-1), abs=1e-6)


def test_names_units_and_what_is_kept() -> None:
    assert Ewma(time_constant=1).open(SPEC).channels == (Channel("a.ewma", "g"), Channel("b.ewma", "degC"))
    feature = Ewma(time_constant=1, channels=["b"], keep=True)
    assert feature.open(SPEC).channels == (*SPEC.channels, Channel("b.ewma", "degC"))
    np.testing.assert_array_equal(push(feature, X)[:, :2], X)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_nan_and_left_out(bad: float) -> None:
    x = X.copy()
    x[[0, 7], 0] = bad
    y = push(opened(), x)
    assert np.flatnonzero(np.isnan(y[:, 0])).tolist() == [0, 7]
    np.testing.assert_array_equal(np.delete(y, [0, 7], 0)[:, 0], push(opened(), np.delete(x, [0, 7], 0))[:, 0])
    np.testing.assert_array_equal(y[:, 1], push(opened(), X)[:, 1])


def test_a_constant_stays() -> None:
    for value in (0.0, 1e9, -0.1):
        assert (push(opened(), np.full((300, 2), value, np.float32)) == np.float32(value)).all()


def test_it_runs_for_years() -> None:
    feature = opened()
    x = np.full((100_000, 2), 0.1, np.float32)
    for _ in range(30):
        y = push(feature, x)
    assert (y == np.float32(0.1)).all()


@pytest.mark.parametrize("time_constant", [0, -1, np.nan, np.inf])
def test_times_that_are_none(time_constant: float) -> None:
    with pytest.raises(ConfigError, match="time_constant must be a time above 0 s"):
        Ewma(time_constant=time_constant)


def test_a_channel_that_is_missing() -> None:
    with pytest.raises(ConfigError, match="no channel 'c'"):
        opened(channels=["c"])
