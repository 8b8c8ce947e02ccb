"""A program for what it holds: laid out anew for every length of it, since a layout's shapes are fixed.

So nothing is padded or masked, and a source of any length gives exactly what the original gives for it. Laying out
takes longer than some steps do (about 0.1 ms an operation): layouts are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from edgeseq.backends.native.layout import Layout, Shapes, laid_out
from edgeseq.backends.native.program import Program

KEPT_BYTES = 32 << 20
"""What layouts for lengths used before may take; of those used longest ago there are none beyond."""


class Lengths:
    """The layouts of a program. first: for what is held as long as in the file's example, or where nothing is."""

    def __init__(self, program: Program, like: Layout | None) -> None:
        self.first = laid_out(program, 1, like)
        self._kept: dict[tuple[tuple[int, ...], ...], Layout] = {}

    def holding(self, held: Mapping[str, NDArray[Any]]) -> Layout:
        """Return the layout for arrays to be held, by name, with them in it. Raises ModelError where there is none."""
        shapes: Shapes = {name: held[name].shape for name in self.first.held}
        key = tuple(shapes.values())
        layout = self._kept.pop(key, None) or laid_out(self.first.program, 1, self.first, shapes)
        self._kept[key] = layout
        while len(self._kept) > 1 and sum(each.plan.bytes for each in self._kept.values()) > KEPT_BYTES:
            del self._kept[next(iter(self._kept))]
        for name, array in layout.held.items():
            array[0] = held[name]
        return layout
