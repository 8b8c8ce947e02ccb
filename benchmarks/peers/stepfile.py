"""What a peer has to know of a step in a file: where a frame goes in, where the output comes out, and its states."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import Bundle


@dataclass(frozen=True)
class StateTensor:
    """How a state enters and leaves, and what it is at reset."""

    input: str
    output: str
    initial: NDArray[Any]


@dataclass(frozen=True)
class StepFile:
    """A model file of one frame in, one output out, and states. The output may be one of the states as it leaves."""

    path: Path
    frame: str
    output: str
    states: tuple[StateTensor, ...]

    @property
    def bare(self) -> bool:
        """Whether the only state is the output, as over a bare GRU: a caller then has one array to carry, not two."""
        return [state.output for state in self.states] == [self.output]


def held(bundle: Bundle, variant: str, file_format: Literal["onnx", "tflite"]) -> StepFile:
    """Return a bundle's file of a variant."""
    graph, file = bundle.graph(), bundle.file(variant, file_format)
    tables = {table.name: table for table in graph.states}
    states = []
    for entry in file.states:
        table = tables[entry.name]
        real = np.broadcast_to(np.asarray(table.initial, np.float64).reshape(-1), int(np.prod(table.shape)))
        stored = real if entry.scale is None else np.rint(real / entry.scale) + entry.zero_point
        states.append(StateTensor(entry.input, entry.output, stored.reshape(table.shape).astype(entry.dtype)))
    return StepFile(bundle.path / file.path, graph.inputs[0].name, graph.outputs[0].name, tuple(states))
