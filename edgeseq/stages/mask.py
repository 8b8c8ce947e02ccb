"""A mask on a spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeseq.errors import ConfigError
from edgeseq.stages import _inputs
from edgeseq.stages._fit import Fit, fit, written
from edgeseq.types import Frames, Shape, State

INPUTS = ("mask", "of")


class Mask:
    """Product of `mask` and `of`, a magnitude [1, bins] or a spectrum [1, bins, 2].

    A mask with a number a bin scales it; one with two is complex, real and imaginary part, and takes a spectrum. The
    output, masked, has the shape of `of`.
    """

    delay = 0

    def __init__(self) -> None:
        self._complex = False
        self._laid = Fit((), swapped=False)

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Parameters that work: the conformance tests use them."""
        return {}

    @classmethod
    def example_inputs(cls) -> dict[str, Shape]:
        """Return the shapes that the example takes."""
        return {"mask": (1, 9), "of": (1, 9, 2)}

    def open(self, inputs: Mapping[str, Shape], hop: int) -> Mapping[str, Shape]:  # noqa: ARG002 - the protocol's
        """Take a mask, and a magnitude or a spectrum."""
        shapes = _inputs.named(inputs, INPUTS)
        missing = [name for name in INPUTS if name not in shapes]
        if missing:
            raise ConfigError(
                'takes two: write inputs = { mask = "...", of = "..." }, where `of` is a stage\'s magnitude or '
                "spectrum.",
                "inputs",
            )
        mask, of = shapes["mask"], shapes["of"]
        pairs = len(of) > 2 and of[-1] == 2  # noqa: PLR2004 - rows, bins, real and imaginary part
        whole = fit(mask, of)
        laid = whole or (fit(mask, (*of[:-1], 1)) if pairs else None)
        if laid is None:
            raise ConfigError(f"a mask of {written(mask)} does not go on {written(of)}.", "inputs")
        self._complex = pairs and whole is not None
        self._laid = laid
        return {"masked": of}

    def initial(self) -> State:
        """Return nothing: it remembers nothing."""
        return {}

    def step(self, inputs: Mapping[str, Frames], state: State) -> tuple[Mapping[str, Frames], State]:  # noqa: ARG002
        """Multiply."""
        mask, of = self._laid.lay(inputs["mask"]), inputs["of"]
        if not self._complex:
            return {"masked": mask * of}, {}
        a, b, c, d = mask[..., 0], mask[..., 1], of[..., 0], of[..., 1]
        return {"masked": np.stack([a * c - b * d, a * d + b * c], axis=-1)}, {}

    def words(self) -> str:
        """Say which kind of mask."""
        return "multiplies by a complex mask" if self._complex else "multiplies by a mask"
