"""Find where time runs in every value, by running the graph at two lengths and looking which axis grew.

Shapes seen in a run are right for any op, known or unknown, decomposed or not; no pattern is matched.

1. A value that depends on no data and is the same at both lengths is a constant, whatever computed it.
2. A value that depends on data and grew along one axis has its time there, whether in step with the input or not.
3. A value that depends on no data but on the length may only say shapes (Reshape, Expand …); read as data it would
   make the model depend on how much it is given at once, so its reader is refused.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from export.errors import ExportError, node_error
from export.graph import Array, StreamGraph, probe

LENGTHS = (131, 257)
"""Two primes that are unlikely to be the size of anything else in a model, and far enough apart for strides."""

SHAPE_INPUTS = {"Reshape": 1, "Expand": 1, "Slice": 1}
"""Ops that read shapes or bounds beside data, and the first input at which they do."""


def apply(stream: StreamGraph) -> bool:
    """Fill in `stream.time` and fold what does not depend on data."""
    values = [v for node in stream.graph for v in node.outputs if v.name and (v.uses() or v.is_graph_output())]
    short, long = (probe(stream.model, frames(stream, length), values) for length in LENGTHS)
    on_data = data_dependent(stream.graph)
    stream.time, stream.lengths = {stream.input: stream.time_axis}, {stream.input: LENGTHS}
    changed = False
    for value in values:
        name = str(value.name)
        if value in on_data:
            axis = _grown_axis(value, short[name], long[name])  # 2
            value.shape = ir.Shape(["time" if i == axis else dim for i, dim in enumerate(short[name].shape)])
            value.type = ir.TensorType(ir.DataType.from_numpy(short[name].dtype))
            if axis is not None:
                stream.time[value] = axis
                stream.lengths[value] = short[name].shape[axis], long[name].shape[axis]
        elif short[name].shape == long[name].shape and np.array_equal(short[name], long[name]):
            changed |= _fold(stream, value, short[name])  # 1
        else:
            _check_shape_only(value, on_data)  # 3
    common.RemoveUnusedNodesPass()(stream.model)
    if not any(output in stream.time for output in stream.graph.outputs) and stream.graph.outputs:
        stream.notes.append("the output has no time axis: the model gives its last step's output only")
    return changed


def frames(stream: StreamGraph, length: int, seed: int = 0) -> dict[str, Array]:
    """Return random input frames of a length, seeded: what they hold does not matter, only their shape."""
    shape = [dim if isinstance(dim, int) else 1 for dim in stream.input.shape or ()]
    if not shape:
        raise ExportError(f"the input '{stream.input.name}' has no shape; give one with --example.")
    shape[stream.time_axis] = length
    return {str(stream.input.name): np.random.default_rng(seed).normal(size=shape).astype(np.float32)}


def data_dependent(graph: ir.Graph) -> set[ir.Value]:
    """Return the values that depend on the content of an input, not only on its shape."""
    found: set[ir.Value] = set(graph.inputs)
    for node in graph:
        reads_content = node.op_type not in ("Shape", "Size") and any(value in found for value in node.inputs)
        if reads_content or node.op_type.startswith("Random"):
            found.update(node.outputs)
    return found


def _grown_axis(value: ir.Value, short: Array, long: Array) -> int | None:
    grown = [axis for axis, (a, b) in enumerate(zip(short.shape, long.shape, strict=True)) if a != b]
    producer = value.producer()
    name, op_type = (str(producer.name), producer.op_type) if producer else (str(value.name), "input")
    if len(grown) > 1:
        raise node_error(name, op_type, "its output grows with time along more than one axis.")
    return grown[0] if grown else None


def _fold(stream: StreamGraph, value: ir.Value, content: Array) -> bool:
    if value.is_graph_output():
        raise ExportError(f"the output '{value.name}' does not depend on the input.")
    if not value.uses():
        return False
    value.replace_all_uses_with(stream.constant(f"{value.name}_folded", content))
    return True


def _check_shape_only(value: ir.Value, on_data: set[ir.Value]) -> None:
    for node, index in value.uses():
        if any(output in on_data for output in node.outputs) and index < SHAPE_INPUTS.get(
            node.op_type, len(node.inputs)
        ):
            raise node_error(
                str(node.name), node.op_type, "it computes with the number of time steps, which a stream does not have."
            )
