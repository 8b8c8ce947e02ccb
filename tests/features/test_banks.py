"""Sums over bands against the product of the whole matrix."""

from typing import Any

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.features import _banks
from edgeseq.features._lanes import LANES


@numba.njit
def summed(values: Any, counts: Any, first: Any, weights: Any, y: Any) -> None:
    at = weights.ctypes.data
    for group in range(len(counts)):
        to = y.ctypes.data + 8 * LANES * group
        _banks.summed(values.ctypes.data, first.ctypes.data + 8 * LANES * group, at, counts[group], to)
        at += 8 * LANES * LANES * counts[group]


@given(
    lines=st.integers(1, 60),
    bands=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 40)), min_size=1, max_size=30),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_they_are_the_product(lines: int, bands: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    bank = np.zeros((len(bands), lines))
    for row, (start, width) in zip(bank, bands, strict=True):
        row[start : start + width] = rng.uniform(-1, 1, row[start : start + width].shape)
    counts, first, weights, read = _banks.grouped(bank)
    values = np.concatenate([rng.normal(size=lines), np.zeros(max(0, read - lines))])
    y = np.full(len(counts) * LANES, np.nan)
    summed(values, counts, first, weights, y)
    np.testing.assert_allclose(y[: len(bands)], bank @ values[:lines], atol=1e-13)
    assert (y[len(bands) :] == 0).all()
    assert len(weights) == LANES * LANES * counts.sum()
