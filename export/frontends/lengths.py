"""Inputs that say how long a padded sequence is: nothing is padded in a stream, so that is how many frames there are.

1. An integer input of at most one axis, the batch, beside an input of frames may be a length. It is one if
   a. what lies beyond it does not count: zeros behind the last frame change none of the outputs before it, and
   b. it says nothing else: the outputs are not its own function, as they are of a speaker's number, unless longer
      sequences also change them by their frames; or
   c. the model runs at the number of frames, whatever that is, but not at less.
2. The original is run with it; in the graph it is computed from the frames' shape.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.frontends.sequence import PROOF_LENGTHS
from export.graph import Array, Input
from export.lengths import accepted

CLOSE = 1e-4
ELEMENTS: dict[int, str] = {TensorProto.INT32: "int32", TensorProto.INT64: "int64"}
RunPadded = Callable[[Items[Array], int], Items[Array]]
"""Runs frames with a length."""


@dataclass(frozen=True)
class Lengths:
    """An input of lengths. place: its place among all inputs."""

    name: str
    place: int
    shape: tuple[int, ...]
    dtype: str

    def of(self, steps: int) -> Array:
        """Return what the input holds for a sequence of so many steps."""
        return np.full(self.shape, steps, self.dtype)

    @property
    def note(self) -> str:
        """What is told of it."""
        return f"'{self.name}' was taken to be the sequence's length: every frame of a stream counts"


def inserted(x: Items[Array], lengths: Items[Lengths], steps: int) -> list[Array]:
    """Return all inputs of a model: frames, and lengths of so many steps in their places."""
    every = list(x)
    for entry in sorted(lengths, key=lambda entry: entry.place):
        every.insert(entry.place, entry.of(steps))
    return every


def proven(run: RunPadded, inputs: Items[Input]) -> bool:
    """Return whether a model's lengths are lengths (1)."""

    def noise(steps: int, seed: int = 0) -> list[Array]:
        return [entry.noise(steps, seed + place) for place, entry in enumerate(inputs)]

    try:
        short, long = accepted(lambda steps: run(noise(steps), steps), PROOF_LENGTHS[:2])
    except ExportError:
        return False
    frames, other = noise(long), noise(long, seed=100)
    begun = [np.take(x, range(short), axis=entry.time_axis) for x, entry in zip(frames, inputs, strict=True)]
    padded = [_behind(x, np.zeros_like(x), short, entry) for x, entry in zip(frames, inputs, strict=True)]
    changed = [_behind(x, y, short, entry) for x, y, entry in zip(frames, other, inputs, strict=True)]
    alone, whole, otherwise = run(begun, short), run(frames, long), run(changed, long)
    try:
        cut_off = run(padded, short)
    except ExportError:
        return True  # c
    for place, y in enumerate(alone):
        grown = [axis for axis, (a, b) in enumerate(zip(y.shape, whole[place].shape, strict=True)) if a != b]
        # Convolutions look over the end; far before it they do not.
        own, padded_y, whole_y, changed_y = (
            np.take(each[place], range(short // 2), axis=grown[0]) if grown else each[place]
            for each in (alone, cut_off, whole, otherwise)
        )
        if not _close(own, padded_y):  # a
            return False
        if grown and not _close(own, whole_y) and _close(whole_y, changed_y):  # b
            return False
    return True


def derive(model: onnx.ModelProto, lengths: Lengths, frames: Input) -> None:
    """Compute a length from the frames in the graph, in place (2)."""
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


def _close(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=CLOSE, atol=CLOSE, equal_nan=True)
