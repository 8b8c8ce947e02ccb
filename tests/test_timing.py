"""Percentiles from a bounded histogram."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.timing import LIMIT_BITS, SUBDIVISIONS, Timing, _bucket, _upper_ns


@settings(deadline=None)
@given(st.integers(0, 2**LIMIT_BITS - 1))
def test_a_bucket_holds_what_falls_into_it_and_is_narrow(duration: int) -> None:
    bucket = _bucket(duration)
    assert duration <= _upper_ns(bucket) <= duration * (1 + 1 / SUBDIVISIONS)
    assert bucket == 0 or _upper_ns(bucket - 1) < duration


def test_percentiles_are_near_the_exact_ones() -> None:
    durations = np.random.default_rng(0).lognormal(9, 1, 30_000).astype(int)
    timing = Timing()
    for duration in durations.tolist():
        timing.record(duration)
    for percent in (50, 90, 99):
        exact = float(np.percentile(durations, percent, method="inverted_cdf")) / 1000
        assert timing.percentile_us(percent) == pytest.approx(exact, rel=1 / SUBDIVISIONS)
    assert timing.mean_us == pytest.approx(durations.mean() / 1000)
    assert timing.max_ns == durations.max()
    assert timing.percentile_us(99.9) is None


def test_a_percentile_needs_samples_beyond_it() -> None:
    timing = Timing()
    assert timing.percentile_us(50) is None
    assert timing.mean_us is None
    timing.record(1000, 199)
    assert timing.percentile_us(50) is None
    timing.record(1000)
    assert timing.percentile_us(50) == 1.0


def test_durations_without_limit_are_held() -> None:
    timing = Timing()
    timing.record(2**62, 1000)
    assert timing.percentile_us(50) == pytest.approx(2**LIMIT_BITS / 1000, rel=1 / SUBDIVISIONS)
