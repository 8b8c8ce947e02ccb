"""The step on LiteRT, or on tflite-runtime, its forerunner, where that is what is installed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeseq import libraries
from edgeseq.backends import settings
from edgeseq.backends._file_step import FREE, Described, FileStep, described, entries
from edgeseq.errors import ModelError
from edgeseq.types import Frames

if TYPE_CHECKING:
    from edgeseq.bundle import Graph, ModelFile

SIGNATURE = "step"
PACKAGES = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}
Held = Mapping[str, NDArray[Any]]
Details = Mapping[str, Mapping[str, Any]]


class LitertStep(FileStep):
    """A step model on LiteRT.

    Forks share one interpreter: a step writes its own state into it and copies its results out, so that nothing of a
    stream stays in buffers which the next call overwrites.
    """

    backend = "litert"

    def __init__(self, opened: _Opened, graph: Graph, file: ModelFile) -> None:
        super().__init__(graph, file)
        self._opened = opened
        self._frames = [(opened.inputs[entry.name], entry) for entry in self._entries]
        self._enter = [opened.inputs[state.input] for state in file.states]
        self._fetch = [opened.outputs[tensor.name] for tensor in graph.outputs]
        self._leave = [opened.outputs[state.output] for state in file.states]
        self.reset()

    def _take(self, held: Held) -> None:
        try:
            with self._opened.lock:
                self._opened.hold(held)
        except (RuntimeError, ValueError) as cause:
            shapes = ", ".join(f"'{name}' {list(value.shape)}" for name, value in held.items())
            raise ModelError(f"{self._opened.path}: does not run with {shapes} held: {_said(cause)}.") from cause

    def _another(self) -> Self:
        return type(self)(self._opened, self._graph, self._file)

    def _compute(self, x: Frames) -> Frames:
        interpreter = self._opened.interpreter
        put, get = interpreter.set_tensor, interpreter.get_tensor
        with self._opened.lock:
            if self._held:
                self._opened.hold(self._held)
            for index, entry in self._frames:
                put(index, entry.enter(x))
            for index, value in zip(self._enter, self._state, strict=True):
                put(index, value)
            interpreter.invoke()
            given = [get(index) for index in self._fetch]
            self._state = [get(index) for index in self._leave]
        if len(given) == 1:
            return np.asarray(given[0].reshape(self.outputs))
        return np.concatenate([y.reshape(-1) for y in given])


class LitertWhole:
    """An encoder, or a part of one, that runs once: takes the source's rows and what it holds."""

    def __init__(self, opened: _Opened, graph: Graph) -> None:
        self._opened, self._graph = opened, graph

    def __call__(self, rows: Frames, held: Held) -> dict[str, NDArray[Any]]:
        """Run over a source. Raises ModelError where it is too long or too short for the model."""
        opened = self._opened
        source = {entry.name: entry.enter(rows) for entry in entries(self._graph, len(rows))}
        source.update(held)
        with opened.lock:
            try:
                opened.hold(source)
                opened.interpreter.invoke()
            except (RuntimeError, ValueError) as cause:
                raise ModelError(
                    f"{opened.path}: does not run on a source of {len(rows)} frames: {_said(cause)}."
                ) from cause
            names = (tensor.name for tensor in self._graph.outputs)
            return {name: opened.interpreter.get_tensor(opened.outputs[name]) for name in names}


class _Opened:
    """An interpreter, and the indices of its inputs and outputs by the names that the signature gives them."""

    def __init__(self, path: Path, interpreter: Any, inputs: Details, outputs: Details) -> None:
        self.path, self.interpreter = path, interpreter
        self.lock = threading.Lock()
        self._held: Held = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.inputs = {name: int(detail["index"]) for name, detail in inputs.items()}
        self.outputs = {name: int(detail["index"]) for name, detail in outputs.items()}

    def hold(self, held: Held) -> None:
        """Put what is held into the inputs, which keep it from step to step; those of another length are laid out anew.

        Raises RuntimeError or ValueError where the file's operations have no form for that length.
        """
        if held is self._held:
            return
        self._held = {}
        shapes = {name: value.shape for name, value in held.items()}
        if shapes != self._shapes:
            self._shapes = {}  # until that went well
            for name, shape in shapes.items():
                self.interpreter.resize_tensor_input(self.inputs[name], shape, strict=True)
            self.interpreter.allocate_tensors()
            self._shapes = shapes
        for name, value in held.items():
            self.interpreter.set_tensor(self.inputs[name], value)
        self._held = held


def open_step(path: Path, graph: Graph, file: ModelFile, threads: int = settings.THREADS) -> LitertStep:
    """Open a step model's TFLite file and hold its inputs and outputs against bundle.toml. Raises ModelError."""
    return open_with(settings.interpreter_options(threads), path, graph, file)


def open_with(options: Mapping[str, Any], path: Path, graph: Graph, file: ModelFile) -> LitertStep:
    """Do so with an Interpreter of these options."""
    inputs, outputs, interpreter = _open(path, options)
    _check(path, inputs, outputs, graph, file)
    return LitertStep(_Opened(path, interpreter, inputs, outputs), graph, file)


def open_whole(path: Path, graph: Graph, file: ModelFile) -> LitertWhole:
    """Open an encoder, or a part of one, that runs once and hold it against bundle.toml. Raises ModelError."""
    inputs, outputs, interpreter = _open(path, settings.interpreter_options(settings.THREADS))
    said = {entry.name: (entry.entered, np.dtype(entry.dtype).name) for entry in entries(graph, FREE)}
    said |= {entry.name: (tuple(entry.shape), entry.dtype) for entry in graph.held}
    found = _described(inputs)
    if file.states or found != said or set(outputs) != {tensor.name for tensor in graph.outputs}:
        raise ModelError(
            f"{path}: it takes {found} and gives {[*outputs]}, bundle.toml says otherwise. Export it again."
        )
    return LitertWhole(_Opened(path, interpreter, inputs, outputs), graph)


def _open(path: Path, options: Mapping[str, Any]) -> tuple[Details, Details, Any]:
    """Open a file: its inputs and outputs by the signature's names, and its interpreter. Raises ModelError."""
    make = libraries.litert()
    try:
        interpreter = make(model_path=str(path), **options)
        interpreter.allocate_tensors()
        if SIGNATURE not in interpreter.get_signature_list():
            raise ModelError(f"{path}: has no signature '{SIGNATURE}'. Export it again.")
        runner = interpreter.get_signature_runner(SIGNATURE)
        return runner.get_input_details(), runner.get_output_details(), interpreter
    except (ValueError, RuntimeError) as cause:
        raise ModelError(f"{path}: {make.__module__.partition('.')[0]} cannot load it: {_said(cause)}.") from cause


def _said(cause: Exception) -> str:
    """Return an error's own words on one line."""
    return " ".join(str(cause).split()).rstrip(".")


def _described(found: Details) -> Described:
    """Return shapes and types of inputs or outputs, -1 being a length that is open."""
    return {
        name: (tuple(map(int, detail["shape_signature"])), np.dtype(detail["dtype"]).name)
        for name, detail in found.items()
    }


def _check(path: Path, inputs: Details, outputs: Details, graph: Graph, file: ModelFile) -> None:
    """Compare the file's inputs and outputs, and how its states are stored, with what bundle.toml says of them."""
    for what, said, found in zip(("input", "output"), described(graph, file), (inputs, outputs), strict=True):
        there = _described(found)
        if there != said:
            raise ModelError(f"{path}: its {what}s are {there}, bundle.toml says {said}. Export it again.")
    for state in file.states:
        said_so = (np.float32(state.scale or 0), state.zero_point)
        for detail in (inputs[state.input], outputs[state.output]):
            stored = (np.float32(detail["quantization"][0]), int(detail["quantization"][1]))
            if stored != said_so:
                raise ModelError(
                    f"{path}: the state '{state.name}' is stored at scale {stored[0]:g} and zero point {stored[1]} in "
                    f"'{detail['name']}', bundle.toml says {said_so[0]:g} and {said_so[1]}. Export it again."
                )


def library() -> str:
    """Return the library that steps run on, with its version."""
    module = libraries.litert().__module__.partition(".")[0]
    return f"{PACKAGES[module]} {version(PACKAGES[module])}"
