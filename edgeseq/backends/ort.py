"""The step on ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import END_STATE
from edgeseq.errors import ModelError
from edgeseq.types import Frames, State

if TYPE_CHECKING:
    from edgeseq.bundle import Graph, ModelFile

# onnxruntime's wheels send telemetry unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

STEPS, WAITING = "steps", "waiting"
"""Names under which get_state gives what the model file does not hold: steps taken, frames of an unfinished step."""


class OrtStep:
    """A step model on ONNX Runtime: one thread, no spinning, states handed from call to call without a copy.

    step takes float32[features] ([frames_per_step, features] where that is above 1) and gives float32[outputs]; the
    first `delay` outputs do not exist and are NaN. Raises ModelError for a wrong shape, a frame that is not finite (it
    would stay in the state for ever), or a file that is not what bundle.toml says.
    """

    backend = "ort"

    def __init__(self, session: ort.InferenceSession, graph: Graph, file: ModelFile) -> None:
        self._session, self._graph, self._file = session, graph, file
        self.variant = file.variant
        self.frames_per_step = graph.frames_per_step
        self.delay = graph.delay
        self.warm_up = graph.warm_up
        self.receptive_field = graph.receptive_field
        self.features = int(np.prod(graph.inputs[0].shape)) // graph.frames_per_step
        self.outputs = int(np.prod(graph.outputs[0].shape))
        self._input = graph.inputs[0].name
        self._layout = _layout(graph)
        self._fetch = [graph.outputs[0].name, *(state.output for state in file.states)]
        self._enter = [state.input for state in file.states]
        self._initial = [_initial(graph, file, index) for index in range(len(file.states))]
        self._state: list[NDArray[Any]] = []
        self._steps = 0
        self._waiting: Frames = np.empty((0, self.features), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._state = list(self._initial)
        self._steps = 0
        self._waiting = self._waiting[:0]

    def step(self, x: Frames, out: Frames | None = None) -> Frames:
        """Take the frames of one step; give float32[outputs], written to `out` where given."""
        shape = (self.features,) if self.frames_per_step == 1 else (self.frames_per_step, self.features)
        if x.shape != shape:
            raise ModelError(f"a step takes frames of shape {shape}, not {x.shape}.")
        self._check_room(1)
        if len(self._waiting):
            raise ModelError(f"{len(self._waiting)} frames of an unfinished step wait; finish it with run.")
        _check_finite(x)
        y = self._advance(x)
        if out is None:
            return y
        out[:] = y
        return out

    def run(self, x: Frames) -> Frames:
        """Take float32[T, features], any T; give float32[steps, outputs]. Equals single steps bit for bit.

        Frames that do not fill a step wait for the next call.
        """
        if x.ndim != 2 or x.shape[1] != self.features:  # noqa: PLR2004 - frames are a matrix
            raise ModelError(f"run takes frames of shape (T, {self.features}), not {x.shape}.")
        _check_finite(x)
        frames = np.concatenate([self._waiting, x]) if len(self._waiting) else x
        count = len(frames) // self.frames_per_step
        self._check_room(count)
        y = np.empty((count, self.outputs), np.float32)
        for row in range(count):
            y[row] = self._advance(frames[row * self.frames_per_step : (row + 1) * self.frames_per_step])
        self._waiting = np.array(frames[count * self.frames_per_step :], np.float32)
        return y

    def flush(self) -> Frames:
        """Give the outputs that the sequence, ending here, still owes: float32[outputs owed, outputs].

        They are what the original's right padding gives. The stream itself may go on: its state is left as it was.
        """
        frames = self._steps * self.frames_per_step + len(self._waiting)
        total = (frames + self._graph.length_offset) // self.frames_per_step
        first = self._steps - self.delay
        kept = self._state, self._steps, self._waiting
        for index, entry in enumerate(self._file.states):
            if entry.name == END_STATE:
                self._state = [*self._state[:index], np.array([frames], np.int64), *self._state[index + 1 :]]
        rows = []
        padded = np.zeros((self.frames_per_step, self.features), np.float32)
        padded[: len(self._waiting)] = self._waiting
        for index in range(first, total):
            y = self._advance(padded)
            padded = np.zeros_like(padded)
            if index >= 0:
                rows.append(y)
        self._state, self._steps, self._waiting = kept
        return np.array(rows, np.float32).reshape(len(rows), self.outputs)

    def get_state(self) -> State:
        """Return a copy of the whole state, by name: the model's own, steps taken, and frames that wait."""
        state: State = {entry.name: value.copy() for entry, value in zip(self._file.states, self._state, strict=True)}
        return {**state, STEPS: np.array(self._steps, np.int64), WAITING: self._waiting.copy()}

    def set_state(self, state: State) -> None:
        """Take up a state that get_state gave. Raises ModelError where names, shapes or types differ."""
        expected = {entry.name: value for entry, value in zip(self._file.states, self._initial, strict=True)}
        if set(state) != {*expected, STEPS, WAITING}:
            raise ModelError(f"the state has {sorted(state)}, the model wants {sorted({*expected, STEPS, WAITING})}.")
        for name, value in expected.items():
            if state[name].shape != value.shape or state[name].dtype != value.dtype:
                raise ModelError(
                    f"the state '{name}' is {state[name].dtype}{state[name].shape}, "
                    f"the model wants {value.dtype}{value.shape}."
                )
        waiting = state[WAITING]
        if waiting.ndim != 2 or waiting.shape[1] != self.features or len(waiting) >= self.frames_per_step:  # noqa: PLR2004
            raise ModelError(f"the state's waiting frames have the shape {waiting.shape}.")
        self._state = [state[name].copy() for name in expected]
        self._steps = int(state[STEPS])
        self._waiting = np.array(waiting, np.float32)

    def fork(self) -> Self:
        """Return another step model on the same session, freshly reset."""
        return type(self)(self._session, self._graph, self._file)

    def _check_room(self, count: int) -> None:
        """Refuse steps for which the model has no position or memory: they would be wrong in silence."""
        limit = self._graph.max_steps
        if limit is not None and (self._steps + count) * self.frames_per_step > limit:
            raise ModelError(f"the model is made for {limit} frames from a reset; reset it.")

    def _advance(self, x: Frames) -> Frames:
        """Make one step on checked frames."""
        feeds = dict(zip(self._enter, self._state, strict=True))
        feeds[self._input] = np.asarray(x, np.float32).reshape(self._layout[0]).transpose(self._layout[1])
        y, *self._state = self._session.run(self._fetch, feeds)
        self._steps += 1
        if self._steps <= self.delay:
            return np.full(self.outputs, np.nan, np.float32)
        return np.asarray(y.reshape(self.outputs))


def _layout(graph: Graph) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how frames [frames_per_step, features] become the graph's input: a shape, then an order of axes."""
    shape, axis = tuple(graph.inputs[0].shape), graph.inputs[0].time_axis
    rest = [size for place, size in enumerate(shape) if place != axis]
    order = [place + 1 if place < axis else 0 if place == axis else place for place in range(len(shape))]
    return (graph.frames_per_step, *rest), tuple(order)


def _check_finite(x: Frames) -> None:
    if not np.isfinite(x).all():
        raise ModelError("a frame holds NaN or infinity, which the model's state would never forget.")


def open_step(path: Path, graph: Graph, file: ModelFile) -> OrtStep:
    """Open a step model's ONNX file and hold its inputs and outputs against bundle.toml. Raises ModelError."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(f"{path}: this version runs graphs of one input and one output.")
    session = open_session(path)
    _check(path, session, graph, file)
    return OrtStep(session, graph, file)


def open_session(path: Path) -> ort.InferenceSession:
    """Open an ONNX file: one thread, no spinning. Raises ModelError with ONNX Runtime's first sentence."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as cause:
        reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ModelError(f"{path}: ONNX Runtime {ort.__version__} cannot load it: {reason}") from cause


def _check(path: Path, session: ort.InferenceSession, graph: Graph, file: ModelFile) -> None:
    """Compare the file's inputs and outputs with what bundle.toml says of them."""
    shapes = {state.name: tuple(state.shape) for state in graph.states}
    entering = {graph.inputs[0].name: (tuple(graph.inputs[0].shape), "float32")}
    leaving = {graph.outputs[0].name: (tuple(graph.outputs[0].shape), "float32")}
    for state in file.states:
        entering[state.input] = leaving[state.output] = (shapes[state.name], state.dtype)
    for what, said, found in (("input", entering, session.get_inputs()), ("output", leaving, session.get_outputs())):
        there = {value.name: (tuple(value.shape), _dtype(value.type)) for value in found}
        if there != said:
            raise ModelError(f"{path}: its {what}s are {there}, bundle.toml says {said}. Export it again.")


def _dtype(ort_type: str) -> str:
    """Translate onnxruntime's "tensor(float)" to NumPy's word."""
    word = ort_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(word, word)


def _initial(graph: Graph, file: ModelFile, index: int) -> NDArray[Any]:
    """Return a state's value at reset as the file takes it: quantized where the file's state is."""
    entry = file.states[index]
    table = next(state for state in graph.states if state.name == entry.name)
    real = np.broadcast_to(np.asarray(table.initial, np.float64).reshape(-1), int(np.prod(table.shape)))
    if entry.scale is not None:
        limits = np.iinfo(entry.dtype)
        real = np.clip(np.rint(real / entry.scale) + entry.zero_point, limits.min, limits.max)
    return real.reshape(table.shape).astype(entry.dtype)
