"""Many streams through one model at once: what is read of the weights is read for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends._file_step import at_reset
from edgeseq.backends.native import engine
from edgeseq.backends.native.layout import Layout, laid_out
from edgeseq.backends.native.program import Program, bytes_a_stream
from edgeseq.bundle import END_STATE
from edgeseq.errors import ModelError
from edgeseq.models.stepping import STEPS, WAITING, check_content, check_out, check_state, numbers
from edgeseq.types import Frames, State

if TYPE_CHECKING:
    from edgeseq.bundle import Graph, ModelFile

Mask = NDArray[np.bool_]
BLOCK_BYTES = 1 << 18
"""What the tensors of streams that are computed side by side may take, to stay in a second-level cache."""
MOST, LEAST = 64, 4
"""Streams side by side."""


class NativeStreams:
    """A step model of so many independent streams: rows of streams in, rows of streams out.

    A mask says which streams step; the others keep their state bit for bit, and their outputs are NaN. Every stream has
    its own state, count of steps and frames that wait.
    """

    backend = "native"

    def __init__(
        self, program: Program, graph: Graph, file: ModelFile, streams: int, like: Layout | None = None
    ) -> None:
        self._graph, self._file, self.streams = graph, file, streams
        self.variant, self.delay, self.warm_up = file.variant, graph.delay, graph.warm_up
        self.frames_per_step, self.receptive_field = graph.frames_per_step, graph.receptive_field
        self.features = sum(graph.widths)
        fitting = max(BLOCK_BYTES // max(bytes_a_stream(program), 1), 1)
        side_by_side = min(max(1 << (fitting.bit_length() - 1), LEAST), MOST, streams)
        self._layout = laid_out(program, side_by_side, like)
        self._board = self._layout.board
        self.outputs = int(self._board[engine.LEAVE])
        self._board[engine.DELAY] = graph.delay
        self._board[engine.END] = engine.end(graph.max_steps, graph.frames_per_step)
        self._tokens = graph.tokens
        self._token_table = engine.tokens(graph.tokens)
        self._board[engine.TOKENS], self._board[engine.TOKEN_COUNT] = (
            self._token_table.ctypes.data,
            len(self._token_table),
        )
        self._first = [at_reset(graph, file, index) for index in range(len(file.states))]
        states = [self._layout.states[entry.name] for entry in file.states]
        self._state = [state.like(streams) for state in states]
        for kept, first in zip(self._state, self._first, strict=True):
            kept[...] = first
        table = [state.carried(kept) for state, kept in zip(states, self._state, strict=True)]
        self._table = np.array(table, np.int64).reshape(-1, engine.STATE)
        self._board[engine.STATES], self._board[engine.STATE_COUNT] = self._table.ctypes.data, len(self._table)
        self._steps = np.zeros(streams, np.int64)
        self._waiting: Frames = np.empty((streams, 0, self.features), np.float32)
        self._all = np.arange(streams)

    def reset(self, mask: Mask | None = None) -> None:
        """Forget everything, of the streams of a mask alone where there is one."""
        chosen = self._chosen(mask)
        if mask is not None and len(chosen) < self.streams and self._waiting.shape[1]:
            raise ModelError(
                f"{self._waiting.shape[1]} frames of an unfinished step wait in every stream; finish it with run, or "
                "reset all streams."
            )
        for kept, first in zip(self._state, self._first, strict=True):
            kept[chosen] = first
        self._steps[chosen] = 0
        if len(chosen) == self.streams:
            self._waiting = self._waiting[:, :0]

    def step(self, x: Frames, out: Frames | None = None, mask: Mask | None = None) -> Frames:
        """Take the frames of one step of every stream: float32[streams, features], or [streams, frames, features].

        Gives float32[streams, outputs], in `out` where given; NaN in rows that the mask, bool[streams], leaves out.
        """
        x = numbers(x)
        wanted: tuple[int, ...] = (self.streams, self.features)
        if self.frames_per_step > 1:
            wanted = (self.streams, self.frames_per_step, self.features)
        if x.shape != wanted:
            raise ModelError(f"a step of {self.streams} streams takes frames of shape {wanted}, not {x.shape}.")
        if out is not None:
            check_out(out, (self.streams, self.outputs))
        if self._waiting.shape[1]:
            raise ModelError(f"{self._waiting.shape[1]} frames of an unfinished step wait; finish it with run.")
        y: Frames = self._compute(x.reshape(1, self.streams, -1), self._chosen(mask))[0]
        if out is None:
            return y
        out[:] = y
        return out

    def run(self, x: Frames) -> Frames:
        """Take float32[T, streams, features], any T; give float32[steps, streams, outputs].

        Equals single steps bit for bit. Frames that do not fill a step wait for the next call. What ends a run before
        its end, as Ctrl-C, leaves all streams as they were before.
        """
        x = numbers(x)
        if x.ndim != 3 or x.shape[1:] != (self.streams, self.features):  # noqa: PLR2004 - time, streams, features
            raise ModelError(f"run takes frames of shape (T, {self.streams}, {self.features}), not {x.shape}.")
        rows = x.transpose(1, 0, 2)
        check_content(rows, self._tokens)
        frames = np.concatenate([self._waiting, rows], axis=1)
        count, rest = divmod(frames.shape[1], self.frames_per_step)
        used = frames[:, : frames.shape[1] - rest].reshape(self.streams, count, -1).transpose(1, 0, 2)
        left = np.array(frames[:, frames.shape[1] - rest :], np.float32)
        kept = [value.copy() for value in self._state], self._steps.copy()
        y = np.empty((count, self.streams, self.outputs), np.float32)
        try:
            for at in range(0, count, engine.SLICE):
                part = slice(at, at + engine.SLICE)
                y[part] = self._compute(used[part], self._all)
            self._waiting = left
        except BaseException:
            self._restore(*kept)
            raise
        return y

    def flush(self) -> Frames:
        """Give the outputs that every sequence, ending here, still owes: float32[outputs owed, streams, outputs].

        The streams themselves may go on: their states are left as they were.
        """
        waiting, per_step = self._waiting.shape[1], self.frames_per_step
        frames = self._steps * per_step + waiting
        owed = self.delay + (waiting + self._graph.length_offset) // per_step
        kept = [value.copy() for value in self._state], self._steps.copy()
        for entry, value in zip(self._file.states, self._state, strict=True):
            if entry.name == END_STATE:
                value[:, 0] = frames
        padded = np.zeros((max(owed, 0), self.streams, per_step * self.features), np.float32)
        padded[:1, :, : waiting * self.features] = self._waiting.reshape(1, self.streams, -1)
        end, self._board[engine.END] = self._board[engine.END], engine.NO_END
        try:
            return self._compute(padded, self._all)
        finally:
            self._board[engine.END] = end
            self._restore(*kept)

    def _restore(self, state: list[NDArray[Any]], steps: NDArray[np.int64]) -> None:
        for value, before in zip(self._state, state, strict=True):
            value[...] = before
        self._steps[...] = steps

    def get_state(self) -> State:
        """Return a copy of the whole state, by name, a row a stream: the model's own, steps taken, frames that wait."""
        state: State = {entry.name: value.copy() for entry, value in self._own()}
        return {**state, STEPS: self._steps.copy(), WAITING: self._waiting.copy()}

    def set_state(self, state: State) -> None:
        """Take up a state that get_state gave. Raises ModelError where names, shapes or types differ."""
        expected: State = {entry.name: value for entry, value in self._own()}
        expected[STEPS] = self._steps
        check_state(state, expected)
        waiting = state[WAITING]
        fits = waiting.ndim == 3 and waiting.shape[::2] == (self.streams, self.features)  # noqa: PLR2004
        if not fits or waiting.shape[1] >= self.frames_per_step:
            raise ModelError(f"the state's waiting frames have the shape {waiting.shape}.")
        for name, value in expected.items():
            value[...] = state[name]
        self._waiting = np.array(waiting, np.float32)

    def fork(self) -> NativeStreams:
        """Return another model of as many streams on the same program, freshly reset."""
        return NativeStreams(self._layout.program, self._graph, self._file, self.streams, self._layout)

    def _own(self) -> list[tuple[Any, NDArray[Any]]]:
        return list(zip(self._file.states, self._state, strict=True))

    def _chosen(self, mask: Mask | None) -> NDArray[np.int64]:
        if mask is None:
            return self._all
        mask = np.asanyarray(mask)
        if mask.shape != (self.streams,) or mask.dtype != np.bool_:
            raise ModelError(f"a mask of {self.streams} streams is bool[{self.streams}], not {mask.dtype}{mask.shape}.")
        return np.flatnonzero(mask)

    def _compute(self, x: Frames, chosen: NDArray[np.int64]) -> Frames:
        """Make steps [T, streams, frames * features] of the chosen streams. Raises ModelError for wrong frames."""
        y = np.empty((len(x), self.streams, self.outputs), np.float32)
        solid = engine.plain(x)
        code = engine.streams.compiled(self._board.ctypes.data, chosen, self._steps, solid, y)
        if code == engine.IN_USE:
            raise ModelError(engine.IN_USE_TEXT)
        if code == engine.FULL:
            raise ModelError(f"the model is made for {self._graph.max_steps} frames from a reset; reset it.")
        if code != engine.DONE:
            check_content(x.reshape(*x.shape[:2], self.frames_per_step, -1)[:, chosen], self._tokens)
        return y
