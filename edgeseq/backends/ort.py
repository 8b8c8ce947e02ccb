"""The step on ONNX Runtime."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import END_STATE
from edgeseq.errors import ModelError
from edgeseq.stepping import Stepping
from edgeseq.types import Frames, State

if TYPE_CHECKING:
    from edgeseq.bundle import Graph, ModelFile

# onnxruntime's wheels send telemetry unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort


class OrtStep(Stepping):
    """A step model on ONNX Runtime: one thread, no spinning, states handed from call to call without a copy."""

    backend = "ort"

    def __init__(self, session: ort.InferenceSession, graph: Graph, file: ModelFile) -> None:
        super().__init__(
            frames_per_step=graph.frames_per_step,
            features=sum(graph.widths),
            outputs=sum(math.prod(tensor.shape) for tensor in graph.outputs),
            delay=graph.delay,
            max_frames=graph.max_steps,
            tokens=graph.tokens,
        )
        self._session, self._graph, self._file = session, graph, file
        self.variant = file.variant
        self.warm_up = graph.warm_up
        self.receptive_field = graph.receptive_field
        self._entries = _entries(graph)
        self._given = len(graph.outputs)
        self._fetch = [*(tensor.name for tensor in graph.outputs), *(state.output for state in file.states)]
        self._enter = [state.input for state in file.states]
        self._at_reset = [_at_reset(graph, file, index) for index in range(len(file.states))]
        self.reset()

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

    def fork(self) -> Self:
        """Return another step model on the same session, freshly reset."""
        return type(self)(self._session, self._graph, self._file)

    def _initial(self) -> list[NDArray[Any]]:
        return list(self._at_reset)

    def _named(self, state: list[NDArray[Any]]) -> State:
        return {entry.name: value for entry, value in zip(self._file.states, state, strict=True)}

    def _ordered(self, state: State) -> list[NDArray[Any]]:
        return [state[entry.name] for entry in self._file.states]

    def _compute(self, x: Frames) -> Frames:
        feeds = dict(zip(self._enter, self._state, strict=True))
        for entry in self._entries:
            part = x if entry.columns is None else x[..., entry.columns]
            feeds[entry.name] = np.asarray(part, entry.dtype).reshape(entry.shape).transpose(entry.order)
        results = self._session.run(self._fetch, feeds)
        self._state = results[self._given :]
        if self._given == 1:
            return np.asarray(results[0].reshape(self.outputs))
        return np.concatenate([y.reshape(-1) for y in results[: self._given]])


@dataclass(frozen=True, slots=True)
class _Entry:
    """How rows [frames_per_step, features] become one of the graph's inputs: columns, a shape, an order of axes."""

    name: str
    dtype: type[np.generic]
    columns: slice | None
    shape: tuple[int, ...]
    order: tuple[int, ...]


def _entries(graph: Graph) -> list[_Entry]:
    found, start = [], 0
    for tensor, width in zip(graph.inputs, graph.widths, strict=True):
        axis = tensor.time_axis
        rest = [size for place, size in enumerate(tensor.shape) if place != axis]
        order = [place + 1 if place < axis else 0 if place == axis else place for place in range(len(tensor.shape))]
        columns = None if len(graph.inputs) == 1 else slice(start, start + width)
        dtype: type[np.generic] = np.int64 if tensor.dtype == "int64" else np.float32
        found.append(_Entry(tensor.name, dtype, columns, (graph.frames_per_step, *rest), tuple(order)))
        start += width
    return found


def open_step(path: Path, graph: Graph, file: ModelFile) -> OrtStep:
    """Open a step model's ONNX file and hold its inputs and outputs against bundle.toml. Raises ModelError."""
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
    entering: dict[str, tuple[tuple[int, ...], str]] = {
        tensor.name: (tuple(tensor.shape), tensor.dtype) for tensor in graph.inputs
    }
    leaving: dict[str, tuple[tuple[int, ...], str]] = {
        tensor.name: (tuple(tensor.shape), tensor.dtype) for tensor in graph.outputs
    }
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


def _at_reset(graph: Graph, file: ModelFile, index: int) -> NDArray[Any]:
    """Return a state's value at reset as the file takes it: quantized where the file's state is."""
    entry = file.states[index]
    table = next(state for state in graph.states if state.name == entry.name)
    real = np.broadcast_to(np.asarray(table.initial, np.float64).reshape(-1), int(np.prod(table.shape)))
    if entry.scale is not None:
        limits = np.iinfo(entry.dtype)
        real = np.clip(np.rint(real / entry.scale) + entry.zero_point, limits.min, limits.max)
    return real.reshape(table.shape).astype(entry.dtype)
