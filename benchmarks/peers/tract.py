"""tract, from its package on PyPI: the GRU operator over one step with its state fed, or in its own streaming form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks import gru_op
from benchmarks.measure import Contender, fastest
from benchmarks.peers import AbsentError
from edgeseq.types import Frames

NAME = "tract"


class Fed:
    """The state comes out and goes in again, as a tensor of tract's own."""

    def __init__(self, library: Any, gru: nn.GRU, folder: Path) -> None:
        file = gru_op.write(gru, folder / "step.onnx")
        # A state of tract's is where it keeps its buffers; one for all calls is faster than one a call.
        self._run = library.onnx().load(file.path).into_model().into_runnable().spawn_state().run
        self._zero = library.Tensor.from_numpy(file.states[0].initial)
        self._h = self._zero

    def reset(self) -> None:
        """Forget everything."""
        self._h = self._zero

    def step(self, x: Frames) -> NDArray[Any]:
        """Make one step."""
        self._h = self._run([x, self._h])[0]
        return self._h.to_numpy()  # type: ignore[no-any-return]


class Pulsed:
    """tract makes the graph over open time a stream with pulses of one step, and holds the state itself."""

    def __init__(self, library: Any, gru: nn.GRU, folder: Path) -> None:
        path = folder / "sequence.onnx"
        gru_op.write_stateless(gru, path)
        model = library.onnx().load(path).into_model()
        model.transform('{"name": "pulse", "pulse": "1", "symbol": "S"}')
        self._runnable = model.into_runnable()
        self._stream = self._runnable.spawn_state()

    def reset(self) -> None:
        """Forget everything."""
        self._stream = self._runnable.spawn_state()

    def step(self, x: Frames) -> NDArray[Any]:
        """Make one step."""
        return self._stream.run([x])[0].to_numpy()  # type: ignore[no-any-return]


def stepping(gru: nn.GRU, frames: Sequence[Frames], folder: Path) -> Contender:
    """Return the faster of both. frames: [1, 1, inputs] each. Raises AbsentError."""
    try:
        import tract  # noqa: PLC0415 - a package that only this peer needs
    except ImportError as cause:
        raise AbsentError(f"{NAME}: not installed: pip install tract") from cause
    fed, pulsed = Fed(tract, gru, folder), Pulsed(tract, gru, folder)
    given = [(np.ascontiguousarray(x),) for x in frames]
    return fastest(
        [
            Contender(NAME, fed.step, given, fed.reset, settings="state fed"),
            Contender(NAME, pulsed.step, given, pulsed.reset, settings="pulse of 1"),
        ]
    )
