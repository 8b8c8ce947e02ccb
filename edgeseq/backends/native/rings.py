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
from edgeseq.backends.native.program import State as StateNames
from edgeseq.backends.native.rules.rule import Given

TAKES_ROWS = {"Slice", "Reshape", "Gather", "Conv"}
"""What takes rows out of a window in any order of its axes. For others those along a last axis lie side by side."""


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
    entering = Counter(state.input for state in told.states)
    found: dict[str, Window] = {}
    for state in told.states:
        cut = made.get(state.output)
        joined = made.get(cut.inputs[0]) if cut is not None and cut.inputs else None
        if cut is None or joined is None or entering[state.input] > 1 or joined.output in found:
            continue
        axis = _axis(told, state, joined, cut)
        if axis is not None:
            before, whole = (told.tensors[name].shape for name in (state.input, joined.output))
            readers = {op.kind for op in told.ops if joined.output in op.inputs}
            foremost = axis == len(before) - 1 and readers <= TAKES_ROWS
            found[joined.output] = Window(state.name, axis, whole[axis] - before[axis], foremost)
    return found


def _axis(told: Description, state: StateNames, joined: Op, cut: Op) -> int | None:
    """Return the axis along which a state leaves as what is cut of what is joined; None where it is no window."""
    if (joined.kind, cut.kind) != ("Concat", "Slice") or joined.inputs[:1] != [state.input]:
        return None
    axis = joined.attributes.get("axis")
    tensors = [told.tensors.get(name) for name in (state.input, joined.output, state.output)]
    before, whole, after = ((t.dtype, t.shape) if t is not None else ("", []) for t in tensors)
    if before != after or before[0] != whole[0] or not isinstance(axis, int) or axis not in range(len(before[1])):
        return None
    rows = sum(whole[1]) - sum(before[1])
    starts = [rows * (place == axis) for place in range(len(before[1]))]
    grown = [size + more for size, more in zip(before[1], starts, strict=True)]
    taken = [cut.attributes.get(key) for key in ("starts", "ends", "steps")]
    fits = whole[1] == grown and taken == [starts, grown, [1] * len(grown)]
    return axis if fits and min(rows, math.prod(before[1])) > 0 else None


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
    """A window in a layout. name: its state's; whole: what a step reads, [streams, *shape], old rows and new ones."""

    def __init__(self, plan: Plan, window: Window, streams: int, tensor: Tensor) -> None:
        shape, axis = [streams, *tensor.shape], window.axis + 1
        memory = 1 if window.foremost else axis
        self.name, self._new, self._axis, self._kept = window.state, window.rows, axis, shape.pop(axis)
        self._room = -(-self._kept // self._new)
        shape.insert(memory, self._kept + (1 + self._room) * self._new)
        self._lies, self._memory = plan.sliding(shape, tensor.dtype)
        over = np.moveaxis(self._lies, memory, axis)
        self.whole = self._rows(over, 0, self._kept + self._new)
        self.state = _state(plan, self._rows(over, 0, self._kept), over, (axis, memory))

    def joined(self, plan: Plan, _: Given, __: Array, *new: Array) -> Array:
        """Write the new rows behind the old ones, as the rule of Concat would have done with all of them."""
        first = self._kept
        if sum(part.shape[self._axis] for part in new) != self._new:
            raise ValueError(f"joins {[part.shape[1:] for part in new]} as {self._new} new rows")
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
            slide, address(followers), len(followers), self._new * row, 0, self._room, blocks, between,
            self._kept * row,
        )  # fmt: skip

    def _rows(self, array: Array, first: int, last: int) -> Array:
        return array[(slice(None),) * self._axis + (slice(first, last),)]
