"""The spectrum of the newest block of a signal, once a hop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeseq.errors import ConfigError
from edgeseq.stages import _inputs, _window
from edgeseq.stages._fit import written
from edgeseq.stages._window import WindowKey
from edgeseq.types import Frames, Shape, State

MAX_BLOCK = 1 << 20


class Stft:
    """Real FFT of the newest `block` samples, zeros before the first; float64 inside.

    block: samples, even. window: "none" (default), "hann" or "sqrt_hann", periodic. Outputs, with bins = block / 2 + 1:
    magnitude [1, bins], phase [1, bins] in radians, spectrum [1, bins, 2], real and imaginary part.
    """

    delay = 0

    def __init__(self, *, block: int, window: WindowKey = "none") -> None:
        if not 1 < block <= MAX_BLOCK or block % 2:
            raise ConfigError(f"must be even and lie between 2 and {MAX_BLOCK}, not {block}.", "block")
        self._block, self._hop = block, block
        self._window = _window.samples(window, block)

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Parameters that work: the conformance tests use them."""
        return {"block": 16, "window": "hann"}

    @classmethod
    def example_inputs(cls) -> dict[str, Shape]:
        """Return the shapes that the example takes."""
        return {"signal": (4, 1)}

    def open(self, inputs: Mapping[str, Shape], hop: int) -> Mapping[str, Shape]:
        """Take one channel, a hop of samples at a time."""
        (shape,) = _inputs.named(inputs, ["signal"]).values()
        if shape not in ((hop, 1), (1, hop)):
            raise ConfigError(f"takes {hop} samples of one channel a step (hop), what comes is {written(shape)}.")
        if hop > self._block:
            raise ConfigError(f"a hop of {hop} samples is longer than the block of {self._block}.", "block")
        self._hop = hop
        bins = self._block // 2 + 1
        return {"magnitude": (1, bins), "phase": (1, bins), "spectrum": (1, bins, 2)}

    def initial(self) -> State:
        """Return the samples before the first: zeros."""
        return {"past": np.zeros(self._block - self._hop, np.float32)}

    def step(self, inputs: Mapping[str, Frames], state: State) -> tuple[Mapping[str, Frames], State]:
        """Transform the past and the new samples."""
        (new,) = inputs.values()
        block = np.concatenate([state["past"].astype(np.float32, copy=False), new.ravel()])
        bins = np.fft.rfft(block.astype(np.float64) * self._window)
        spectrum = np.stack([bins.real, bins.imag], axis=-1).astype(np.float32)
        magnitude, phase = np.abs(bins).astype(np.float32), np.angle(bins).astype(np.float32)
        outputs = {"magnitude": magnitude[None], "phase": phase[None], "spectrum": spectrum[None]}
        return outputs, {"past": block[self._hop :].copy()}

    def words(self) -> str:
        """Say the block."""
        return f"spectrum of the newest {self._block} samples"
