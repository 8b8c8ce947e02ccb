"""From a spectrum back to a block of the signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeseq.errors import ConfigError
from edgeseq.stages import _inputs, _window
from edgeseq.stages._fit import Fit, fit, written
from edgeseq.stages._window import WindowKey
from edgeseq.types import Frames, Shape, State

INPUTS = ("spectrum", "magnitude", "phase")


class Istft:
    """Inverse real FFT of `spectrum` [1, bins, 2], or of `magnitude` and `phase` [1, bins]; float64 inside.

    window: what the block is multiplied with: "none" (default), "hann" or "sqrt_hann", periodic. The output, block
    [1, 2 (bins - 1)], is one row: its samples overlap those of the next step until overlap_add adds them.
    """

    delay = 0

    def __init__(self, *, window: WindowKey = "none") -> None:
        self._kind = window
        self._window = _window.samples(window, 1)
        self._laid: dict[str, Fit] = {}

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Parameters that work: the conformance tests use them."""
        return {"window": "hann"}

    @classmethod
    def example_inputs(cls) -> dict[str, Shape]:
        """Return the shapes that the example takes."""
        return {"magnitude": (1, 9), "phase": (1, 9)}

    def open(self, inputs: Mapping[str, Shape], hop: int) -> Mapping[str, Shape]:  # noqa: ARG002 - the protocol's
        """Take a spectrum, whole or as magnitude and phase."""
        shapes = _inputs.named(inputs, INPUTS)
        if set(shapes) not in ({"spectrum"}, {"magnitude", "phase"}):
            raise ConfigError("takes a spectrum, or magnitude and phase.", "inputs")
        bins = max(max(shape) for shape in shapes.values())
        for name, shape in shapes.items():
            laid = fit(shape, (bins, 2) if name == "spectrum" else (bins,))
            if laid is None or bins < 2:  # noqa: PLR2004 - the least that a block of two samples has
                expected = "[1, bins, 2]" if name == "spectrum" else "[1, bins]"
                raise ConfigError(f"takes a {name} of {expected}, what comes is {written(shape)}.", "inputs")
            self._laid[name] = laid
        size = 2 * (bins - 1)
        self._window = _window.samples(self._kind, size)
        return {"block": (1, size)}

    def initial(self) -> State:
        """Return nothing: it remembers nothing."""
        return {}

    def step(self, inputs: Mapping[str, Frames], state: State) -> tuple[Mapping[str, Frames], State]:  # noqa: ARG002
        """Transform back."""
        laid = {
            name: self._laid[name].lay(value).astype(np.float64)
            for name, value in _inputs.named(inputs, INPUTS).items()
        }
        if "spectrum" in laid:
            bins = laid["spectrum"][:, 0] + 1j * laid["spectrum"][:, 1]
        else:
            bins = laid["magnitude"] * np.exp(1j * laid["phase"])
        block = np.fft.irfft(bins) * self._window
        return {"block": block.astype(np.float32)[None]}, {}

    def words(self) -> str:
        """Say the block."""
        return f"back to {len(self._window)} samples"
