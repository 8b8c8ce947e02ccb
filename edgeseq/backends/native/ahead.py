"""What reads no state, computed for many steps at once: its weights are read once for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeseq.backends.native.layout import NOTHING, Layer, Layout
from edgeseq.backends.native.plan import Array, Plan, address

STEPS = 32
"""At once."""
MAX_BYTES = 1 << 18
"""What its tensors may take for all steps, to stay in a second-level cache."""


@dataclass(frozen=True)
class Ahead:
    """The first part of a layout over again, for STEPS steps side by side, and what to bring over for each.

    links: int64[n, 4], where a tensor stands in the layout, where here, its bytes, and those from step to step; with no
    bytes where the layout is told the place of each step's.
    """

    board: Array
    links: Array
    plan: Plan


def ahead(layout: Layout) -> Ahead | None:
    """Return what computes a layout's first part ahead; None where that holds no weights, or is too large."""
    program = layout.program
    parts = layout.parts
    made = [program.description.tensors[op.output] for op in parts.of_inputs]
    size = sum(np.dtype(tensor.dtype).itemsize * math.prod(tensor.shape) for tensor in made)
    if not any(op.arrays and op.inputs for op in parts.of_inputs) or STEPS * size > MAX_BYTES:
        return None
    layer = Layer(program, STEPS, layout, NOTHING, ahead=True)
    entering = layer.entered()
    known = layer.first()
    return Ahead(layer.board(entering), _links(layout, known), layer.plan)


def _links(layout: Layout, known: Mapping[str, Array]) -> Array:
    """Return how what is known of a step comes to where the layout has it."""
    told: list[tuple[int, int, int, int]] = []
    apart: list[tuple[int, int, int, int]] = []
    for name, here in layout.known.items():
        to, source = address(here), address(known[name])
        stride = known[name].strides[0] if len(known[name]) > 1 else 0
        if to in layout.plan.later:
            told.append((address(layout.plan.later[to][-1]), source, 0, stride))
        elif not layout.plan.constant(here):
            apart.append((to, source, here.nbytes, stride))
    links: list[tuple[int, int, int, int]] = []
    for to, source, size, stride in sorted(apart):
        before = links[-1] if links else (0, 0, 0, 0)
        if (to - before[2], source - before[2], stride) == (before[0], before[1], before[3]):
            links[-1] = (*before[:2], before[2] + size, stride)
        else:
            links.append((to, source, size, stride))
    return np.array([*told, *links], np.int64).reshape(-1, 4)
