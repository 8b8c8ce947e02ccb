"""Program → the file of a native program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq.backends.native import program as native
from export import storage as stored
from export.program import Array, Op, Program


def write(path: Path, program: Program, storage: str = "") -> None:
    """Write a Program, float or quantized, for edgeseq's own engine.

    storage: "float16" or "w8" for one whose weights were rounded so; they stand in the file as such.
    """
    arrays = _arrays(program)
    names = {id(array): name for name, array in arrays.items()}
    content, scales = _stored(arrays, storage)
    description = native.Description(
        version=native.VERSION,
        frames=program.frames,
        inputs=[
            native.Input(name=i.name, first=i.columns.start, last=i.columns.stop, time_axis=i.time_axis)
            for i in program.inputs
        ],
        outputs=list(program.outputs),
        held=list(program.held),
        states=[native.State(name=s.name, input=s.input, output=s.output) for s in program.states],
        tensors={name: _tensor(program, name) for name in program.shapes},
        ops=[_op(op, names) for op in program.ops],
        scales=scales,
    )
    native.write(path, description, content)


def weight_bytes(program: Program, storage: str = "") -> int:
    """Return the bytes of all numbers of a Program's file, without the scalars that only describe them."""
    content, _ = _stored(_arrays(program), storage)
    return sum(array.nbytes for array in content.values() if array.size > 1)


def _arrays(program: Program) -> dict[str, Array]:
    """Return what is fixed of the ops; what several share stands there once."""
    found: dict[int, tuple[str, Array]] = {}
    for number, op in enumerate(program.ops):
        for key, array in op.arrays.items():
            found.setdefault(id(array), (f"{number}.{key}", array))
    return dict(found.values())


def _stored(arrays: Mapping[str, Array], storage: str) -> tuple[dict[str, Array], dict[str, str]]:
    """Return what stands in the file for a Program's arrays, and by name which of it is whose scale."""
    content, scales = dict(arrays), dict[str, str]()
    for name, array in arrays.items() if storage else ():
        found = stored.lossless(array, storage)
        if found is None:
            continue
        content[name], scale = found
        if scale is not None:
            scales[name] = f"{name}.scale"
            content[scales[name]] = scale
    return content, scales


def _op(op: Op, names: Mapping[int, str]) -> native.Op:
    return native.Op(
        kind=op.kind,
        output=op.output,
        inputs=list(op.inputs),
        node=op.node,
        attributes={key: _plain(value) for key, value in op.attributes.items()},
        arrays={key: names[id(array)] for key, array in op.arrays.items()},
    )


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
