"""An encoder-decoder as a frontend delivers it: two inputs with times of their own, one output along the second's.

The first input, the source, is read as a whole; the second, the target, is what was generated so far (teacher forcing),
and the output at each of its steps says what comes next.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from export.errors import ExportError
from export.frontends.lengths import CLOSE
from export.frontends.sequence import Run, how_many_tokens
from export.graph import Array, Input

PROOF_LENGTHS = ((11, 7), (7, 11), (5, 23), (13, 16))
"""Lengths of source and target, short enough for small tables of positions."""


@dataclass
class EncoderDecoder:
    """A trained encoder-decoder; the fields are those of a Sequence.

    padded: the original in float32 and float64 with padding behind what it takes lengths of; None where it takes none,
    or where padding counts.
    """

    model: onnx.ModelProto
    source: Input
    target: Input
    single: Run
    double: Run
    framework: str
    origin: str
    sha256: str
    notes: list[str] = field(default_factory=list)
    padded: tuple[Run, Run] | None = None

    def __post_init__(self) -> None:
        """Count the tokens. Raises ExportError where it gives more than one output."""
        if len(self.model.graph.output) != 1:
            raise ExportError(
                f"{self.origin}: an encoder-decoder gives one output, not {len(self.model.graph.output)}."
            )
        if self.source.dtype == "int64":
            self.source = replace(self.source, tokens=self._count(0))
        if self.target.dtype == "int64":
            self.target = replace(self.target, tokens=self._count(1))
        if self.padded is not None and not self._padding_is_nothing(self.padded[0]):
            self.padded = None
            self.notes.append(
                "padding behind its inputs counts in what it gives, or it runs on none: it was proven without"
            )

    @property
    def inputs(self) -> tuple[Input, Input]:
        """Source and target."""
        return self.source, self.target

    @cached_property
    def time_of_output(self) -> int:
        """The output's time axis."""
        axis = _following(self.inputs, self.single)
        if axis is None:
            raise ExportError(f"{self.origin}: its output does not follow the second input's times.")
        return axis

    def _padding_is_nothing(self, padded: Run) -> bool:
        """Return whether it gives on padded inputs what it gives on others."""
        for place, lengths in enumerate(PROOF_LENGTHS):
            source, target = (self.rows(x, at) for at, x in enumerate(self.noise(*lengths, place)))
            try:
                given, expected = (self.outputs(source, target, run) for run in (padded, self.single))
            except ExportError:
                return False
            if not np.allclose(given, expected, rtol=CLOSE, atol=CLOSE):
                return False
        return True

    def rows(self, array: Array, place: int) -> NDArray[np.float32]:
        """Return one of its inputs as rows, [T, features]."""
        axis = self.inputs[place].time_axis
        return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float32)

    def _count(self, place: int) -> int | None:
        def run(token: int) -> None:
            x = self.noise(*PROOF_LENGTHS[0])
            x[place] = np.full_like(x[place], token)
            self.single(x)

        return how_many_tokens(run)

    def noise(self, source: int, target: int, seed: int = 0) -> list[Array]:
        """Return seeded inputs of two lengths."""
        return [self.source.noise(source, seed), self.target.noise(target, seed + 1)]

    def outputs(self, source: Array, target: Array, run: Run) -> NDArray[np.floating]:
        """Run the original over rows [S, features] and [T, features]; return [T, outputs]."""
        (y,) = run([self.source.enter(source), self.target.enter(target)])
        rows = np.moveaxis(y, self.time_of_output, 0)[: len(target)]  # a padded target has more
        return np.asarray(rows.reshape(len(target), -1), y.dtype.type)


def recognized(inputs: Items[Input], single: Run) -> bool:
    """Return whether a model of two inputs takes them in lengths of their own and follows the second's."""
    return len(inputs) == 2 and _following(inputs, single) is not None  # noqa: PLR2004 - source and target


def _following(inputs: Items[Input], single: Run) -> int | None:
    """Return the output's axis that is as long as the second input, run at two pairs of lengths."""
    shapes = []
    for lengths in PROOF_LENGTHS[:2]:
        try:
            given = single([entry.noise(length) for entry, length in zip(inputs, lengths, strict=True)])
        except ExportError:
            return None
        shapes.append(given[0].shape)
    if len(shapes[0]) != len(shapes[1]):
        return None
    targets = tuple(target for _, target in PROOF_LENGTHS[:2])
    return next((axis for axis, found in enumerate(zip(*shapes, strict=True)) if found == targets), None)
