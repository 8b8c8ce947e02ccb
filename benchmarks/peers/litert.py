"""LiteRT's interpreter, called as its own examples do: frame and states set, one invocation, output and states got."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from benchmarks.measure import Contender
from benchmarks.peers import AbsentError
from benchmarks.peers.stepfile import StepFile
from edgeseq import libraries
from edgeseq.errors import ConfigError
from edgeseq.types import Frames

NAME = "LiteRT"


class Step:
    """With one thread and XNNPACK, which it takes by itself and which is the faster way at every size measured here.

    Copying through set_tensor and get_tensor is faster than NumPy's views of the interpreter's memory.
    """

    def __init__(self, file: StepFile) -> None:
        try:
            self._interpreter = libraries.litert()(model_path=str(file.path), num_threads=1)
        except ConfigError as cause:
            raise AbsentError(f"LiteRT: {cause}") from cause
        self._interpreter.allocate_tensors()
        # The runner holds on to the interpreter's memory, which then refuses to run; it has to be let go.
        runner = self._interpreter.get_signature_runner("step")
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        del runner
        self._put, self._get = self._interpreter.set_tensor, self._interpreter.get_tensor
        self._invoke = self._interpreter.invoke
        self._file, self._frame = file, inputs[file.frame]["index"]
        self._enter = [inputs[state.input]["index"] for state in file.states]
        self._leave = [outputs[state.output]["index"] for state in file.states]
        self._output = outputs[file.output]["index"]
        self._state: list[NDArray[Any]] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._state = [state.initial for state in self._file.states]

    def step(self, x: Frames) -> NDArray[Any]:
        """Make one step."""
        put, get = self._put, self._get
        put(self._frame, x)
        for index, value in zip(self._enter, self._state, strict=False):
            put(index, value)
        self._invoke()
        self._state = [get(index) for index in self._leave]
        return get(self._output)  # type: ignore[no-any-return]


class BareStep(Step):
    """The same where the only state is the output, then got once: without the loops, a fifth of a small step."""

    def __init__(self, file: StepFile) -> None:
        super().__init__(file)
        (self._h_in,), (self._h_out,) = self._enter, self._leave

    def reset(self) -> None:
        """Forget everything."""
        self._h: NDArray[Any] = self._file.states[0].initial

    def step(self, x: Frames) -> NDArray[Any]:
        """Make one step."""
        self._put(self._frame, x)
        self._put(self._h_in, self._h)
        self._invoke()
        y: NDArray[Any] = self._get(self._h_out)
        self._h = y
        return y


def stepping(file: StepFile, frames: Sequence[Frames], name: str = NAME) -> Contender:
    """Return a file's steps. Raises AbsentError."""
    peer = (BareStep if file.bare else Step)(file)
    return Contender(name, peer.step, [(x,) for x in frames], peer.reset, settings="XNNPACK")
