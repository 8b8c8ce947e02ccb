"""Inputs that say how long a padded sequence is: nothing is padded in a stream, so that is how many frames there are.

1. An integer input of at most one axis, the batch, beside an input of frames may be a length. It is one if
   a. what lies beyond it does not count: zeros behind the last frame change none of the outputs before it, and
   b. it says nothing else: the outputs are not its own function, as they are of a speaker's number, unless longer
      sequences also change them by their frames; or
   c. the model runs at the number of frames, whatever that is, but not at less.
2. Of two inputs with times of their own, as source and target, each length counts one, which is found by trying. There
   convolutions may look over the end of the whole source; so it is a length as well if
   d. the model takes no more than there are frames, however many those are.
3. The original is run with it; in the graph it is computed from the frames' shape.
4. An encoder-decoder's original is also run on padded inputs: what is exported is held against both.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.frontends.sequence import PROOF_LENGTHS, Run
from export.graph import Array, Input
from export.lengths import accepted

CLOSE = 1e-4
ELEMENTS: dict[int, str] = {TensorProto.INT32: "int32", TensorProto.INT64: "int64"}
OWN = 7
"""Frames of an input with times of its own, while another's lengths are looked at."""
PADDING = 5
"""Frames behind the end of an encoder-decoder's padded inputs."""


@dataclass(frozen=True)
class Lengths:
    """An input of lengths. place: its place among all inputs; counts: which input of frames it counts."""

    name: str
    place: int
    shape: tuple[int, ...]
    dtype: str
    counts: int = 0

    def of(self, steps: int) -> Array:
        """Return what the input holds for a sequence of so many steps."""
        return np.full(self.shape, steps, self.dtype)

    @property
    def note(self) -> str:
        """What is told of it."""
        return f"'{self.name}' was taken to be the sequence's length: every frame of a stream counts"

    def note_of(self, inputs: Items[Input]) -> str:
        """Return what is told of it where inputs have times of their own."""
        return f"'{self.name}' was taken to be the length of '{inputs[self.counts].name}': every frame of it counts"


RunPadded = Callable[[Items[Array], Items[Lengths], Items[int]], Items[Array]]
"""Runs frames with lengths, given how many steps of each input count."""


def inserted(x: Items[Array], lengths: Items[Lengths], steps: Items[int]) -> list[Array]:
    """Return all inputs of a model: frames, and lengths in their places. steps: how many of each input of frames."""
    every = list(x)
    for entry in sorted(lengths, key=lambda entry: entry.place):
        every.insert(entry.place, entry.of(steps[entry.counts]))
    return every


def steps_of(x: Items[Array], inputs: Items[Input]) -> list[int]:
    """Return how many steps each input of frames has."""
    return [array.shape[entry.time_axis] for array, entry in zip(x, inputs, strict=True)]


def told_apart(run: RunPadded, inputs: Items[Input], maybe: Items[Lengths]) -> list[Lengths]:
    """Return those that may be lengths, with what they count; none where they are no lengths (1, 2)."""
    if len(inputs) == 2:  # noqa: PLR2004 - source and target
        for counted in itertools.product(range(len(inputs)), repeat=len(maybe)):
            entries = [replace(entry, counts=place) for entry, place in zip(maybe, counted, strict=True)]
            if all(_proven(run, inputs, entries, [place]) for place in sorted({*counted})):
                return entries
    return [*maybe] if _proven(run, inputs, maybe, range(len(inputs))) else []


def _proven(run: RunPadded, inputs: Items[Input], lengths: Items[Lengths], along: Items[int]) -> bool:
    """Return whether a model's lengths of some inputs, `along` which it is padded, are lengths."""
    own = len(along) < len(inputs)

    def steps(length: int) -> list[int]:
        return [length if place in along else OWN for place in range(len(inputs))]

    def noise(length: int, seed: int = 0) -> list[Array]:
        sizes = enumerate(zip(inputs, steps(length), strict=True))
        return [entry.noise(size, seed + place) for place, (entry, size) in sizes]

    def given(x: Items[Array], length: int) -> Items[Array]:
        return run(x, lengths, steps(length))

    try:
        short, long = accepted(lambda length: given(noise(length), length), PROOF_LENGTHS[:2])
    except ExportError:
        return False
    frames, other = noise(long), noise(long, seed=100)
    changing = [entry if place in along else None for place, entry in enumerate(inputs)]
    begun = [
        x if e is None else np.take(x, range(short), axis=e.time_axis) for x, e in zip(frames, changing, strict=True)
    ]
    padded = [x if e is None else _behind(x, np.zeros_like(x), short, e) for x, e in zip(frames, changing, strict=True)]
    changed = [x if e is None else _behind(x, y, short, e) for x, y, e in zip(frames, other, changing, strict=True)]
    alone, whole, otherwise = given(begun, short), given(frames, long), given(changed, long)
    try:
        cut_off = given(padded, short)
    except ExportError:
        return True  # c
    for place, y in enumerate(alone):
        grown = [axis for axis, (a, b) in enumerate(zip(y.shape, whole[place].shape, strict=True)) if a != b]
        # Convolutions look over the end; far before it they do not.
        own_y, padded_y, whole_y, changed_y = (
            np.take(each[place], range(short // 2), axis=grown[0]) if grown else each[place]
            for each in (alone, cut_off, whole, otherwise)
        )
        if not _close(own_y, padded_y):  # a
            return own and _bounded(given, noise, short, long)  # d
        if (grown or own) and not _close(own_y, whole_y) and _close(whole_y, changed_y):  # b
            return False
    return True


def _bounded(
    given: Callable[[Items[Array], int], Items[Array]], noise: Callable[[int], list[Array]], short: int, long: int
) -> bool:
    """Return whether a model takes more of long inputs than of short ones, of which it takes none beyond their end."""
    try:
        given(noise(long), short + 1)
    except ExportError:
        return False
    try:
        given(noise(short), short + 1)
    except ExportError:
        return True
    return False


def padded(runs: tuple[RunPadded, RunPadded], inputs: Items[Input], lengths: Items[Lengths]) -> tuple[Run, Run] | None:
    """Return what runs an original on inputs with padding behind all that counts (4); None where nothing says so."""
    counted = {entry.counts for entry in lengths}

    def behind(run: RunPadded, x: Items[Array]) -> Items[Array]:
        longer = [
            _behind_all(array, entry) if place in counted else array
            for place, (array, entry) in enumerate(zip(x, inputs, strict=True))
        ]
        return run(longer, lengths, steps_of(x, inputs))

    single, double = (partial(behind, run) for run in runs)
    return (single, double) if counted else None


def derive(model: onnx.ModelProto, lengths: Lengths, frames: Input) -> None:
    """Compute a length from the frames in the graph, in place (3)."""
    graph = model.graph
    kept = [value for value in graph.input if value.name != lengths.name]
    del graph.input[:]
    graph.input.extend(kept)
    names = {name for node in graph.node for name in (*node.input, *node.output)}

    def new(base: str) -> str:
        name = next(n for i in range(len(names) + 1) if (n := f"{lengths.name}.{base}{i or ''}") not in names)
        names.add(name)
        return name

    axis, shape, counted, cast = (new(base) for base in ("axis", "shape", "steps", "cast"))
    form = new("form")
    graph.initializer.append(numpy_helper.from_array(np.array(frames.time_axis, np.int64), axis))
    graph.initializer.append(numpy_helper.from_array(np.array(lengths.shape, np.int64), form))
    element = next(element for element, dtype in ELEMENTS.items() if dtype == lengths.dtype)
    nodes = [
        helper.make_node("Shape", [frames.name], [shape], shape),
        helper.make_node("Gather", [shape, axis], [counted], counted, axis=0),
        helper.make_node("Cast", [counted], [cast], cast, to=element),
        helper.make_node("Reshape", [cast, form], [lengths.name], form),
    ]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)


def _behind(x: Array, rest: Array, steps: int, entry: Input) -> Array:
    """Return the first steps of one array and the rest of another."""
    first, last = np.split(x, [steps], axis=entry.time_axis)[0], np.split(rest, [steps], axis=entry.time_axis)[1]
    return np.concatenate([first, last], axis=entry.time_axis)


def _behind_all(x: Array, entry: Input) -> Array:
    """Return an array with padding behind its steps."""
    return np.pad(x, [(0, PADDING if axis == entry.time_axis else 0) for axis in range(x.ndim)])


def _close(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=CLOSE, atol=CLOSE, equal_nan=True)
