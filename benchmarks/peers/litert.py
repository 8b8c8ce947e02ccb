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
        self._file, self._frame = file, inputs[file.frame]["index"]
        self._enter = [inputs[state.input]["index"] for state in file.states]
        self._leave = [outputs[state.output]["index"] for state in file.states]
        self._output = outputs[file.output]["index"]
        # Over a bare recurrent layer the output is the state: got once, it serves as both.
        self._shared = self._leave.index(self._output) if self._output in self._leave else None
        self._state: list[NDArray[Any]] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._state = [state.initial for state in self._file.states]

    def step(self, x: Frames) -> NDArray[Any]:
        """Make one step."""
        interpreter = self._interpreter
        interpreter.set_tensor(self._frame, x)
        for index, value in zip(self._enter, self._state, strict=False):
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        self._state = [interpreter.get_tensor(index) for index in self._leave]
        return self._state[self._shared] if self._shared is not None else interpreter.get_tensor(self._output)  # type: ignore[no-any-return]


def stepping(file: StepFile, frames: Sequence[Frames], name: str = "LiteRT") -> Contender:
    """Return a file's steps. Raises AbsentError."""
    peer = Step(file)
    return Contender(name, peer.step, [(x,) for x in frames], peer.reset, settings="XNNPACK")
