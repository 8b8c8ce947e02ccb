"""The step on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends import settings
from edgeseq.backends._file_step import FREE, FileStep, described, entries
from edgeseq.errors import ModelError
from edgeseq.types import Frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseq.backends import Whole
    from edgeseq.bundle import Graph, ModelFile

settings.turn_off_telemetry()
import onnxruntime as ort  # noqa: E402 - it looks for the switch when it loads


class OrtStep(FileStep):
    """A step model on ONNX Runtime; states are handed from call to call without a copy."""

    backend = "ort"

    def __init__(self, session: ort.InferenceSession, graph: Graph, file: ModelFile) -> None:
        super().__init__(graph, file)
        self._session = session
        self._given = len(graph.outputs)
        self._fetch = [*(tensor.name for tensor in graph.outputs), *(state.output for state in file.states)]
        self._enter = [state.input for state in file.states]
        self.reset()

    def _another(self) -> Self:
        return type(self)(self._session, self._graph, self._file)

    def _compute(self, x: Frames) -> Frames:
        feeds = dict(zip(self._enter, self._state, strict=True))
        feeds.update(self._held)
        for entry in self._entries:
            feeds[entry.name] = entry.enter(x)
        results = self._session.run(self._fetch, feeds)
        self._state = results[self._given :]
        if self._given == 1:
            return np.asarray(results[0].reshape(self.outputs))
        return np.concatenate([y.reshape(-1) for y in results[: self._given]])


def library() -> str:
    """Return the library that steps run on, with its version."""
    return f"onnxruntime {ort.__version__}"


def open_step(path: Path, graph: Graph, file: ModelFile, threads: int = settings.THREADS) -> OrtStep:
    """Open a step model's ONNX file and hold its inputs and outputs against bundle.toml. Raises ModelError."""
    session = open_session(path, settings.session_options(threads))
    _check(path, session, graph, file)
    return OrtStep(session, graph, file)


def open_whole(path: Path, graph: Graph, file: ModelFile) -> Whole:
    """Open an encoder, or a part of one, that runs once. Raises ModelError."""
    session = open_session(path, settings.session_options(whole=True))
    names = [tensor.name for tensor in graph.outputs]
    found = {value.name: (_shape(value.shape), _dtype(value.type)) for value in session.get_inputs()}
    said = {entry.name: (entry.entered, np.dtype(entry.dtype).name) for entry in entries(graph, FREE)}
    said |= {entry.name: (tuple(entry.shape), entry.dtype) for entry in graph.held}
    given = [value.name for value in session.get_outputs()]
    if file.states or found != said or given != names:
        raise ModelError(f"{path}: it takes {found} and gives {given}, bundle.toml says otherwise. Export it again.")

    def run(rows: Frames, held: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        feeds = {entry.name: entry.enter(rows) for entry in entries(graph, len(rows))}
        feeds.update(held)
        try:
            return dict(zip(names, session.run(names, feeds), strict=True))
        except Exception as cause:
            raise ModelError(f"{path}: does not run on a source of {len(rows)} frames: {cause}") from cause

    return run


def open_session(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    """Open an ONNX file. Raises ModelError with ONNX Runtime's first sentence."""
    try:
        str(path).encode()
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except UnicodeEncodeError as cause:
        raise ModelError(f"{path}: ONNX Runtime opens no path that is no UTF-8; give it another.") from cause
    except Exception as cause:
        reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ModelError(f"{path}: ONNX Runtime {ort.__version__} cannot load it: {reason}") from cause


def _check(path: Path, session: ort.InferenceSession, graph: Graph, file: ModelFile) -> None:
    """Compare the file's inputs and outputs with what bundle.toml says of them."""
    entering, leaving = described(graph, file)
    for what, said, found in (("input", entering, session.get_inputs()), ("output", leaving, session.get_outputs())):
        there = {value.name: (_shape(value.shape), _dtype(value.type)) for value in found}
        if there != said:
            raise ModelError(f"{path}: its {what}s are {there}, bundle.toml says {said}. Export it again.")


def _shape(dims: list[Any]) -> tuple[int, ...]:
    """Return a shape with -1 for what is free."""
    return tuple(dim if isinstance(dim, int) else -1 for dim in dims)


def _dtype(ort_type: str) -> str:
    """Translate onnxruntime's "tensor(float)" to NumPy's word."""
    word = ort_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(word, word)
