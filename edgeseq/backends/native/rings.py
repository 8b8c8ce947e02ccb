"""States that are windows of past rows: the past of a causal convolution, keys and values of attention, lags.

A step puts new rows behind a window and forgets as many of its first ones. Instead of moving all others, the window
slides over a memory of some twice its rows: new rows are written behind it, and the addresses by which rows of the
table read it move on. At the memory's end what is kept goes back to its start, as many steps apart as it takes for all
rows to be new. So what a kernel reads stands side by side as ever, and no step copies more than a window.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeseq.backends.native.kernels.rings import slide
from edgeseq.backends.native.plan import Array, Plan, address
from edgeseq.backends.native.program import Description, Op, Tensor
from edgeseq.backends.native.rules.rule import Given

TAKES_ROWS = {"Slice", "Reshape", "Gather", "Conv"}
"""What takes rows out of a window in any order of its axes; to others those along the last axis stand side by side."""


@dataclass(frozen=True)
class Window:
    """A state that leaves as whole[rows:] along an axis, where whole = [what enters, new rows].

    foremost: the axis comes first in memory, whatever its place, so that a row stands in one piece.
    """

    state: str
    axis: int
    rows: int
    foremost: bool


def windows(told: Description) -> Mapping[str, Window]:
    """Return a program's windows, by the tensors that hold the old rows and the new ones."""
    made = {op.output: op for op in told.ops}
    readers: dict[str, list[Op]] = {}
    for op in told.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
    entering = Counter(state.input for state in told.states)
    found: dict[str, Window] = {}
    for state in told.states:
        cut = made.get(state.output)
        joined = made.get(cut.inputs[0]) if cut is not None and cut.kind == "Slice" and cut.inputs else None
        if cut is None or joined is None or joined.kind != "Concat" or joined.inputs[:1] != [state.input]:
            continue
        before, whole, after = (told.tensors.get(name) for name in (state.input, joined.output, state.output))
        axis = joined.attributes.get("axis")
        if before is None or whole is None or after is None:
            continue
        if not isinstance(axis, int) or axis not in range(len(before.shape)):
            continue
        rows = sum(whole.shape) - sum(before.shape)
        grown = [size + rows * (place == axis) for place, size in enumerate(before.shape)]
        starts = [rows * (place == axis) for place in range(len(grown))]
        same = before.dtype == whole.dtype == after.dtype and before.shape == after.shape and whole.shape == grown
        taken = [cut.attributes.get(key) for key in ("starts", "ends", "steps")]
        if not same or taken != [starts, grown, [1] * len(grown)] or min(rows, math.prod(before.shape)) < 1:
            continue
        if entering[state.input] == 1 and joined.output not in found:
            last = axis == len(grown) - 1
            foremost = last and all(op.kind in TAKES_ROWS for op in readers[joined.output])
            found[joined.output] = Window(state.name, axis, rows, foremost)
    return found


@dataclass(frozen=True)
class State:
    """A state in a layout. array: [streams, *shape], where it stands at first; place: int64[1], its address now.

    over: what it may come to stand on, along an axis; axes: which that is, and which in memory.
    """

    array: Array
    place: Array
    over: Array
    axes: tuple[int, int]

    def now(self) -> Array:
        """Return it where it stands now, [streams, *shape]."""
        axis = self.axes[0]
        first = (int(self.place[0]) - address(self.array)) // self.array.strides[axis]
        return self.over[(slice(None),) * axis + (slice(first, first + self.array.shape[axis]),)]

    def like(self, streams: int) -> Array:
        """Return a new array of states, a stream after the other, each without gaps, in the same order in memory."""
        shape = np.moveaxis(self.array, *self.axes).shape[1:]
        return np.moveaxis(np.empty((streams, *shape), self.array.dtype), *self.axes[::-1])

    def carried(self, kept: Array) -> tuple[int, ...]:
        """Return what the engine goes by to bring streams here and back from where all are kept (`like`)."""
        lies, axis = np.moveaxis(self.array, *self.axes), self.axes[1]
        blocks = math.prod(lies.shape[1:axis])
        sizes = lies.strides[0], blocks, lies.strides[axis - 1], lies[0].nbytes // blocks
        return address(self.place), *sizes, address(kept)


def standing(plan: Plan, array: Array) -> State:
    """Return a state that stays where it is."""
    return _state(plan, array, array, (0, 0))


def _state(plan: Plan, array: Array, over: Array, axes: tuple[int, int]) -> State:
    place = plan.buffer((1,), np.int64)
    place[0] = address(array)
    return State(array, place, over, axes)


class Ring:
    """A window in a layout. whole: what a step reads, [streams, *shape], old rows and new ones."""

    def __init__(self, plan: Plan, window: Window, streams: int, tensor: Tensor) -> None:
        shape, axis = [streams, *tensor.shape], window.axis + 1
        memory = 1 if window.foremost else axis
        self._window, self._axis, self._kept = window, axis, shape.pop(axis)
        self._room = -(-self._kept // window.rows)
        shape.insert(memory, self._kept + (1 + self._room) * window.rows)
        self._lies, self._memory = plan.sliding(shape, tensor.dtype)
        over = np.moveaxis(self._lies, memory, axis)
        self.whole = self._rows(over, 0, self._kept + window.rows)
        self.state = _state(plan, self._rows(over, 0, self._kept), over, (axis, memory))

    def joined(self, plan: Plan, _: Given, __: Array, *new: Array) -> Array:
        """Write the new rows behind the old ones, as the rule of Concat would have done with all of them."""
        first = self._kept
        for part in new:
            rows = part.shape[self._axis]
            plan.copy(self._rows(self.whole, first, first + rows), part)
            first += rows
        return self.whole

    def slide(self, plan: Plan) -> None:
        """Slide on. To be called when all rows are there that read the window."""
        memory = self.state.axes[1]
        row, between = self._lies.strides[memory], self._lies.strides[memory - 1]
        followers = plan.followers(self._memory, self.state.place)
        blocks = math.prod(self._lies.shape[:memory])
        plan.row(
            slide, address(followers), len(followers), self._window.rows * row, 0, self._room, blocks, between,
            self._kept * row,
        )  # fmt: skip

    def _rows(self, array: Array, first: int, last: int) -> Array:
        return array[(slice(None),) * self._axis + (slice(first, last),)]
