"""A program laid out: inputs, operations, outputs, and the states that are handed on when a step is done.

Operations come in three parts: those that read no state, those that read nothing but states, and the rest. The engine
takes the first two in turns (engine.py), and computes the first part of many steps at once (ahead.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from edgeseq.backends.native import engine
from edgeseq.backends.native.plan import Array, Plan, address
from edgeseq.backends.native.program import Input, Op, Program, Tensor
from edgeseq.backends.native.rings import Ring, State, standing, windows
from edgeseq.backends.native.rules import rule
from edgeseq.backends.native.rules.elementwise import cast
from edgeseq.backends.native.rules.rule import Given
from edgeseq.backends.native.sections import Sections, sections
from edgeseq.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]
NOTHING: Shapes = MappingProxyType({})
DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "bool")

LONG_BYTES = 1 << 19
"""A step that goes through more takes several microseconds, ten times what the interpreter's lock takes to hand on."""


@dataclass(frozen=True)
class Layout:
    """What the engine runs. board: its numbers; by name, states, and where what is held stands, [streams, *shape].

    known: by name, what the first part gives the others, [streams or 1, *shape]; a stream's has no gaps. outputs: by
    their tensors, as they are; those of a program that runs once leave nowhere else.
    """

    program: Program
    board: Array
    states: Mapping[str, State]
    known: Mapping[str, Array]
    held: Mapping[str, Array]
    outputs: Sequence[Array]
    parts: Sections
    plan: Plan

    @cached_property
    def address(self) -> int:
        """Where the board stands; whoever gives it to the engine holds the layout meanwhile."""
        return address(self.board)


def laid_out(program: Program, streams: int, like: Layout | None = None, held: Shapes = NOTHING) -> Layout:
    """Lay a program out for so many streams. Raises ModelError naming the operation that cannot be.

    like: another layout of the program, whose constants this one shares. held: the shapes of what is held, where they
    are not those that the file gives.
    """
    try:
        return Layer(program, streams, like, held).layout()
    except ModelError:
        raise
    except Exception as cause:  # a file from outside may be wrong in any way
        raise ModelError(f"{program.path}: cannot be laid out: {_said(cause)}. Export it again.") from cause


def _said(cause: Exception) -> str:
    """Return an error's own words on one line."""
    return " ".join(str(cause).split()) or type(cause).__name__


def _constant(plan: Plan, op: Given) -> Array:
    return plan.stored(op.arrays["value"])[None]


class Layer:
    """Lays out one program, part by part."""

    def __init__(
        self, program: Program, streams: int, like: Layout | None, held: Shapes, *, ahead: bool = False
    ) -> None:
        self.program, self.streams, self.held = program, streams, held
        self.told = program.description
        self.plan = Plan(like.plan.constants if like is not None else (), ahead=ahead)
        self.parts = sections(self.told) if like is None else like.parts
        self.values: dict[str, Array] = {}
        self.rings: dict[str, Ring] = {}

    def layout(self) -> Layout:
        """Lay out the whole."""
        told, plan = self.told, self.plan
        entering = self.entered()
        known = self.first()
        first = len(plan.rows)
        states = self._states()
        held = {name: self._new(name) for name in told.held}
        for op in self.parts.of_states:
            self._op(op)
        second = len(plan.rows)
        for op in self.parts.rest:
            self._op(op)
        outputs = [self.values[name] for name in told.outputs]
        leaving = self._leaving(outputs, [*(state.over for state in states.values()), *held.values()])
        self._hand_on(states)
        board = self.board(entering)
        board[engine.FIRST], board[engine.SECOND] = first, second
        board[engine.LEAVING], board[engine.LEAVE] = address(leaving), leaving.shape[1]
        board[engine.LONG] = plan.bytes > LONG_BYTES
        return Layout(self.program, board, states, known, held, outputs, self.parts, plan)

    def entered(self) -> Array:
        """Make the place where frames enter, float32[streams, frames, features], and the inputs of it."""
        features = max((entry.last for entry in self.told.inputs), default=0)
        entering = self.plan.buffer((self.streams, self.told.frames, features), np.float32)
        for entry in self.told.inputs:
            self.values[entry.name] = self._entered(entry, entering)
        return entering

    def first(self) -> dict[str, Array]:
        """Lay out what reads no state; return what the rest reads of it, and of the inputs."""
        for op in self.parts.of_inputs:
            self._op(op)
        for name in self.parts.known:
            value = self.values[name]
            self.values[name] = value if value[0].flags.c_contiguous else self.plan.solid(value)
        return {name: self.values[name] for name in self.parts.known}

    def board(self, entering: Array) -> Array:
        """Return the engine's numbers, as far as every layout has them. To be called when all rows are there."""
        table = self.plan.table()
        board = self.plan.buffer((engine.BOARD,), np.int64)
        board[engine.TABLE], board[engine.ROWS] = address(table), len(table)
        board[engine.ENTERING], board[engine.ENTER] = address(entering), entering[0].size
        board[engine.FRAMES], board[engine.FEATURES] = entering.shape[1:]
        board[engine.BLOCK] = self.streams
        return board

    def _tensor(self, name: str) -> Tensor:
        tensor = self.told.tensors.get(name)
        if tensor is None or tensor.dtype not in DTYPES:
            raise ModelError(f"{self.program.path}: says nothing of the tensor '{name}'. Export it again.")
        return tensor

    def _new(self, name: str) -> Array:
        tensor = self._tensor(name)
        shape = self.held.get(name, tuple(tensor.shape))
        self.values[name] = self.plan.buffer((self.streams, *shape), tensor.dtype)
        return self.values[name]

    def _states(self) -> dict[str, State]:
        """Make the places of states, by name; those that are windows get room to slide in."""
        sliding = {window.state: (whole, window) for whole, window in windows(self.told).items()}
        states: dict[str, State] = {}
        for state in self.told.states:
            if state.name in sliding:
                whole, window = sliding[state.name]
                ring = Ring(self.plan, window, self.streams, self._tensor(state.input))
                self.rings[whole], states[state.name] = ring, ring.state
                self.values[state.input] = ring.state.array
            else:
                states[state.name] = standing(self.plan, self._new(state.input))
        return states

    def _entered(self, entry: Input, entering: Array) -> Array:
        """Return an input as a view of the frames, [streams, *shape]; a copy where it is of whole numbers."""
        tensor = self._tensor(entry.name)
        rest = [size for axis, size in enumerate(tensor.shape) if axis != entry.time_axis]
        part = entering[..., entry.first : entry.last].reshape(*entering.shape[:2], *rest)
        return cast(self.plan, np.moveaxis(part, 1, entry.time_axis + 1), tensor.dtype)

    def _op(self, op: Op) -> None:
        stored = self._tensor(op.output)
        where = f"{self.program.path}: operation '{op.output}' ({op.kind})"
        arrays = {key: self._array(name, where) for key, name in op.arrays.items()}
        applied = _constant if op.kind == "Constant" else rule(op.kind, stored)
        if op.output in self.rings:
            applied = self.rings[op.output].joined
        if applied is None:
            raise ModelError(f"{where}: this edgeseq's engine has no such operation.")
        missing = [name for name in op.inputs if name not in self.values]
        if missing:
            raise ModelError(f"{where}: reads '{missing[0]}', which nothing gives. Export it again.")
        kinds = tuple(self._tensor(name) for name in op.inputs)
        given = Given(op.kind, op.attributes, arrays, kinds, stored)
        try:
            made = applied(self.plan, given, *(self.values[name] for name in op.inputs))
        except Exception as cause:  # as above
            raise ModelError(f"{where}: cannot be laid out: {_said(cause)}. Export it again.") from cause
        # What is held in other shapes than the file gives changes those of what is made of it.
        alike = made.ndim == 1 + len(stored.shape) if self.held else made.shape[1:] == tuple(stored.shape)
        if not alike or made.dtype != stored.dtype or len(made) not in (1, self.streams):
            raise ModelError(
                f"{where}: gives {made.dtype}{made.shape[1:]}, the file says {stored.dtype}{tuple(stored.shape)}."
            )
        self.values[op.output] = made

    def _array(self, name: str, where: str) -> Array:
        if name not in self.program.arrays:
            raise ModelError(f"{where}: its array '{name}' is missing. Export it again.")
        return self.program.arrays[name]

    def _leaving(self, parts: list[Array], kept: list[Array]) -> Array:
        """Return the outputs side by side, float32[streams, outputs], where a step leaves them.

        kept: states and what is held, which may be others by the time that outputs are read.
        """
        if self.told.held and not self.told.inputs:
            return self.plan.buffer((self.streams, 0), np.float32)
        shapes = [tuple(self._tensor(name).shape) for name in self.told.outputs]
        if shapes != [part.shape[1:] for part in parts]:
            raise ValueError("what it gives changes its shape with what it holds")
        first = parts[0]
        solid = len(first) == self.streams and first.flags.c_contiguous and first.dtype == np.float32
        if len(parts) == 1 and solid and not any(np.may_share_memory(first, array) for array in kept):
            return first.reshape(self.streams, -1)
        width = sum(part[0].size for part in parts)
        leaving, start = self.plan.buffer((self.streams, width), np.float32), 0
        for part in parts:
            here = leaving[:, start : start + part[0].size]
            self.plan.copy(here.reshape(self.streams, *part.shape[1:]), cast(self.plan, part, "float32"))
            start += part[0].size
        return leaving

    def _hand_on(self, states: Mapping[str, State]) -> None:
        """Let what leaves as a state enter the next step. What leaves may be what another one enters as."""
        sliding = {ring.name for ring in self.rings.values()}
        staying = [state for state in self.told.states if state.name not in sliding]
        pairs = [(states[state.name].array, self.values[state.output]) for state in staying]
        pairs = [(to, value) for to, value in pairs if address(to) != address(value) or to.strides != value.strides]
        leaving = []
        for to, value in pairs:
            apart = value
            if any(np.may_share_memory(value, state.over) for state in states.values()):
                apart = self.plan.buffer(to.shape, to.dtype)
                self.plan.copy(apart, value)
            leaving.append((to, apart))
        for to, value in leaving:
            self.plan.copy(to, value)
        for ring in self.rings.values():
            ring.slide(self.plan)
