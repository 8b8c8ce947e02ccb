"""What every backend does alike that runs a model file: how frames enter it, what its states are, what a flush owes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import END_STATE, Graph, ModelFile, StateTensors
from edgeseq.errors import ModelError
from edgeseq.models.stepping import Stepping
from edgeseq.types import Frames, State

FREE = -1
"""The size of what is as long as the source."""
Described = dict[str, tuple[tuple[int, ...], str]]
"""Name -> shape and type."""


class FileStep(Stepping):
    """A step model in a file that bundle.toml describes: its state is the list of the file's states, in their order."""

    def __init__(self, graph: Graph, file: ModelFile) -> None:
        super().__init__(
            frames_per_step=graph.frames_per_step,
            features=sum(graph.widths),
            outputs=sum(math.prod(tensor.shape) for tensor in graph.outputs),
            delay=graph.delay,
            max_frames=graph.max_steps,
            tokens=graph.tokens,
        )
        self._graph, self._file = graph, file
        self.variant = file.variant
        self.warm_up = graph.warm_up
        self.receptive_field = graph.receptive_field
        self._entries = entries(graph, graph.frames_per_step)
        self._at_reset = [at_reset(graph, file, index) for index in range(len(file.states))]
        self._memory: Mapping[str, NDArray[Any]] = {}
        self._held: dict[str, NDArray[Any]] = {}

    def hold(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Take what an encoder gave, by the names of the graph's held values, and start anew with it.

        Raises ModelError for what is not of the shape or the type that the decoder holds.
        """
        for entry in self._graph.held:
            given = memory[entry.name]
            if filled(entry.shape, given.shape) != list(given.shape) or given.dtype.name != entry.dtype:
                raise ModelError(
                    f"the decoder holds '{entry.name}' as {entry.dtype}{entry.shape}; given was "
                    f"{given.dtype}{list(given.shape)}."
                )
        held = {entry.name: memory[entry.name] for entry in self._graph.held if entry.enters}
        self._take(held)
        self._memory, self._held = memory, held
        begins = {state.name: state for state in self._graph.states}
        for place, state in enumerate(self._file.states):
            table = begins[state.name]
            if table.held is not None:
                self._at_reset[place] = _stored(memory[table.held].reshape(table.shape), state)
        self.reset()

    def fork(self) -> Self:
        """Return another step model on the same file, freshly reset; it holds what this one holds."""
        other = self._another()
        if self._memory:
            other.hold(self._memory)
        return other

    def _take(self, held: Mapping[str, NDArray[Any]]) -> None:
        """Make ready for what is held by the inputs' names. Raises ModelError where it cannot be."""

    @abstractmethod
    def _another(self) -> Self:
        """Return another step model on the same file that holds nothing."""

    def flush(self) -> Frames:
        """Give the outputs that the sequence, ending here, still owes: float32[outputs owed, outputs].

        They are what the original's right padding gives. The stream itself may go on: its state is left as it was.
        """
        frames = self._steps * self.frames_per_step + len(self._waiting)
        kept = self._state
        ends = [entry.name == END_STATE for entry in self._file.states]
        self._state = [np.array([frames], np.int64) if end else value for end, value in zip(ends, kept, strict=True)]
        owed = self._owed((frames + self._graph.length_offset) // self.frames_per_step)
        self._state = kept
        return owed

    def _initial(self) -> list[NDArray[Any]]:
        return list(self._at_reset)

    def _named(self, state: list[NDArray[Any]]) -> State:
        return {entry.title: value for entry, value in zip(self._file.states, state, strict=True)}

    def _ordered(self, state: State) -> list[NDArray[Any]]:
        return [state[entry.title] for entry in self._file.states]


@dataclass(frozen=True, slots=True)
class Entry:
    """How rows [frames_per_step, features] become one of the graph's inputs: columns, a shape, an order of axes."""

    name: str
    dtype: type[np.generic]
    columns: slice | None
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def entered(self) -> tuple[int, ...]:
        """The shape of the input."""
        return tuple(self.shape[axis] for axis in self.order)

    def enter(self, x: Frames) -> NDArray[Any]:
        """Return the input."""
        part = x if self.columns is None else x[..., self.columns]
        return np.asarray(part, self.dtype).reshape(self.shape).transpose(self.order)


def entries(graph: Graph, frames: int) -> list[Entry]:
    """Return how so many frames enter each of a graph's inputs."""
    found, start = [], 0
    for tensor, width in zip(graph.inputs, graph.widths, strict=True):
        axis = tensor.time_axis
        rest = [size for place, size in enumerate(tensor.shape) if place != axis]
        order = [place + 1 if place < axis else 0 if place == axis else place for place in range(len(tensor.shape))]
        columns = None if len(graph.inputs) == 1 else slice(start, start + width)
        dtype: type[np.generic] = np.int64 if tensor.dtype == "int64" else np.float32
        found.append(Entry(tensor.name, dtype, columns, (frames, *rest), tuple(order)))
        start += width
    return found


def filled(said: Sequence[int], found: Sequence[int], free: int = FREE) -> list[int]:
    """Return a shape with the sizes that are free as they were found, and the others as they are said to be."""
    if len(said) != len(found):
        return list(said)
    return [there if size == free else size for size, there in zip(said, found, strict=True)]


def described(graph: Graph, file: ModelFile) -> tuple[Described, Described]:
    """Return the inputs and the outputs that a file has by bundle.toml."""
    shapes: Mapping[str, tuple[int, ...]] = {state.name: tuple(state.shape) for state in graph.states}
    entering: Described = {tensor.name: (tuple(tensor.shape), tensor.dtype) for tensor in graph.inputs}
    leaving: Described = {tensor.name: (tuple(tensor.shape), tensor.dtype) for tensor in graph.outputs}
    entering |= {held.name: (tuple(held.shape), held.dtype) for held in graph.held if held.enters}
    entering |= {state.input: (shapes[state.name], state.dtype) for state in file.states}
    leaving |= {state.output: (shapes[state.name], state.dtype) for state in file.states}
    return entering, leaving


def at_reset(graph: Graph, file: ModelFile, index: int) -> NDArray[Any]:
    """Return a state's value at reset as the file takes it: quantized where the file's state is."""
    entry = file.states[index]
    table = next(state for state in graph.states if state.name == entry.name)
    real = np.broadcast_to(np.asarray(table.initial, np.float64).reshape(-1), int(np.prod(table.shape)))
    return _stored(real.reshape(table.shape), entry)


def _stored(real: NDArray[Any], entry: StateTensors) -> NDArray[Any]:
    """Return a state's real values as the file takes them."""
    if entry.scale is not None:
        limits = np.iinfo(entry.dtype)
        real = np.clip(np.rint(real / entry.scale) + entry.zero_point, limits.min, limits.max)
    if entry.half == "low":
        real = real - real.astype(entry.dtype)
    return real.astype(entry.dtype)
