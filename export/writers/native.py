"""Program → the file of a native program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeseq.backends.native import program as native
from export.program import Array, Program


def write(path: Path, program: Program) -> None:
    """Write a Program, float or quantized, for edgeseq's own engine."""
    arrays: dict[str, Array] = {}
    ops = []
    for number, op in enumerate(program.ops):
        names = {key: f"{number}.{key}" for key in op.arrays}
        arrays |= {names[key]: np.asarray(array) for key, array in op.arrays.items()}
        attributes = {key: _plain(value) for key, value in op.attributes.items()}
        ops.append(native.Op(kind=op.kind, output=op.output, inputs=list(op.inputs), node=op.node, attributes=attributes, arrays=names))
    description = native.Description(
        version=native.VERSION, frames=program.frames,
        inputs=[native.Input(name=i.name, first=i.columns.start, last=i.columns.stop, time_axis=i.time_axis) for i in program.inputs],
        outputs=list(program.outputs),
        states=[native.State(name=s.name, input=s.input, output=s.output) for s in program.states],
        tensors={name: _tensor(program, name) for name in program.shapes},
        ops=ops,
    )
    native.write(path, description, arrays)


def _tensor(program: Program, name: str) -> native.Tensor:
    kind = program.types.get(name)
    shape, dtype = list(map(int, program.shapes[name])), program.dtype(name)
    if kind is None:
        return native.Tensor(shape=shape, dtype=dtype)
    return native.Tensor(shape=shape, dtype=dtype, scale=kind.scale, zero_point=kind.zero_point)


def _plain(value: Any) -> Any:
    """Return an attribute as JSON has it."""
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value
