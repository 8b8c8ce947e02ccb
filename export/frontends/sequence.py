"""A sequence model as every frontend delivers it: an ONNX graph, and the original to be held against."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from export.errors import ExportError

Run = Callable[[NDArray[np.floating]], NDArray[np.floating]]
PROOF_LENGTHS = (41, 67, 128)


@dataclass
class Sequence:
    """A trained sequence model.

    model: ONNX graph over [.., time, ..], batch 1, time free. shape: the input's, with -1 on the time axis.
    single: the original in float32. double: the original in float64. Both take the input with its time axis and give
    the output as it comes.
    """

    model: onnx.ModelProto
    input: str
    time_axis: int
    shape: tuple[int, ...]
    single: Run
    double: Run
    framework: str
    origin: str
    sha256: str
    window: int | None = None
    """How many steps the model was fixed to when it was built; None where its time axis was free."""
    notes: list[str] = field(default_factory=list)

    @property
    def features(self) -> int:
        """Numbers in one frame."""
        return -int(np.prod(self.shape))

    def to_input(self, frames: NDArray[np.floating]) -> NDArray[np.floating]:
        """Bring frames [T, features] into the shape that the model takes."""
        rest = [dim for axis, dim in enumerate(self.shape) if axis != self.time_axis]
        return np.moveaxis(frames.reshape(len(frames), *rest), 0, self.time_axis)

    def outputs(self, frames: NDArray[np.floating], run: Run) -> NDArray[np.floating]:
        """Run the original over frames [T, features]; return [steps, outputs]; one step for a last-step model."""
        y = np.asarray(run(self.to_input(frames)))
        if self.time_of_output is None:
            return y.reshape(1, -1)
        return np.moveaxis(y, self.time_of_output, 0).reshape(y.shape[self.time_of_output], -1)

    @property
    def time_of_output(self) -> int | None:
        """The output's time axis, found by running the original at two lengths; None where it gives one step only."""
        if not hasattr(self, "_time_of_output"):
            given = [np.asarray(self.single(self.noise(length))) for length in PROOF_LENGTHS[:2]]
            if given[0].dtype != np.float32:
                raise ExportError(
                    f"{self.origin}: its output is {given[0].dtype}; float32 is expected. "
                    "Leave off what chooses or rounds behind it: the runtime's decider does that."
                )
            short, long = (array.shape for array in given)
            if len(short) != len(long):
                raise ExportError(f"{self.origin}: the output's number of axes depends on how many steps there are.")
            grown = [axis for axis, (a, b) in enumerate(zip(short, long, strict=True)) if a != b]
            if len(grown) > 1:
                lengths = " to ".join(map(str, PROOF_LENGTHS[:2]))
                raise ExportError(f"the output changes from {short} to {long} as the input grows from {lengths} steps.")
            self._time_of_output = grown[0] if grown else None
        return self._time_of_output

    def noise(self, length: int, seed: int = 0) -> NDArray[np.float32]:
        """Return seeded normal input of a length."""
        shape = [length if axis == self.time_axis else dim for axis, dim in enumerate(self.shape)]
        return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def axis_of(given: int, dims: Items[object], origin: str) -> int:
    """Return a time axis that the user named, counted from the front. Raises ExportError where there is none such."""
    if not -len(dims) <= given < len(dims):
        raise ExportError(f"{origin}: there is no axis {given}; the input has {len(dims)} axes, {list(dims)}.")
    return given % len(dims)
