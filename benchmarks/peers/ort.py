"""onnxruntime, called both ways: `session.run` with arrays, and with what goes in and out bound beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Contender, fastest
from benchmarks.peers.stepfile import StepFile
from edgeseq.backends import settings
from edgeseq.types import Frames

settings.turn_off_telemetry()
import onnxruntime as ort  # noqa: E402 - it looks for the switch when it loads

RUN, BINDING, WHOLE = "onnxruntime, session.run", "onnxruntime, IOBinding", "onnxruntime, one call"
ARENA = {True: "memory arena", False: "no memory arena"}


def session(file: StepFile, *, arena: bool) -> Any:
    """Open a file: one thread, no spinning, every optimization."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 4
    return ort.InferenceSession(str(file.path), options, providers=["CPUExecutionProvider"])


class Run:
    """By `session.run`: arrays go in by name, new ones come out, the states go in again."""

    def __init__(self, file: StepFile, *, arena: bool) -> None:
        self._run, self._file = session(file, arena=arena).run, file
        self._enter = [state.input for state in file.states]
        self._fetch = [state.output for state in file.states]
        if file.output not in self._fetch:
            self._fetch.append(file.output)
        self._place, self._name = self._fetch.index(file.output), file.frame
        self._feeds: dict[str, NDArray[Any]] = {}
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._feeds = {state.input: state.initial for state in self._file.states}

    def step(self, x: Frames) -> NDArray[Any]:
        """Make one call."""
        feeds = self._feeds
        feeds[self._name] = x
        results = self._run(self._fetch, feeds)
        feeds.update(zip(self._enter, results, strict=False))
        return results[self._place]  # type: ignore[no-any-return]


class BareRun(Run):
    """The same where the only state is the output: without the loops, which are a tenth of a small step."""

    def __init__(self, file: StepFile, *, arena: bool) -> None:
        super().__init__(file, arena=arena)
        (self._h,) = self._enter

    def step(self, x: Frames) -> NDArray[Any]:
        """Make one call."""
        feeds = self._feeds
        feeds[self._name] = x
        y: NDArray[Any] = self._run(self._fetch, feeds)[0]
        feeds[self._h] = y
        return y


class Bound:
    """By IOBinding: two bindings take turns, each reading the states that the other wrote; nothing is allocated."""

    def __init__(self, file: StepFile, shape: Sequence[int], *, arena: bool) -> None:
        opened = session(file, arena=arena)
        self._run, self._file, self._turn = opened.run_with_iobinding, file, 0
        self._x = np.zeros(shape, np.float32)
        self._states = [[state.initial.copy() for state in file.states] for _ in range(2)]
        shapes = {value.name: value.shape for value in opened.get_outputs()}
        names = [state.output for state in file.states]
        self._bindings, self._outputs = [], []
        for turn in range(2):
            binding = opened.io_binding()
            _bind(binding.bind_input, file.frame, self._x)
            for state, before, after in zip(file.states, self._states[turn], self._states[1 - turn], strict=True):
                _bind(binding.bind_input, state.input, before)
                _bind(binding.bind_output, state.output, after)
            if file.output in names:
                self._outputs.append(self._states[1 - turn][names.index(file.output)])
            else:
                self._outputs.append(np.zeros(shapes[file.output], np.float32))
                _bind(binding.bind_output, file.output, self._outputs[-1])
            self._bindings.append(binding)

    def reset(self) -> None:
        """Forget everything."""
        self._turn = 0
        for buffer, state in zip(self._states[0], self._file.states, strict=True):
            buffer[:] = state.initial

    def step(self, x: Frames) -> NDArray[Any]:
        """Make one call; the output stays where it was written, until the call after the next."""
        turn = self._turn
        self._x[:] = x
        self._run(self._bindings[turn])
        self._turn = 1 - turn
        return self._outputs[turn]


def stepping(file: StepFile, frames: Sequence[Frames]) -> list[Contender]:
    """Return a file's steps by `session.run` and by IOBinding, each in its faster setting of the memory arena."""
    run, shape = BareRun if file.bare else Run, frames[0].shape
    return [
        fastest([_contender(RUN, run(file, arena=arena), frames, 1, arena=arena) for arena in ARENA]),
        fastest([_contender(BINDING, Bound(file, shape, arena=arena), frames, 1, arena=arena) for arena in ARENA]),
    ]


def whole(file: StepFile, x: Frames) -> Contender:
    """Return a file that takes many steps in one call, by `session.run`."""
    return fastest([_contender(WHOLE, Run(file, arena=arena), [x], len(x), arena=arena) for arena in ARENA])


def _contender(name: str, peer: Run | Bound, frames: Sequence[Frames], steps: int, *, arena: bool) -> Contender:
    return Contender(name, peer.step, [(x,) for x in frames], peer.reset, steps, ARENA[arena])


def _bind(way: Any, name: str, array: NDArray[Any]) -> None:
    """Bind an array's memory itself."""
    way(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
