"""A sequence model as every frontend delivers it: an ONNX graph, and the original to be held against.

Outside this file frames and outputs are rows: all that the model takes, or gives, at one time side by side, in the
order of its inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeseq.bundle import MAX_TOKENS
from export.errors import ExportError, node_error
from export.graph import Array, Input
from export.lengths import accepted, multiple, runs

Run = Callable[[Items[Array]], Items[Array]]
PROOF_LENGTHS = (41, 67, 128)
IMAGE = 4
"""Axes of an input that has channels beside time and features."""


@dataclass
class Sequence:
    """A trained sequence model.

    model: ONNX graph over [.., time, ..], batch 1, time free. single: the original in float32. double: the original in
    float64. Both take the inputs with their time axes and give the outputs as they come.
    """

    model: onnx.ModelProto
    inputs: tuple[Input, ...]
    single: Run
    double: Run
    framework: str
    origin: str
    sha256: str
    window: int | None = None
    """How many steps the model was fixed to when it was built; None where its time axis was free."""
    notes: list[str] = field(default_factory=list)
    rounds: bool = False
    """Whether it rounds to integers what it computes: a quantized model. Two engines then differ by whole steps of that
    rounding, at times."""
    fixed: str | None = None
    """Why it runs at its window's length alone; None where it runs at any."""
    groups: int = 1
    """Frames that it takes side by side: its graph runs on multiples of them alone."""

    @property
    def features(self) -> int:
        """Numbers in one frame, all inputs together."""
        return sum(entry.features for entry in self.inputs)

    @property
    def tokens(self) -> bool:
        """Whether all inputs are tokens; frames are int64 then."""
        return all(entry.dtype == "int64" for entry in self.inputs)

    def to_inputs(self, frames: Array) -> list[Array]:
        """Bring frames [T, features] into the shapes and types that the model takes."""
        bounds = np.cumsum([entry.features for entry in self.inputs])[:-1]
        parts = np.split(frames, bounds, axis=1)
        return [entry.enter(part) for entry, part in zip(self.inputs, parts, strict=True)]

    def outputs(self, frames: Array, run: Run) -> NDArray[np.floating]:
        """Run the original over frames [T, features]; return [steps, outputs]; one step for a last-step model."""
        given = run(self.to_inputs(frames))
        rows = []
        for y, axis in zip(given, self.times_of_outputs, strict=True):
            rows.append(y.reshape(1, -1) if axis is None else np.moveaxis(y, axis, 0).reshape(y.shape[axis], -1))
        return np.concatenate(rows, axis=1)

    @property
    def every_step(self) -> bool:
        """Whether the model gives an output at every step, not at the last one alone."""
        return None not in self.times_of_outputs

    @property
    def times_of_outputs(self) -> tuple[int | None, ...]:
        """The outputs' time axes, found by running the original at two lengths; None where it gives one step only."""
        if not hasattr(self, "_times_of_outputs"):
            self._times_of_outputs = self._find_times()
        return self._times_of_outputs

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Lengths at which the model runs, each longer than the one before; PROOF_LENGTHS where it takes them."""
        return accepted(lambda length: self.single(self.noise(length)), PROOF_LENGTHS)

    def _find_times(self) -> tuple[int | None, ...]:
        if self.fixed is not None:
            return self._times_of_window()
        lengths = self.lengths[:2]
        found: list[int | None] = []
        outgrown = []
        runs = (self.single(self.noise(length)) for length in lengths)
        for place, (short, long) in enumerate(zip(*runs, strict=True)):
            if short.dtype != np.float32:
                raise ExportError(
                    f"{self.origin}: its output is {short.dtype}; float32 is expected. "
                    "Leave off what chooses or rounds behind it: the runtime's decider does that."
                )
            if short.ndim != long.ndim:
                raise ExportError(f"{self.origin}: the output's number of axes depends on how many steps there are.")
            grown = [axis for axis, (a, b) in enumerate(zip(short.shape, long.shape, strict=True)) if a != b]
            if len(grown) > 1:
                name = self.model.graph.output[place].name
                node = next(node for node in self.model.graph.node if name in node.output)
                raise node_error(
                    node.name or name,
                    node.op_type,
                    f"its output changes from {short.shape} to {long.shape} as the input grows from "
                    f"{' to '.join(map(str, lengths))} steps: a stream has not more than one time axis.",
                )
            found.append(grown[0] if grown else None)
            outgrown.append([y.shape[grown[0]] if grown else None for y in (short, long)])
        if any(lengths != outgrown[0] for lengths in outgrown):
            raise ExportError(
                f"{self.origin}: of its outputs, some come at every step and some at the last one alone, or they have "
                f"different lengths ({outgrown}). Leave off those that shall not be streamed."
            )
        return tuple(found)

    def _times_of_window(self) -> tuple[int | None, ...]:
        """Find the outputs' time axes at the one length at which the model runs: those of that length."""
        found: list[int | None] = []
        for y in self.single(self.noise(self.window or 0)):
            axes = [axis for axis, size in enumerate(y.shape) if size == self.window]
            if y.dtype != np.float32 or len(axes) > 1:
                raise ExportError(f"{self.fixed} Its output is {y.dtype} {list(y.shape)}, where time cannot be told.")
            found.append(axes[0] if axes else None)
        if len({axis is None for axis in found}) > 1:
            raise ExportError(f"{self.fixed} Of its outputs, some come at every step and some at the last one alone.")
        return tuple(found)

    def count_tokens(self) -> None:
        """Find out how many tokens each input of tokens knows."""
        for place, entry in enumerate(self.inputs):
            if entry.dtype != "int64":
                continue

            def run(token: int, place: int = place) -> None:
                given = self.noise(self.lengths[0] if self.fixed is None else self.window or 0)
                given[place] = np.full_like(given[place], token)
                self.single(given)

            known = replace(entry, tokens=how_many_tokens(run))
            self.inputs = (*self.inputs[:place], known, *self.inputs[place + 1 :])

    def keep(self, kept: Items[int], note: str) -> None:
        """Leave off all outputs but some, and say so."""
        single, double = self.single, self.double
        outputs = [self.model.graph.output[place] for place in kept]
        del self.model.graph.output[:]
        self.model.graph.output.extend(outputs)
        self.single = lambda x: [y for place, y in enumerate(single(x)) if place in kept]
        self.double = lambda x: [y for place, y in enumerate(double(x)) if place in kept]
        self.notes.append(note)

    def keep_streamed(self) -> None:
        """Leave off what is given at the last step alone beside outputs at every step: mostly the last states."""
        if self.fixed is not None:
            return
        short, long = (self.single(self.noise(length)) for length in self.lengths[:2])
        timed = [place for place, (a, b) in enumerate(zip(short, long, strict=True)) if a.shape != b.shape]
        if timed and len(timed) < len(short):
            left_out = [self.model.graph.output[place].name for place in range(len(short)) if place not in timed]
            self.keep(timed, f"outputs at the last step alone were left out: {', '.join(left_out)}")

    def noise(self, length: int, seed: int = 0) -> list[Array]:
        """Return seeded input of a length: normal numbers, or any tokens."""
        return [entry.noise(length, seed + place) for place, entry in enumerate(self.inputs)]


def axis_of(given: int, dims: Items[object], origin: str) -> int:
    """Return a time axis that the user named, counted from the front. Raises ExportError where there is none such."""
    if not -len(dims) <= given < len(dims):
        raise ExportError(f"{origin}: there is no axis {given}; the input has {len(dims)} axes, {list(dims)}.")
    return given % len(dims)


def batch_axis(time: int) -> int:
    """Return the axis of an input with a batch on which that is: the first, or behind the time."""
    return 1 if time == 0 else 0


def image_axis(dims: Items[object]) -> int:
    """Return where time is mostly found in [batch, channels, time, features] and [batch, time, features, 1]."""
    return 1 if dims[-1] == 1 and dims[1] != 1 else 2


def how_many_tokens(run: Callable[[int], object]) -> int | None:
    """Return how many tokens a model knows: one more than the greatest that `run` takes; None where it takes any.

    Tables end somewhere, and every engine says so where a token lies beyond; what stands behind them need not be known.
    """
    least, beyond = 0, None
    while beyond is None or beyond - least > 1:
        tried = 2 * least + 1 if beyond is None else (least + beyond) // 2
        if tried > MAX_TOKENS:
            return None
        try:
            run(tried)
        except ExportError:
            beyond = tried
        else:
            least = tried
    return least + 1


def in_groups(sequence: Sequence) -> Sequence:
    """Return a model that takes whole groups of frames alone with the frames that fill none left off."""
    count = None if sequence.window else multiple(lambda n: sequence.single(sequence.noise(n)), PROOF_LENGTHS)
    if count is None:
        return sequence
    # Beside multiples, lengths may do that padding fills up to a whole group.
    many = -(-PROOF_LENGTHS[0] // count) * count
    filled = [more for more in range(count) if runs(lambda n: sequence.single(sequence.noise(n)), many + more)]

    def whole(run: Run) -> Run:
        def cut(x: Items[Array]) -> Items[Array]:
            axes = [entry.time_axis for entry in sequence.inputs]
            length = x[0].shape[axes[0]]
            steps = range(next(n for n in range(length, -1, -1) if n % count in filled))
            return run([np.take(array, steps, axis=axis) for array, axis in zip(x, axes, strict=True)])

        return cut

    note = f"it takes frames in groups of {count}: at the end of a sequence those that fill none are left off"
    notes = [*sequence.notes, note]
    return replace(sequence, single=whole(sequence.single), double=whole(sequence.double), notes=notes, groups=count)
