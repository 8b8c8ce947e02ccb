"""An encoder: it reads a source, part by part, and gives what the decoder holds.

A part steps through sequences, forwards or backwards, or runs once over all of what it takes: over the source, and over
what parts before it gave. Most encoders are one part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import backends
from edgeseq.bundle import Graph, HeldTable, ModelFile, Tensor
from edgeseq.errors import ModelError
from edgeseq.models.stepping import check_content
from edgeseq.parts import called
from edgeseq.types import Frames

Memory = Mapping[str, NDArray[Any]]


class Encoder:
    """An encoder's parts in order: steps, or what runs once. Raises ModelError for a source that they do not take."""

    def __init__(self, parts: Sequence[Any], graphs: Sequence[Graph]) -> None:
        self._parts = tuple(zip(parts, graphs, strict=True))
        self._last = {graph.name: 0 if graph.backwards else -1 for graph in graphs if not graph.whole}
        reads = [(graph, place) for graph in graphs for place, tensor in enumerate(graph.inputs) if tensor.part is None]
        graph, place = reads[0]
        one = len(graph.inputs) == 1
        self.width = sum(graph.widths) if one else graph.widths[place]
        first = sum(graph.widths[:place])
        self._tokens = {at - first: count for at, count in graph.tokens.items() if first <= at < first + self.width}

    def read(self, source: Frames, wanted: Sequence[HeldTable]) -> Memory:
        """Read a source, float32[T, width]; return what the decoder holds of it."""
        check_content(source, self._tokens)
        given: dict[tuple[str, str], NDArray[Any]] = {}
        for part, graph in self._parts:
            held = {entry.name: self._laid_out(given, entry) for entry in graph.held}
            if graph.whole:
                found = part(source, held)
            else:
                found = _stepped(part, graph, self._entering(source, given, graph), held)
            given |= {(graph.name, name): value for name, value in found.items()}
        return {entry.name: self._laid_out(given, entry) for entry in wanted}

    def _entering(self, source: Frames, given: Mapping[tuple[str, str], NDArray[Any]], graph: Graph) -> Frames:
        """Return the rows that a part steps through."""
        if len(graph.inputs) == 1 and graph.inputs[0].part is None:
            return source
        rows = [source if tensor.part is None else self._rows(given, tensor) for tensor in graph.inputs]
        if len({len(each) for each in rows}) > 1:
            raise ModelError(f"{called(graph.name)} takes sequences of {[*map(len, rows)]} rows, which are one length.")
        return np.concatenate(rows, axis=1)

    def _rows(self, given: Mapping[tuple[str, str], NDArray[Any]], tensor: Tensor) -> Frames:
        """Return what a part before gave, row by row."""
        value = given[str(tensor.part), str(tensor.output)]
        if tensor.part in self._last:
            return value
        return np.moveaxis(value, tensor.time_axis, 0).reshape(-1, math.prod(tensor.shape))

    def _laid_out(self, given: Mapping[tuple[str, str], NDArray[Any]], entry: HeldTable) -> NDArray[Any]:
        """Return what is held: all of the rows that steps gave, along the source's time, or the last one."""
        value = given[entry.part, entry.output]
        if entry.part not in self._last:
            return value
        if -1 not in entry.shape:
            return np.asarray(value[self._last[entry.part]].reshape(entry.shape))
        axis = entry.shape.index(-1)
        rest = [size for size in entry.shape if size != -1]
        return np.asarray(np.moveaxis(value.reshape(len(value), *rest), 0, axis))


def opened(path: Path, backend: str, graphs: Sequence[Graph], files: Sequence[ModelFile]) -> Encoder:
    """Open an encoder's parts in a folder on a backend. Raises ModelError."""
    parts = []
    for graph, file in zip(graphs, files, strict=True):
        opening: Any = backends.open_whole if graph.whole else backends.open_file
        parts.append(opening(path / file.path, backend, graph, file))
    return Encoder(parts, graphs)


def turned(rows: Frames) -> Frames:
    """Return rows from the last to the first."""
    return np.ascontiguousarray(rows[::-1])


def _stepped(part: Any, graph: Graph, rows: Frames, held: Memory) -> dict[str, Frames]:
    """Step through rows; return each output's, in the rows' order: backwards, what comes last is the first row's."""
    if held:
        part.hold(held)
    part.reset()
    given = np.concatenate([part.run(turned(rows) if graph.backwards else rows), part.flush()])[part.delay :]
    if not len(given):
        raise ModelError(f"a source of {len(rows)} frames is too short: {called(graph.name)} gives nothing for it.")
    given = turned(given) if graph.backwards else given
    bounds = np.cumsum([int(np.prod(tensor.shape)) for tensor in graph.outputs])[:-1]
    names = [tensor.name for tensor in graph.outputs]
    return dict(zip(names, np.split(given, bounds, axis=1), strict=True))
