"""What the benchmark of vibration features compares computes the same."""

import numpy as np
import pytest

from benchmarks import features_vibration as benchmark
from benchmarks.measure import DisagreementError, agree

WINDOWS = np.random.default_rng(0).normal(size=(3, benchmark.SIZE)).astype(np.float32)
WINDOWS[0, 0] = 0


@pytest.mark.parametrize("name", benchmark.CASES)
def test_both_give_the_same(name: str) -> None:
    feature, peer, _ = benchmark.CASES[name]()
    ours, theirs = benchmark.ours(feature, WINDOWS), benchmark.theirs(peer, WINDOWS)
    full = float(np.abs(theirs.outputs()).max())
    agree([theirs, ours], benchmark.AGREES * full)
    agree([theirs, ours], benchmark.AGREES * full)  # a reset forgets the first time
    with pytest.raises(DisagreementError):
        agree([theirs, benchmark.ours(feature, WINDOWS[::-1])], benchmark.AGREES * full)
