"""Find where time runs in every value, by running the graph at two lengths and looking which axis grew.

Shapes seen in a run are right for any op, known or unknown, decomposed or not; no pattern is matched.

1. A value that depends on no data and is the same at both lengths is a constant, whatever computed it.
2. A value that depends on data and grew along one axis has its time there, whether in step with the input or not; one
   that grew along two is over two times, as attention's scores are.
3. A value that depends on no data but on the length, and grew along one axis or two, is a table over time: positions or
   a mask. Any other may only say shapes (Reshape, Expand …), or count steps where time has ended (counts.py); read as
   data elsewhere it would make the model depend on how much it is given at once, so its reader is refused.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from export.errors import ExportError, node_error
from export.graph import Array, Pair, StreamGraph, bodies, probe, reads
from export.lengths import accepted

LENGTHS = (131, 254)
"""A prime and twice another: unlikely to be the size of anything else in a model, far enough apart for strides, and one
odd, one even: of two odd ones, what drops half a pair looks as if it dropped the last entry. Where a model does not run
at them, as one with a short table of positions, two others that it runs at."""

PAIR = 2
SHAPE_INPUTS = {"Reshape": 1, "Expand": 1, "Slice": 1, "Tile": 1, "ReverseSequence": 1, "Resize": 1}
"""Ops that read shapes or bounds beside data, and the first input at which they do."""


def apply(stream: StreamGraph) -> bool:
    """Fill in `stream.time` and fold what does not depend on data."""
    asked = [v for node in stream.graph for v in node.outputs if v.name and (v.uses() or v.is_graph_output())]
    stream.probed = probed(stream)
    short, long = (probe(stream.model, frames(stream, length), asked) for length in stream.probed)
    values = [value for value in asked if value.name in short]
    if stream.held:
        others = {name: examples[1] for name, examples in stream.held.items()}
        other = probe(stream.model, frames(stream, stream.probed[0]) | others, values)
        stream.steady = {v for v in values if short[str(v.name)].shape == other[str(v.name)].shape}
    on_data = data_dependent(stream)
    for given, value in zip(stream.frames, stream.inputs, strict=True):
        stream.time[value], stream.lengths[value] = given.time_axis, stream.probed
    changed, unclear = False, []
    for value in values:
        name = str(value.name)
        if value in on_data:
            axes = _grown_axes(value, short[name], long[name])  # 2
            _describe(value, short[name], axes)
            if len(axes) == PAIR:
                stream.pairs[value] = Pair(*axes)
            elif axes:
                stream.time[value] = axes[0]
                stream.lengths[value] = short[name].shape[axes[0]], long[name].shape[axes[0]]
        elif short[name].shape == long[name].shape and np.array_equal(short[name], long[name]):
            changed |= _fold(stream, value, short[name])  # 1
        elif short[name].shape != long[name].shape and short[name].ndim == long[name].ndim:
            axes = _grown_axes(value, short[name], long[name])  # 3
            _describe(value, short[name], axes)
            stream.sized[value] = axes
        else:
            _describe(value, short[name], ())
            unclear.append(value)
    for value in unclear:
        _check_shape_only(stream, value, on_data)  # 3
    common.RemoveUnusedNodesPass()(stream.model)
    _conclude(stream)
    return changed


def _conclude(stream: StreamGraph) -> None:
    if stream.sized or stream.counts:
        stream.original = stream.model.clone()
    if not any(output in stream.time for output in stream.graph.outputs) and stream.graph.outputs:
        stream.notes.append("the output has no time axis: the model gives its last step's output only")


def probed(stream: StreamGraph) -> tuple[int, int]:
    """Return two lengths at which the graph runs."""
    short, long = accepted(lambda length: probe(stream.model, frames(stream, length), stream.outputs), LENGTHS)
    return short, long


def frames(stream: StreamGraph, length: int, seed: int = 0) -> dict[str, Array]:
    """Return random input frames of a length, seeded."""
    return stream.noise(length, seed)


def data_dependent(stream: StreamGraph) -> set[ir.Value]:
    """Return the values that depend on the content of an input, not only on its shape.

    The shape of what is held is content, too: the length of its source. What is made of it may have a shape that does
    not follow that length, which is no content.
    """
    found: set[ir.Value] = set(stream.graph.inputs)
    held = {value for value in stream.graph.inputs if value.name in stream.held}
    for node in stream.graph:
        # CastLike takes the second input's type alone.
        read = node.inputs[:1] if node.op_type == "CastLike" else reads(node)
        content = held - stream.steady if node.op_type in ("Shape", "Size") else found
        reads_content = any(value in content for value in read)
        if any(value in held for value in read):
            held.update(node.outputs)
        if reads_content or node.op_type.startswith("Random"):
            found.update(node.outputs)
            for body in bodies(node):
                found.update(output for inner in body.all_nodes() for output in inner.outputs)
    return found


def _grown_axes(value: ir.Value, short: Array, long: Array) -> tuple[int, ...]:
    grown = [axis for axis, (a, b) in enumerate(zip(short.shape, long.shape, strict=True)) if a != b]
    producer = value.producer()
    name, op_type = (str(producer.name), producer.op_type) if producer else (str(value.name), "input")
    if len(grown) > PAIR:
        raise node_error(name, op_type, "its output grows with time along more than two axes.")
    return tuple(grown)


def _describe(value: ir.Value, content: Array, axes: tuple[int, ...]) -> None:
    value.shape = ir.Shape(["time" if i in axes else dim for i, dim in enumerate(content.shape)])
    value.type = ir.TensorType(ir.DataType.from_numpy(content.dtype))


def _fold(stream: StreamGraph, value: ir.Value, content: Array) -> bool:
    if value.is_graph_output():
        raise ExportError(f"the output '{value.name}' does not depend on the input.")
    if not value.uses():
        return False
    value.replace_all_uses_with(stream.constant(f"{value.name}_folded", content))
    return True


def reads_content(node: ir.Node, index: int) -> bool:
    """Return whether a node reads an input for more than a shape."""
    return index < SHAPE_INPUTS.get(node.op_type, len(node.inputs))


def _check_shape_only(stream: StreamGraph, value: ir.Value, on_data: set[ir.Value]) -> None:
    """Note a count of steps that is read where the time axis has ended (counts.py); refuse it elsewhere."""
    for node, index in value.uses():
        if not reads_content(node, index) or not any(output in on_data for output in node.outputs):
            continue
        around = [v for v in (*node.inputs, *node.outputs) if v is not None]
        # What is held has no time either, and may be read at every step.
        if not stream.held and not any(v in stream.time or v in stream.pairs for v in around):
            stream.counts.append(value)
        else:
            raise node_error(
                str(node.name), node.op_type, "it computes with the number of time steps, which a stream does not have."
            )
