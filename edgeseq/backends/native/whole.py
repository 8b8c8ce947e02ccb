"""An encoder, or a part of one, that runs once, on edgeseq's own engine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends._file_step import entries
from edgeseq.backends.native import engine
from edgeseq.backends.native.lengths import Lengths
from edgeseq.backends.native.program import Program
from edgeseq.errors import ModelError
from edgeseq.types import Frames

if TYPE_CHECKING:
    from edgeseq.bundle import Graph

NO_NUMBERS = np.empty(0, np.float32)


class NativeWhole:
    """Takes the source's rows and what is held; for every length it is laid out once."""

    def __init__(self, program: Program, graph: Graph) -> None:
        self._graph, self._path = graph, program.path
        self._lengths = Lengths(program, None)
        self._lock = threading.Lock()

    def __call__(self, rows: Frames, held: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run over a source. Raises ModelError where it is too long or too short for the model."""
        source = {entry.name: entry.enter(rows) for entry in entries(self._graph, len(rows))}
        # It remembers nothing from one source to the next, so that threads may share it: one at a time.
        with self._lock:
            try:
                layout = self._lengths.holding({**source, **held})
            except ModelError as cause:
                reason = str(cause).removeprefix(f"{self._path}: ")
                raise ModelError(f"{self._path}: does not run on a source of {len(rows)} frames: {reason}") from cause
            engine.compute.compiled(layout.board.ctypes.data, NO_NUMBERS, NO_NUMBERS)
            names = [tensor.name for tensor in self._graph.outputs]
            return {name: np.array(y[0], order="C") for name, y in zip(names, layout.outputs, strict=True)}
