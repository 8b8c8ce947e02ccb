"""From blocks that overlap to a signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeseq.errors import ConfigError
from edgeseq.stages import _inputs
from edgeseq.stages._fit import written
from edgeseq.types import Frames, Shape, State


class OverlapAdd:
    """Sum of overlapping blocks, a hop further each; gives the hop of samples that no later block adds to.

    gain: a factor on the sum, for windows that do not add up to 1. A block is a whole number of hops; the signal lags
    by the block less one hop, which the output's times make up for.
    """

    signal = True

    def __init__(self, *, gain: float = 1.0) -> None:
        if not np.isfinite(gain):
            raise ConfigError("must be a finite number.", "gain")
        self.delay = 0
        self._gain = np.float32(gain)
        self._block = self._hop = 0

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Parameters that work: the conformance tests use them."""
        return {"gain": 0.5}

    @classmethod
    def example_inputs(cls) -> dict[str, Shape]:
        """Return the shapes that the example takes."""
        return {"block": (1, 16)}

    def open(self, inputs: Mapping[str, Shape], hop: int) -> Mapping[str, Shape]:
        """Take a block of whole hops."""
        (shape,) = _inputs.named(inputs, ["block"]).values()
        size = max(shape)
        if np.prod(shape) != size or size % hop:
            raise ConfigError(f"takes a block of whole hops of {hop} samples a step, what comes is {written(shape)}.")
        self._block, self._hop = size, hop
        self.delay = size // hop - 1
        return {"signal": (hop, 1)}

    def initial(self) -> State:
        """Return the sum so far: zeros."""
        return {"sum": np.zeros(self._block - self._hop, np.float32)}

    def step(self, inputs: Mapping[str, Frames], state: State) -> tuple[Mapping[str, Frames], State]:
        """Add a block and give its first hop."""
        (block,) = inputs.values()
        total = block.astype(np.float32).ravel()
        total[: self._block - self._hop] += state["sum"].astype(np.float32, copy=False)
        return {"signal": (total[: self._hop] * self._gain)[:, None]}, {"sum": total[self._hop :].copy()}

    def words(self) -> str:
        """Say the lag."""
        return f"adds up blocks of {self._block} samples, {self._block - self._hop} samples late"
