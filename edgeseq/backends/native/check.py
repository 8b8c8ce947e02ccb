"""A native program against what bundle.toml says of it: the runtime feeds it, and keeps its states, by the latter."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from edgeseq.backends.native.layout import DTYPES
from edgeseq.backends.native.program import Program
from edgeseq.errors import ModelError

if TYPE_CHECKING:
    from edgeseq.bundle import Graph, ModelFile

MAX_NUMBERS = 1 << 28
"""In a tensor: beyond that no honest program goes."""


def check(program: Program, graph: Graph, file: ModelFile) -> None:
    """Compare inputs, outputs and states, and how they are stored, with bundle.toml. Raises ModelError."""
    told = program.description
    for name, tensor in told.tensors.items():
        sized = all(size >= 0 for size in tensor.shape) and math.prod(tensor.shape) <= MAX_NUMBERS
        if not sized or tensor.dtype not in DTYPES:
            form = f"{tensor.dtype}{tensor.shape}"
            raise ModelError(f"{program.path}: the tensor '{name}' is {form}, which none can be. Export it again.")
    _same(program, "frames a step", told.frames, graph.frames_per_step)
    columns = pairwise(accumulate(graph.widths, initial=0))
    _same(
        program,
        "inputs",
        [(i.name, (i.first, i.last), i.time_axis, *_stored(program, i.name)[:2]) for i in told.inputs],
        [(t.name, place, t.time_axis, t.shape, t.dtype) for t, place in zip(graph.inputs, columns, strict=True)],
    )
    # An output's tensor has a name of its own in every variant.
    _same(
        program,
        "outputs",
        [_stored(program, name)[:2] for name in told.outputs],
        [(tensor.shape, tensor.dtype) for tensor in graph.outputs],
    )
    shapes = {state.name: state.shape for state in graph.states}
    _same(
        program,
        "states",
        {s.name: [(name, *_stored(program, name)) for name in (s.input, s.output)] for s in told.states},
        {
            s.name: [(name, shapes[s.name], s.dtype, s.scale, s.zero_point) for name in (s.input, s.output)]
            for s in file.states
        },
    )


def _stored(program: Program, name: str) -> tuple[list[int], str, float | None, int]:
    """Return how the program says that a tensor is stored: shape, type, scale, zero point."""
    tensor = program.description.tensors.get(name)
    if tensor is None:
        raise ModelError(f"{program.path}: says nothing of the tensor '{name}'. Export it again.")
    return tensor.shape, tensor.dtype, tensor.scale, tensor.zero_point


def _same(program: Program, what: str, found: Any, said: Any) -> None:
    if found != said:
        raise ModelError(f"{program.path}: its {what} are {found}, bundle.toml says {said}. Export it again.")
