"""A native program against what bundle.toml says of it: the runtime feeds it, and keeps its states, by the latter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate, pairwise, zip_longest
from typing import TYPE_CHECKING, Any

from edgeseq.backends._file_step import FREE, filled
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
    if graph.whole:
        _check_whole(program, graph)
        return
    columns = pairwise(accumulate(graph.widths, initial=0))
    _same(
        program,
        "inputs",
        [(i.name, (i.first, i.last), i.time_axis, *_stored(program, i.name)[:2]) for i in told.inputs],
        [(t.name, place, t.time_axis, t.shape, t.dtype) for t, place in zip(graph.inputs, columns, strict=True)],
    )
    held = {entry.name: (entry.shape, entry.dtype) for entry in graph.held if entry.enters}
    _same(program, "held tensors", *_held(program, held))
    # An output's tensor has a name of its own in every variant.
    _same(
        program,
        "outputs",
        [_stored(program, name)[:2] for name in told.outputs],
        [(tensor.shape, tensor.dtype) for tensor in graph.outputs],
    )
    shapes = {state.name: state.shape for state in graph.states}
    names = [state.name for state in told.states]
    _same(program, "states' names", sorted(names), sorted(set(names)))
    _same(
        program,
        "states",
        {s.name: [(name, *_stored(program, name)) for name in (s.input, s.output)] for s in told.states},
        {
            s.name: [(name, shapes[s.name], s.dtype, s.scale, s.zero_point) for name in (s.input, s.output)]
            for s in file.states
        },
    )


def _check_whole(program: Program, graph: Graph) -> None:
    """Compare an encoder that runs once: what it holds are its inputs, from the source's first on."""
    told = program.description
    held: dict[str, tuple[list[int], str]] = {entry.name: (entry.shape, entry.dtype) for entry in graph.held}
    source = {t.name: ([FREE if a == t.time_axis else n for a, n in enumerate(t.shape)], t.dtype) for t in graph.inputs}
    _same(program, "inputs", *_held(program, {**source, **held}))
    _same(program, "inputs of frames, and states,", (told.inputs, told.states), ([], []))
    found = [_stored(program, name)[0] for name in told.outputs]
    # For the length of an output that grows with the source, bundle.toml has 1; types are looked at where it is held.
    said = [filled(t.shape, shape or [], 1) for t, shape in zip_longest(graph.outputs, found) if t is not None]
    _same(program, "outputs", found, said)


def _held(program: Program, said: Mapping[str, tuple[list[int], str]]) -> tuple[Any, Any]:
    """Return shapes and types of what is held, as the program and as bundle.toml has them."""
    found = {name: _stored(program, name)[:2] for name in program.description.held}
    # The file's own shapes are those of an example.
    return found, {
        name: (filled(shape, found[name][0]) if name in found else shape, dtype)
        for name, (shape, dtype) in said.items()
    }


def _stored(program: Program, name: str) -> tuple[list[int], str, float | None, int]:
    """Return how the program says that a tensor is stored: shape, type, scale, zero point."""
    tensor = program.description.tensors.get(name)
    if tensor is None:
        raise ModelError(f"{program.path}: says nothing of the tensor '{name}'. Export it again.")
    return tensor.shape, tensor.dtype, tensor.scale, tensor.zero_point


def _same(program: Program, what: str, found: Any, said: Any) -> None:
    if found != said:
        raise ModelError(f"{program.path}: its {what} are {found}, bundle.toml says {said}. Export it again.")
