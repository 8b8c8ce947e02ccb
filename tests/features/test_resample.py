"""resample against plain sums, scipy.signal.resample_poly and soxr; and its times."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.errors import ConfigError
from edgeseq.features import resample
from edgeseq.features.resample import Resample
from edgeseq.types import Channel, Frames, StreamSpec

X = np.random.default_rng(0).normal(0, 1, (600, 2)).astype(np.float32)


def opened(rate_in: float, rate_out: float, **more: Any) -> Resample:
    feature = Resample(rate_hz=rate_out, **more)
    spec = StreamSpec((Channel("a", "m"), Channel("b")), rate_in)
    assert feature.open(spec).rate_hz == rate_out
    return feature


def push(x: Frames, rate_in: float, rate_out: float, **more: Any) -> tuple[Any, Frames]:
    t_ns = np.round(np.arange(len(x)) * (1e9 / rate_in)).astype(np.int64)
    return opened(rate_in, rate_out, **more).push(t_ns, x)


RATIOS = [(1, 1), (1, 2), (2, 1), (3, 2), (2, 3), (147, 160), (160, 147), (1, 7), (5, 64), (64, 5)]


@pytest.mark.parametrize(("up", "down"), RATIOS)
@pytest.mark.parametrize("half_length", [1, 4, 10])
def test_it_is_the_sum(up: int, down: int, half_length: int) -> None:
    t_ns, y = push(X, 100 * down, 100 * up, half_length=half_length)
    ahead = -(-half_length * max(up, down) // up)
    assert len(y) == -(-(len(X) - ahead) * up // down), "all that do not lean on samples still to come"
    for c in range(2):
        expected = resample.reference(X[:, c], up, down, half_length)[: len(y)]
        np.testing.assert_allclose(y[:, c], expected, rtol=0, atol=1e-5 * np.ptp(X))
    np.testing.assert_allclose(t_ns, np.arange(len(y)) * 1e7 / up, rtol=0, atol=2)


@pytest.mark.parametrize(("up", "down"), RATIOS)
def test_the_reference_is_scipys(up: int, down: int) -> None:
    signal = pytest.importorskip("scipy.signal", reason="needs SciPy: pip install 'edgeseq[dev]'")
    x = X[:, 0].astype(float)
    np.testing.assert_allclose(resample.reference(x, up, down), signal.resample_poly(x, up, down), atol=1e-12)


def tones(rate_in: int, rate_out: int, times: Any) -> Any:
    return sum(np.sin(2 * np.pi * f * times + f) for f in (50.0, 700.0, 0.35 * min(rate_in, rate_out))) / 3


def with_a_long_filter(rate_in: int, rate_out: int) -> Any:
    x = tones(rate_in, rate_out, np.arange(rate_in // 4) / rate_in).astype(np.float32)
    return push(np.stack([x, x], 1), rate_in, rate_out, half_length=64, beta=12)[1][:, 0]


@pytest.mark.parametrize(("rate_in", "rate_out"), [(44100, 16000), (16000, 44100), (48000, 16000), (25600, 20480)])
def test_with_a_long_filter_it_is_the_signal_at_another_rate(rate_in: int, rate_out: int) -> None:
    y = with_a_long_filter(rate_in, rate_out)
    expected = tones(rate_in, rate_out, np.arange(len(y)) / rate_out)
    np.testing.assert_allclose(y[500:], expected[500:], rtol=0, atol=1e-5)


# From 44,100 to 16,000 Hz soxr itself is 3e-5 away from the signal.
@pytest.mark.parametrize(("rate_in", "rate_out"), [(16000, 44100), (48000, 16000), (25600, 20480)])
def test_with_a_long_filter_it_is_soxrs(rate_in: int, rate_out: int) -> None:
    soxr = pytest.importorskip("soxr", reason="needs soxr: pip install 'edgeseq[dev]'")
    x = tones(rate_in, rate_out, np.arange(rate_in // 4) / rate_in)
    expected = soxr.resample(x, rate_in, rate_out, quality="VHQ")
    y = with_a_long_filter(rate_in, rate_out)
    np.testing.assert_allclose(y[500:-500], expected[: len(y)][500:-500], rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from([*RATIOS, (99_999, 100_000), (100_003, 65_537)]))
def test_any_split_is_the_same_and_times_rise(data: st.DataObject, ratio: tuple[int, int]) -> None:
    up, down = ratio
    steps = data.draw(st.lists(st.integers(1, 10**10), min_size=100, max_size=100))
    t_ns, x = np.cumsum(np.array(steps, np.int64)), X[:100]
    whole_t, whole = opened(10 * down, 10 * up, half_length=2).push(t_ns, x)
    feature = opened(10 * down, 10 * up, half_length=2)
    cuts = sorted({0, 100, *data.draw(st.lists(st.integers(1, 99), max_size=10))})
    parts = [feature.push(t_ns[i:j], x[i:j]) for i, j in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), whole_t)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), whole)
    place = np.arange(len(whole)) * down
    expected = t_ns[place // up] + (t_ns[place // up + 1] - t_ns[place // up]) * (place % up) // up
    assert whole_t.tolist() == expected.tolist(), "whatever the clock of the samples does"


UNEVEN = [(44100.0, 15999.87), (16000.0, 44100.77), (999.87, 1000.0), (25600.0, 20480.013), (48000.0, 31.41592)]


@pytest.mark.parametrize(("rate_in", "rate_out"), UNEVEN)
def test_any_ratio_is_the_signal_at_another_rate(rate_in: float, rate_out: float) -> None:
    low = 0.3 * min(rate_in, rate_out)
    count = int(40 * rate_in / min(rate_in, rate_out)) + 600
    x = np.sin(2 * np.pi * low * np.arange(count) / rate_in + 1)
    _, y = push(np.stack([x, x], 1).astype(np.float32), rate_in, rate_out, half_length=16, beta=12)
    expected = np.sin(2 * np.pi * low * np.arange(len(y)) / rate_out + 1)
    begun = int(18 * max(1, rate_out / rate_in))
    assert len(y) > begun + 5
    np.testing.assert_allclose(y[begun:, 0], expected[begun:], rtol=0, atol=1e-5)


def direct(x: Frames, rate_in: float, rate_out: float, outputs: int, half_length: int) -> Any:
    """Sum the filter's own curve over the samples, where each output lies."""
    ratio = min(1.0, rate_out / rate_in)
    n = np.arange(outputs)[:, None] * (rate_in / rate_out) - np.arange(len(x))
    share = np.clip(n * ratio / half_length, -1, 1)
    window = np.where(np.abs(share) < 1, np.i0(5.0 * np.sqrt(1 - share**2)) / np.i0(5.0), 0)
    # What the curve comes to between the samples is one.
    between = np.arange(-half_length, half_length, 1e-3)
    whole = (np.sinc(between) * np.i0(5.0 * np.sqrt(1 - (between / half_length) ** 2)) / np.i0(5.0)).sum() * 1e-3
    return (ratio * np.sinc(n * ratio) * window / whole) @ x


@pytest.mark.parametrize(("rate_in", "rate_out"), [(100.0, 99.999), (100.0, 151.23456), (100.0, 14.142136)])
def test_any_ratio_is_the_sum(rate_in: float, rate_out: float) -> None:
    t_ns, y = push(X, rate_in, rate_out)
    for c in range(2):
        expected = direct(X[:, c].astype(float), rate_in, rate_out, len(y), 10)
        np.testing.assert_allclose(y[:, c], expected, rtol=0, atol=1e-5 * np.ptp(X))
    np.testing.assert_allclose(t_ns, np.arange(len(y)) * (1e9 / rate_out), rtol=0, atol=2)


def test_a_ratio_near_another_is_near_it() -> None:
    """Beside the ratio of whole numbers, by a billionth: the other kernel, and its output hardly another.

    With a window from which all phases have sums of one, alone or together.
    """
    for up, down in RATIOS:
        more = {"half_length": 20, "beta": 12.0}
        exact, near = (push(X, 100 * down, 100 * up * (1 + off), **more)[1] for off in (0, 1e-9))
        size = min(map(len, (exact, near)))
        np.testing.assert_allclose(near[:size], exact[:size], rtol=0, atol=1e-5 * np.ptp(X))


@settings(deadline=None, max_examples=200)
@given(st.floats(1e-3, 1e6), st.floats(2.0**-14, 2.0**14))
def test_a_ratio_of_whole_numbers_is_as_near_as_clocks_are(rate_hz: float, ratio: float) -> None:
    found = resample.ratio_of(rate_hz, rate_hz * ratio)
    assert max(found.numerator, found.denominator) <= resample.MAX_NUMBER
    assert float(found) == pytest.approx(rate_hz * ratio / rate_hz, rel=2.4e-10)


def test_nothing_folds_back_and_an_offset_stays() -> None:
    times = np.arange(4000) / 1000
    tone = (np.sin(2 * np.pi * 160 * times) + 5).astype(np.float32)
    y = push(np.stack([tone, tone], 1), 1000, 200, half_length=10)[1][40:, 0]
    assert np.abs(y - 5).max() < 2e-3, "160 Hz is no part of a stream at 200 Hz"


def test_at_its_own_rate_it_stays_as_it_is() -> None:
    t_ns, y = push(X, 100, 100)
    np.testing.assert_allclose(y, X[: len(y)], atol=1e-6)
    assert t_ns.tolist() == [10_000_000 * k for k in range(590)]


def test_a_rate_that_no_float_is() -> None:
    np.testing.assert_array_equal(push(X, 100 / 3, 50)[1], push(X, 100, 150)[1])


def test_names_and_units_stay() -> None:
    spec = StreamSpec((Channel("a", "m"), Channel("b")), 100.0)
    assert Resample(rate_hz=30, channels=["a"]).open(spec) == StreamSpec((Channel("a", "m"),), 30)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_reaches_as_far_as_the_filter(bad: float) -> None:
    x = X.copy()
    x[300, 0] = bad
    t_ns, y = push(x, 100, 50, half_length=5)
    reached = np.abs(t_ns - 3_000_000_000) <= 5 * 20_000_000
    assert (~np.isfinite(y[:, 0]) <= reached).all()
    assert (~np.isfinite(y[np.abs(t_ns - 3_000_000_000) < 5 * 20_000_000, 0])).all()
    assert np.isfinite(y[:, 1]).all()


def test_zeros_and_too_short() -> None:
    assert (push(np.zeros((100, 2), np.float32), 100, 70)[1] == 0).all()
    assert push(X[:10], 100, 100)[1].shape == (0, 2)


@pytest.mark.parametrize(
    ("rates", "more", "message"),
    [
        ((100, 0), {}, "rate_hz must be above 0"),
        ((100, np.nan), {}, "rate_hz must be above 0"),
        ((100, 1e9), {}, "100 Hz and 1e[+]09 Hz lie more than 16,384 times apart"),
        ((100, 1e-9), {}, "lie more than 16,384 times apart"),
        ((100, 50), {"half_length": 0}, "half_length must be 1 to"),
        ((100, 50), {"beta": -1}, "beta must be 0 to 100"),
        ((100, 50), {"channels": ["c"]}, "no channel 'c'"),
    ],
)
def test_what_is_refused(rates: tuple[float, float], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        opened(*rates, **more)
