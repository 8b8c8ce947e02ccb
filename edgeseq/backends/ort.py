"""The step on ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ModelError
from edgeseq.types import Frames, State

if TYPE_CHECKING:
    from edgeseq.bundle import Graph, ModelFile

# onnxruntime's wheels send telemetry unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort


class OrtStep:
    """A step model on ONNX Runtime: one thread, no spinning, states handed from call to call without a copy.

    step takes float32[features] and gives float32[outputs]. Raises ModelError for a wrong shape, a frame that is not
    finite (it would stay in the state for ever), or a file that is not what bundle.toml says.
    """

    backend = "ort"

    def __init__(self, session: ort.InferenceSession, graph: Graph, file: ModelFile) -> None:
        self._session, self._graph, self._file = session, graph, file
        self.variant = file.variant
        self.frames_per_step = graph.frames_per_step
        self.delay = graph.delay
        self.warm_up = graph.warm_up
        self.receptive_field = graph.receptive_field
        self.features = int(np.prod(graph.inputs[0].shape))
        self.outputs = int(np.prod(graph.outputs[0].shape))
        self._input = graph.inputs[0].name
        self._input_shape = tuple(graph.inputs[0].shape)
        self._fetch = [graph.outputs[0].name, *(state.output for state in file.states)]
        self._enter = [state.input for state in file.states]
        self._initial = [_initial(graph, file, index) for index in range(len(file.states))]
        self._state: list[NDArray[Any]] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._state = list(self._initial)

    def step(self, x: Frames, out: Frames | None = None) -> Frames:
        """Take one frame, float32[features]; give float32[outputs], written to `out` where given."""
        if x.shape != (self.features,):
            raise ModelError(f"a step takes a frame of shape ({self.features},), not {x.shape}.")
        if not np.isfinite(x).all():
            raise ModelError("a frame holds NaN or infinity, which the model's state would never forget.")
        feeds = dict(zip(self._enter, self._state, strict=True))
        feeds[self._input] = np.asarray(x, np.float32).reshape(self._input_shape)
        y, *self._state = self._session.run(self._fetch, feeds)
        if out is None:
            return np.asarray(y.reshape(self.outputs))
        out[:] = y.reshape(self.outputs)
        return out

    def run(self, x: Frames) -> Frames:
        """Take float32[T, features], any T; give float32[T, outputs]. Equals T single steps bit for bit."""
        if x.ndim != 2 or x.shape[1] != self.features:  # noqa: PLR2004 - frames are a matrix
            raise ModelError(f"run takes frames of shape (T, {self.features}), not {x.shape}.")
        y = np.empty((len(x), self.outputs), np.float32)
        for frame, row in zip(x, y, strict=True):
            self.step(frame, out=row)
        return y

    def flush(self) -> Frames:
        """Give the last `delay` outputs as the original's right padding would: none, where there is no delay."""
        return np.empty((self.delay, self.outputs), np.float32)

    def get_state(self) -> State:
        """Return a copy of the whole state, by name."""
        return {entry.name: value.copy() for entry, value in zip(self._file.states, self._state, strict=True)}

    def set_state(self, state: State) -> None:
        """Take up a state that get_state gave. Raises ModelError where names, shapes or types differ."""
        expected = {entry.name: value for entry, value in zip(self._file.states, self._initial, strict=True)}
        if set(state) != set(expected):
            raise ModelError(f"the state has {sorted(state)}, the model wants {sorted(expected)}.")
        for name, value in expected.items():
            if state[name].shape != value.shape or state[name].dtype != value.dtype:
                raise ModelError(
                    f"the state '{name}' is {state[name].dtype}{state[name].shape}, "
                    f"the model wants {value.dtype}{value.shape}."
                )
        self._state = [state[name].copy() for name in expected]

    def fork(self) -> Self:
        """Return another step model on the same session, freshly reset."""
        return type(self)(self._session, self._graph, self._file)


def open_step(path: Path, graph: Graph, file: ModelFile) -> OrtStep:
    """Open a step model's ONNX file and hold its inputs and outputs against bundle.toml. Raises ModelError."""
    if graph.frames_per_step != 1 or graph.delay != 0 or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(f"{path}: this version runs graphs of one input, one output, one frame a step and no delay.")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as cause:
        reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ModelError(f"{path}: ONNX Runtime {ort.__version__} cannot load it: {reason}") from cause
    _check(path, session, graph, file)
    return OrtStep(session, graph, file)


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
