"""A stream's own chain holds what comes in to what its features rely on."""

import numpy as np
import pytest

from edgeseq.errors import SourceError
from edgeseq.feature_chain import FeatureChain
from edgeseq.features.window_quantiles import WindowQuantiles
from edgeseq.types import Channel, Chunk, StreamSpec


def test_samples_without_their_times_are_refused() -> None:
    """A kernel that is given too few of one for the other would write beyond its arrays."""
    feature = WindowQuantiles(window=0.2, hop=0.01, quantiles=[0.5])
    feature.open(StreamSpec((Channel("a"),), 100.0))
    chain = FeatureChain([feature])
    for times, count in ((30, 300), (300, 30), (0, 1), (1, 0)):
        chunk = Chunk(np.arange(times, dtype=np.int64), np.zeros((count, 1), np.float32))
        with pytest.raises(SourceError, match=f"a chunk of {times} times and {count} samples"):
            chain.push(chunk)
