"""The integer reference as a step model: fed, flushed and reset as every backend is."""

from __future__ import annotations

from typing import Self

import numpy as np

from edgeseq.backends._file_step import FileStep
from edgeseq.bundle import Graph, ModelFile, StateTensors
from edgeseq.types import Frames
from export.operations import MOVING
from export.program import Array, Op, Program
from export.quantize.reference import Interpreter


class ReferenceStep(FileStep):
    """A quantized Program on the reference interpreter. `stored`: the outputs' integers, a row a step computed.

    Where an output comes out of float32 ops it has no integers, and no row has any.
    """

    backend = "reference"

    def __init__(self, program: Program, graph: Graph, variant: str) -> None:
        self.program, self._interpreter = program, Interpreter(program)
        super().__init__(graph, described(program, variant))
        self.ends = integer_ends(program)
        self.stored: list[Array] = []
        self.reset()

    def _another(self) -> Self:
        return type(self)(self.program, self._graph, self.variant)

    def _compute(self, x: Frames) -> Frames:
        interpreter = self._interpreter
        names = [state.name for state in self.program.states]
        # Integers count in 64 bits here, whatever they are stored in.
        whole = [v.astype(np.int64) if v.dtype.kind == "i" else v for v in self._state]
        interpreter.held = {name: np.asarray(value)[None] for name, value in self._held.items()}
        interpreter.state = {name: value[None] for name, value in zip(names, whole, strict=True)}
        y = interpreter.step(x[None])[0]
        kinds = [value.dtype for value in self._state]
        self._state = [interpreter.state[name][0].astype(kind) for name, kind in zip(names, kinds, strict=True)]
        if self.ends is not None:
            inner = [interpreter.values[op.inputs[0]] for op in self.ends]
            self.stored.append(np.concatenate([values.reshape(-1) for values in inner]))
        return np.asarray(y)


def described(program: Program, variant: str) -> ModelFile:
    """Describe a Program as a file's description would."""
    return ModelFile(
        path="", graph="step", variant=variant, format="npz", weight_bytes=0, integer_macs=0, float_macs=0,
        states=stored_states(program),
    )  # fmt: skip


def stored_states(program: Program) -> list[StateTensors]:
    """Return how a Program's states enter and leave, in their stored integers."""
    states = []
    for state in program.states:
        kind = program.types.get(state.input)
        scale, zero = (None, 0) if kind is None else (kind.scale, kind.zero_point)
        states.append(
            StateTensors(
                name=state.name, input=f"{state.title}.in", output=f"{state.title}.out",
                dtype=program.dtype(state.input), scale=scale, zero_point=zero, half=state.half,
            )
        )  # fmt: skip
    return states


def recorded(model: ReferenceStep, outputs: Frames) -> dict[str, Array]:
    """Return what goldens hold of all that a model gave since it was made: `outputs` are its, without the delay.

    `integers` with their scale, offset and zero_point, a column an output; `outputs` in real units instead where an
    output comes out of float32 ops.
    """
    if model.ends is None:
        return {"outputs": outputs}
    integers = np.array(model.stored)[model.delay :].astype(np.int16)
    return {"integers": integers, **_units(model.program, model.ends)}


def integer_ends(program: Program) -> list[Op] | None:
    """Return, for each output, the op that gives its real values from its integers; None if one comes from float32."""
    written = {op.output: op for op in program.ops}
    ends = []
    for name in program.outputs:
        op = written.get(name)
        while op is not None and op.kind == "Reshape":
            op = written.get(op.inputs[0])
        if op is None or op.kind != "Dequantize":
            return None
        ends.append(op)
    return ends


def exact(program: Program) -> bool:
    """Say whether engines that compute integers alike give the same outputs: no op between them computes in float32."""
    plain = {*MOVING, "Constant", "Dequantize"}
    return integer_ends(program) is not None and all(
        op.kind in plain or program.dtype(op.output) != "float32" for op in program.ops
    )


def _units(program: Program, ends: list[Op]) -> dict[str, Array]:
    """Return each output number's scale and offset (float64) and zero point (int64), outputs side by side."""
    columns: dict[str, list[Array]] = {"scale": [], "offset": [], "zero_point": []}
    for op in ends:
        kind, shape = program.types[op.inputs[0]], program.shapes[op.output]
        factor, offset = op.arrays.get("factor", np.float32(1)), op.arrays.get("offset", np.float32(0))
        columns["scale"].append(np.broadcast_to(kind.scale * factor.astype(np.float64), shape).reshape(-1))
        columns["offset"].append(np.broadcast_to(offset.astype(np.float64), shape).reshape(-1))
        columns["zero_point"].append(np.full(program.size(op.output), kind.zero_point, np.int64))
    return {name: np.concatenate(parts) for name, parts in columns.items()}
