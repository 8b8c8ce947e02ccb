"""The filters that run on a stream: their design and their outputs against SciPy's."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from vibration_streams import agree, noise

from edgeseq.errors import ConfigError
from edgeseq.features import _sos

BANDS = [(None, 100.0), (10.0, None), (10.0, 300.0), (100.0, 110.0), (1.0, 499.0)]


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 8, 12])
def test_the_design_is_scipys(order: int, band: tuple[float | None, float | None]) -> None:
    low, high = band
    edges, kind = (high, "lowpass") if low is None else (low, "highpass") if high is None else (band, "bandpass")
    theirs = signal.butter(order, edges, kind, fs=1000, output="sos")
    ours = _sos.butterworth(order, low, high, 1000)
    assert ours.shape == theirs.shape
    hz = np.linspace(0.5, 499.5, 999)
    expected = signal.freqz_sos(theirs, hz, fs=1000)[1]
    np.testing.assert_allclose(signal.freqz_sos(ours, hz, fs=1000)[1], expected, atol=1e-7)
    points = np.exp(2j * np.pi * hz / 1000)
    np.testing.assert_allclose(_sos.response(ours, points).prod(axis=0), expected, atol=1e-7)


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_filtered_stream_is_scipys(order: int, band: tuple[float | None, float | None]) -> None:
    sections = _sos.butterworth(order, *band, 1000)
    values = noise(500) + np.float32(3)
    found = _sos.Filter(sections, 3).push(values)
    for channel in range(3):
        x = values[:, channel].astype(np.float64)
        expected, _ = signal.sosfilt(sections, x, zi=signal.sosfilt_zi(sections) * x[0])
        agree(found[:, channel], expected)
        agree(_sos.reference(x, sections), expected, 1e-9)


@pytest.mark.parametrize("band", [(1.0, 100.0), (80.0, 499.96), (0.1, 499.0), (100.0, 101.0), (490.0, 499.9)])
@pytest.mark.parametrize("order", [*range(1, 13)])
def test_no_width_and_no_order_is_lost_in_rounding(order: int, band: tuple[float, float]) -> None:
    """Against SciPy's own sections, with other pairs of poles and zeros than ours."""
    values = np.random.default_rng(0).normal(size=(20_000, 1)).astype(np.float32)
    values[0] = 0
    theirs = signal.butter(order, band, "bandpass", fs=1000, output="sos")
    agree(
        _sos.Filter(_sos.butterworth(order, *band, 1000), 1).push(values)[:, 0],
        signal.sosfilt(theirs, values[:, 0].astype(np.float64)),
        1e-6,
    )


def amplitude(sections: _sos.Sections, share: float) -> float:
    """Return the response of these very coefficients at a share of the rate, without rounding."""
    s, squared = Fraction(math.sin(math.pi * share)) ** 2, Fraction(1)
    for section in sections:
        for c, power in ((section[:3], 1), (section[3:], -1)):
            c0, c1, c2 = map(Fraction, c.tolist())
            at = c0**2 + c1**2 + c2**2 + 2 * c1 * (c0 + c2) * (1 - 2 * s) + 2 * c0 * c2 * (1 - 8 * s + 8 * s**2)
            squared *= at**power
    return math.sqrt(squared)


NEAREST = 2.0001e-6
"""As a share of the rate: hardly more than LEAST_SHARE."""


@pytest.mark.parametrize("order", [1, 4, 12])
@pytest.mark.parametrize("band", [
    (NEAREST, None), (None, NEAREST), (NEAREST, 0.3), (NEAREST, 2.1 * NEAREST), (0.2, 0.2 + NEAREST),
    (None, 0.5 - NEAREST), (0.1, 0.5 - NEAREST), (0.5 - NEAREST, None), (0.5 - 2.1 * NEAREST, 0.5 - NEAREST),
])  # fmt: skip
def test_as_near_as_edges_may_lie_they_are_where_they_should(
    order: int, band: tuple[float | None, float | None]
) -> None:
    sections = _sos.butterworth(order, *band, 1.0)
    for edge in filter(None, band):
        assert amplitude(sections, edge) == pytest.approx(0.5**0.5, abs=1e-5)


@given(cuts=st.lists(st.integers(1, 199), max_size=8), bad=st.lists(st.integers(0, 199), max_size=4))
@settings(deadline=None, max_examples=40)
def test_any_split_is_the_same_and_a_run_starts_anew_behind_what_is_no_number(cuts: list[int], bad: list[int]) -> None:
    sections, values = _sos.butterworth(3, 20, 200, 1000), noise(200)[:, :2]
    values[bad, 0] = np.nan
    whole = _sos.Filter(sections, 2).push(values)
    pieces = _sos.Filter(sections, 2)
    edges = sorted({0, 200, *cuts})
    parts = [pieces.push(values[i:j]) for i, j in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert np.isnan(whole[:, 0]).tolist() == np.isnan(values[:, 0]).tolist()
    np.testing.assert_array_equal(whole[:, 1], _sos.Filter(sections, 2).push(noise(200)[:, :2])[:, 1])
    behind = max(bad, default=-1) + 1
    if behind < 200:
        np.testing.assert_array_equal(whole[behind:], np.stack([
            _sos.Filter(sections, 1).push(values[behind:, :1])[:, 0], whole[behind:, 1]
        ], axis=1))  # fmt: skip


def test_an_infinity_is_no_number_either() -> None:
    values = noise(100)[:, :1]
    values[50] = -np.inf
    found = _sos.Filter(_sos.butterworth(2, 20, 200, 1000), 1).push(values)
    assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == [50]


def test_a_constant_has_always_been_there() -> None:
    values = np.full((100, 1), 9.81, np.float32)
    assert np.abs(_sos.Filter(_sos.butterworth(4, 20, 200, 1000), 1).push(values)).max() < 1e-9
    np.testing.assert_allclose(_sos.Filter(_sos.butterworth(4, None, 200, 1000), 1).push(values), values, rtol=1e-6)


def test_reset_forgets() -> None:
    sections = _sos.butterworth(2, 20, None, 1000)
    filtering = _sos.Filter(sections, 3)
    filtering.push(noise(77, 1))
    filtering.reset()
    np.testing.assert_array_equal(filtering.push(noise(50)), _sos.Filter(sections, 3).push(noise(50)))


@pytest.mark.parametrize(
    ("order", "low", "high", "message"),
    [
        (0, 10, 100, "order must be 1 to 12, not 0"),
        (13, 10, 100, "order must be 1 to 12, not 13"),
        (4, 100, 10, "100 to 10 Hz does not lie between 0 and 500 Hz"),
        (4, 10, 500, "10 to 500 Hz does not lie"),
        (4, 0, None, "0 Hz does not lie"),
        (2, 1e-5, None, "1e-05 Hz: at 1000 Hz an edge must lie 0.002 Hz or more from 0"),
        (2, 10, 10.001, "10 to 10.001 Hz: at 1000 Hz an edge must lie 0.002 Hz or more"),
        (2, None, 499.999, "from 500 Hz and from the other. A filter cannot tell"),
    ],
)
def test_errors(order: int, low: float | None, high: float | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _sos.butterworth(order, low, high, 1000)
