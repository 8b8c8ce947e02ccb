"""The step on edgeseq's own engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import llvmlite
import numba
import numpy as np
from numpy.typing import NDArray

from edgeseq import direct, jit
from edgeseq.backends._file_step import FileStep
from edgeseq.backends.native import call, engine
from edgeseq.backends.native.ahead import STEPS, Ahead, ahead
from edgeseq.backends.native.check import check
from edgeseq.backends.native.layout import Layout
from edgeseq.backends.native.lengths import Lengths
from edgeseq.backends.native.program import Program, read
from edgeseq.backends.native.streams import NativeStreams
from edgeseq.backends.native.whole import NativeWhole
from edgeseq.errors import ModelError
from edgeseq.models.stepping import check_content, numbers
from edgeseq.types import Frames, State

if TYPE_CHECKING:
    from edgeseq.bundle import Graph, ModelFile

log = logging.getLogger(__name__)


class NativeStep(FileStep, direct.Boarded):
    """A step model on compiled kernels: one thread, nothing allocated, no Python in a step."""

    backend = "native"

    def __init__(self, program: Program, graph: Graph, file: ModelFile, like: Layout | None = None) -> None:
        self._lengths = Lengths(program, like)
        self._layout = self._lengths.first
        self._board = self._layout.board
        self._run = engine.run.compiled
        super().__init__(graph, file)
        self._token_table = engine.tokens(graph.tokens)
        self._spares = [np.empty(self.outputs, np.float32) for _ in range(direct.SPARES)]
        self._use(self._layout)
        self.reset()

    def _take(self, held: Mapping[str, NDArray[Any]]) -> None:
        with self._alone():
            self._use(self._lengths.holding(held))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads from stepping meanwhile. Raises ModelError where one is at it: layouts may go, and do."""
        layout = self._layout
        if not direct.taken.compiled(layout.address, engine.BUSY):
            raise ModelError(engine.IN_USE_TEXT)
        try:
            if layout is not self._layout:  # it went in the very moment
                raise ModelError(engine.IN_USE_TEXT)
            yield
        finally:
            layout.board[engine.BUSY] = 0

    def reset(self) -> None:
        """Forget everything."""
        with self._alone():
            super().reset()

    def get_state(self) -> State:
        """Return a copy of the whole state, by name: the model's own, steps taken, and frames that wait."""
        with self._alone():
            return super().get_state()

    def set_state(self, state: State) -> None:
        """Take up a state that get_state gave. Raises ModelError where names, shapes or types differ."""
        with self._alone():
            super().set_state(state)

    def _use(self, layout: Layout) -> None:
        # Whoever still holds the one before must not find there what goes now.
        self._board[engine.AHEAD] = layout.board[engine.AHEAD] = 0
        self._ahead: Ahead | Literal[False] | None = None
        direct.put(NativeStep, "step", call.step, self)
        board = layout.board
        board[engine.PYTHON] = direct.address()
        board[engine.SPARES : engine.SPARES + direct.SPARES] = [id(spare) for spare in self._spares]
        board[engine.DELAY] = self._graph.delay
        board[engine.END] = engine.end(self._graph.max_steps, self.frames_per_step)
        board[engine.TOKENS], board[engine.TOKEN_COUNT] = self._token_table.ctypes.data, len(self._token_table)
        self._layout, self._board = layout, board

    def _another(self) -> Self:
        return type(self)(self._layout.program, self._graph, self._file, self._lengths.first)

    # What Stepping holds as numbers and arrays of its own stands where the compiled code finds it.
    @property
    def _steps(self) -> int:
        return int(self._board[engine.STEPS])

    @_steps.setter
    def _steps(self, value: int) -> None:
        self._board[engine.STEPS] = value

    @property
    def _waiting(self) -> Frames:
        return self._kept_frames

    @_waiting.setter
    def _waiting(self, value: Frames) -> None:
        self._kept_frames = value
        self._board[engine.WAITING] = len(value)

    @property
    def _state(self) -> list[NDArray[Any]]:
        return [self._layout.states[entry.name].now()[0].copy() for entry in self._file.states]

    @_state.setter
    def _state(self, values: list[NDArray[Any]]) -> None:
        for entry, value in zip(self._file.states, values, strict=True) if values else ():
            self._layout.states[entry.name].now()[0] = value

    def step(self, x: Frames, out: Frames | None = None) -> Frames:
        """Take the frames of one step; give float32[outputs], written to `out` where given."""
        # For arrays of any form, and for what is wrong with one. Others are taken by call.py, in this one's place.
        return super().step(x, out)

    def run(self, x: Frames) -> Frames:
        """Take float32[T, features], any T; give float32[steps, outputs]. Equals single steps bit for bit.

        What ends a run of more than engine.SLICE steps before its end, as Ctrl-C, leaves the model as it was before.
        """
        x = numbers(x)
        if x.ndim != 2 or x.shape[1] != self.features:  # noqa: PLR2004 - frames are a matrix
            return super().run(x)
        count, rest = divmod(len(self._waiting) + len(x), self.frames_per_step)
        if rest or x.dtype != np.float32:
            check_content(x, self._tokens)
        frames = np.concatenate([self._waiting, x]) if len(self._waiting) else x
        used, left = engine.plain(frames[: len(frames) - rest]), np.array(frames[len(frames) - rest :], np.float32)
        y = np.empty((count, self.outputs), np.float32)
        if count >= STEPS and self._ahead is None:
            self._look_ahead()
        before, kept = self._steps, self.get_state() if count > engine.SLICE else None
        try:
            if self._ran(used, y):
                self._waiting = left
                return y
            if kept is not None:
                self.set_state(kept)
        except BaseException:
            # What interrupts a call that lets go of the interpreter is raised when it is through.
            if kept is not None:
                self.set_state(kept)
            elif self._steps != before:
                self._waiting = left
            raise
        return super().run(x)  # which tells what is wrong

    def _ran(self, x: Frames, y: Frames) -> bool:
        """Make the steps of frames, so many at a time that they can be interrupted; say whether all are made."""
        layout, most, per_step = self._layout, engine.SLICE, self.frames_per_step
        if len(y) <= most:
            return bool(self._run(layout.address, x, y) == engine.DONE)
        parts = ((x[at * per_step : (at + most) * per_step], y[at : at + most]) for at in range(0, len(y), most))
        return all(self._run(layout.address, *part) == engine.DONE for part in parts)

    def _look_ahead(self) -> None:
        """Have what reads no state computed for many steps at once, from now on."""
        with self._alone():
            self._ahead = ahead(self._layout) or False
            if self._ahead:
                board, links = self._ahead.board, self._ahead.links
                self._board[engine.AHEAD], self._board[engine.LINKS] = board.ctypes.data, links.ctypes.data
                self._board[engine.LINK_COUNT] = len(links)

    def _compute(self, x: Frames) -> Frames:
        y = np.empty(self.outputs, np.float32)
        layout = self._layout
        if engine.compute.compiled(layout.address, engine.plain(x).reshape(-1), y) == engine.IN_USE:
            raise ModelError(engine.IN_USE_TEXT)
        return y


def open_step(path: Path, graph: Graph, file: ModelFile, streams: int = 1) -> NativeStep | NativeStreams:
    """Open a native program for one stream or many and hold it against bundle.toml. Raises ModelError."""
    program = _checked(path, graph, file)
    if streams != 1 and program.description.held:
        raise ModelError(f"{path}: holds what an encoder gives, which is one stream's; load it for one.")
    return NativeStep(program, graph, file) if streams == 1 else NativeStreams(program, graph, file, streams)


def open_whole(path: Path, graph: Graph, file: ModelFile) -> NativeWhole:
    """Open an encoder, or a part of one, that runs once and hold it against bundle.toml. Raises ModelError."""
    return NativeWhole(_checked(path, graph, file), graph)


def _checked(path: Path, graph: Graph, file: ModelFile) -> Program:
    program = read(path)
    check(program, graph, file)
    if jit.cold("engine"):
        log.warning(
            "the native engine's kernels are being compiled for this machine, once, which takes some seconds; `edgeseq "
            "warmup` does it ahead of time."
        )
    return program


def library() -> str:
    """Return what steps run on: the engine, by its kernels' sum, and what compiles them."""
    return f"edgeseq engine {jit.version()}, numba {numba.__version__}, llvmlite {llvmlite.__version__}"
