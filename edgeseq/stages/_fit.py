"""Which axis goes where: what one stage gives, laid into the shape that another takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq.types import Frames, Shape

MATRIX = 2


@dataclass(frozen=True, slots=True)
class Fit:
    """How a value is laid into an input: its two axes swapped or not, then reshaped."""

    shape: Shape
    swapped: bool

    def lay(self, value: Frames) -> NDArray[np.float32]:
        """Return the value as the input takes it."""
        return (np.squeeze(value).T if self.swapped else value).reshape(self.shape)


def fit(value: Shape, into: Sequence[int | None]) -> Fit | None:
    """Return how a value is laid into an input of the shape `into` (None: any size), or None if it does not fit.

    Axes of size 1 do not count. The others keep their order; a matrix whose two axes stand the other way is swapped.
    Axes of `into` that are free become 1, except where the value needs them, the last ones first.
    """
    sizes = tuple(size for size in value if size != 1)
    found = _match(sizes, tuple(into))
    if found is not None:
        return Fit(found, swapped=False)
    swapped = _match(sizes[::-1], tuple(into)) if len(sizes) == MATRIX else None
    return None if swapped is None else Fit(swapped, swapped=True)


def _match(sizes: Shape, into: tuple[int | None, ...]) -> Shape | None:
    """Return `into` with its free axes chosen so that its axes above 1 are `sizes`, or None."""
    if not into:
        return None if sizes else ()
    if sizes and into[-1] in (None, sizes[-1]):
        rest = _match(sizes[:-1], into[:-1])
        if rest is not None:
            return (*rest, sizes[-1])
    if into[-1] in (None, 1):
        rest = _match(sizes, into[:-1])
        if rest is not None:
            return (*rest, 1)
    return None


def written(shape: Sequence[int | None]) -> str:
    """Return a shape as a person reads it: [1, 2, ?]."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
