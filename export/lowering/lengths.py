"""Two Programs of one graph, each lowered for a source of another length, made one that takes sources of any length.

Both have the same ops; what differs in their attributes is the source's length:
1. A view infers it; where it is there twice, the view adds or drops axes of one entry and is said by that.
2. A cut counts from the end of what grows; its own end there lies beyond any length.
3. An Expand along the source in front of an op that does so by itself is left out.
4. Anything else hangs on the length in a way that one list of ops cannot say: a loop over the source, for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from export.errors import FLOAT_ALONE, NoIntegerForm, node_error
from export.operations import ARITHMETIC, REAL
from export.program import Growing, Op, Program, Shape

BEYOND = int(np.iinfo(np.int64).max)
ALONG_AXES = {"Softmax", "LogSoftmax", "LayerNormalization", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"}
ELEMENTWISE = {*ARITHMETIC, *REAL, "Where"} - ALONG_AXES
INFERRED = -1


def growing(short: Program, long: Program) -> set[str]:
    """Return the tensors whose shapes differ between two lengths."""
    return {name for name, shape in short.shapes.items() if long.shapes.get(name, shape) != shape}


def merged(short: Program, long: Program) -> Program:
    """Return the one Program, with its shapes as they are in `short`. Raises NoIntegerForm naming the node that varies.

    Both Programs are used up.
    """
    for program in (short, long):
        _without_expands(program)
    for a, b in zip(short.ops, long.ops, strict=False):
        if (a.kind, a.output, a.inputs) != (b.kind, b.output, b.inputs):
            raise _refusal(a)
    if len(short.ops) != len(long.ops) or short.outputs != long.outputs:
        raise _refusal(short.ops[-1])
    shapes = {name: _shape(shape, long.shapes[name]) for name, shape in short.shapes.items() if name in long.shapes}
    short.ops = [_op(a, b, shapes, long.shapes) for a, b in zip(short.ops, long.ops, strict=True)]
    short.shapes = shapes
    return short


def _shape(short: Shape, long: Shape) -> Shape:
    return tuple(size if size == other else Growing(size, other) for size, other in zip(short, long, strict=True))


def _op(a: Op, b: Op, shapes: Mapping[str, Shape], long: Mapping[str, Shape]) -> Op:
    """Return the op for any length (1, 2)."""
    along = any(isinstance(size, Growing) for size in shapes[a.inputs[0]]) if a.inputs else False
    if a.kind == "Conv" and along:
        raise NoIntegerForm(str(node_error(a.node, a.kind, f"it slides over the whole source{FLOAT_ALONE}")))
    if a.arrays.keys() != b.arrays.keys() or any(
        not np.array_equal(array, b.arrays[key], equal_nan=array.dtype.kind == "f") for key, array in a.arrays.items()
    ):
        raise _refusal(a)
    if a.attributes == b.attributes:
        return a
    if a.kind == "Reshape":
        return _view(a, shapes[a.inputs[0]], shapes[a.output])
    found: dict[str, Any] = {}
    for key, value in a.attributes.items():
        other = b.attributes[key]
        if value == other:
            found[key] = value
        elif a.kind == "Slice":
            sizes = zip(shapes[a.inputs[0]], long[a.inputs[0]], strict=True)
            found[key] = tuple(_from_the_end(a, *ends) for ends in zip(value, other, sizes, strict=True))
        else:
            raise _refusal(a)
    return replace(a, attributes=found)


def _view(op: Op, source: Shape, target: Shape) -> Op:
    """1."""
    sizes = tuple(INFERRED if isinstance(size, Growing) else size for size in target)
    if sizes.count(INFERRED) == 1:
        return replace(op, attributes={"shape": sizes})
    for kind, less, more in (("Unsqueeze", source, target), ("Squeeze", target, source)):
        axes = _added(less, more)
        if axes is not None:
            return replace(op, kind=kind, attributes={"axes": axes})
    raise _refusal(op)


def _added(less: Shape, more: Shape) -> tuple[int, ...] | None:
    """Return which axes of one entry make one shape the other; None where others would have to."""
    rest, axes = list(less), []
    for axis, size in enumerate(more):
        if rest and rest[0] == size:
            rest.pop(0)
        elif size == 1:
            axes.append(axis)
        else:
            return None
    return None if rest else tuple(axes)


def _from_the_end(op: Op, short: int, long: int, sizes: tuple[int, int]) -> int:
    """2."""
    if short == long:
        return short
    if short - sizes[0] != long - sizes[1]:
        raise _refusal(op)
    return int(short - sizes[0]) or BEYOND


def _without_expands(program: Program) -> None:
    """3."""
    readers, kept = program.readers(), {*program.outputs, *(state.output for state in program.states)}
    instead: dict[str, str] = {}
    ops = []
    for op in program.ops:
        reading = readers.get(op.output, [])
        alone = op.kind == "Expand" and op.output not in kept and len(reading) > 0
        if alone and all(_broadcasts(program, reader, op, instead) for reader in reading):
            instead[op.output] = op.inputs[0]
            continue
        ops.append(replace(op, inputs=tuple(instead.get(name, name) for name in op.inputs)))
    program.ops = ops


def _broadcasts(program: Program, reader: Op, op: Op, instead: Mapping[str, str]) -> bool:
    """Say whether a reader gives the same without the Expand in front of it."""
    if reader.kind not in ELEMENTWISE:
        return False
    sources = [op.inputs[0] if name == op.output else instead.get(name, name) for name in reader.inputs]
    return np.broadcast_shapes(*(program.shapes[name] for name in sources)) == program.shapes[reader.output]


def _refusal(op: Op) -> NoIntegerForm:
    return NoIntegerForm(
        str(node_error(op.node, op.kind, f"what it computes hangs on how long the source is{FLOAT_ALONE}"))
    )
