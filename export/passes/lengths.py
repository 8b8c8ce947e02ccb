"""In a stream nothing is padded: where a graph reads how long the sequence is, that is all the steps there are.

1. sequence_lens of a recurrent op, if it holds all of its input's steps, says nothing and goes.
2. The last step read by its number (Gather, GatherElements, GatherND at length - 1, Slice from there on) is read as
   entry -1.
What is told apart here is told by what the values hold in runs at several lengths; nothing is matched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from export.graph import Array, StreamGraph, integer, probe
from export.passes import buffers, recurrent, time_axis

INDEXING = {"Gather", "GatherElements", "GatherND", "Slice"}
Runs = dict[ir.Value, tuple[Array, ...]]


def apply(stream: StreamGraph) -> bool:
    """Rewrite what reads the length of the sequence."""
    return rewritten(stream, lambda: [stream.noise(length) for length in time_axis.probed(stream)])


def rewritten(stream: StreamGraph, feeds: Callable[[], Items[Mapping[str, Array]]]) -> bool:
    """Rewrite what reads a length that is that of all there is, in runs on some feeds."""
    on_data = time_axis.data_dependent(stream)
    nodes = [node for node in stream.graph if _reads(node, on_data)]
    if not nodes:
        return False
    wanted = {value for node in nodes for value in (*node.inputs, node.outputs[0]) if value is not None and value.name}
    made = [value for value in wanted if value.producer() is not None]
    given = feeds()
    found = [probe(stream.model, each, made) for each in given]
    runs: Runs = {value: tuple(each[str(value.name)] for each in found) for value in made}
    runs |= {value: tuple(each[str(value.name)] for each in given) for value in stream.inputs}
    changed = [
        _all_steps(node, runs) if node.op_type in recurrent.OPS else _last_step(stream, node, runs) for node in nodes
    ]
    common.RemoveUnusedNodesPass()(stream.model)
    return any(changed)


def _reads(node: ir.Node, on_data: set[ir.Value]) -> bool:
    """Return whether a node on data reads what may be a length."""
    place = recurrent.SEQUENCE_LENS if node.op_type in recurrent.OPS else 1 if node.op_type in INDEXING else None
    read = node.inputs[place] if place is not None and len(node.inputs) > place else None
    return read is not None and read.producer() is not None and read not in on_data and node.inputs[0] in on_data


def _all_steps(node: ir.Node, runs: Runs) -> bool:
    x, given = node.inputs[0], node.inputs[recurrent.SEQUENCE_LENS]
    if x not in runs or given not in runs:
        return False
    axis = integer(node, "layout", 0)
    if not all(np.all(count == array.shape[axis]) for count, array in zip(runs[given], runs[x], strict=True)):
        return False
    node.replace_input_with(recurrent.SEQUENCE_LENS, None)  # 1
    return True


def _last_step(stream: StreamGraph, node: ir.Node, runs: Runs) -> bool:
    value, index, output = node.inputs[0], node.inputs[1], node.outputs[0]
    if value not in runs or index not in runs:
        return False  # what is held has no times of its own
    rank = runs[value][0].ndim
    grown = [
        axis
        for axis, sizes in enumerate(zip(*(array.shape for array in runs[value]), strict=True))
        if len({*sizes}) > 1
    ]
    places = [
        (_place(node, at, rank), at[..., -1] if node.op_type == "GatherND" else at, array.shape)
        for at, array in zip(runs[index], runs[value], strict=True)
        if node.op_type != "Slice"
    ]
    last = len(grown) == 1 and all(axis == grown[0] and np.all(at == shape[axis] - 1) for axis, at, shape in places)
    if last and node.op_type == "Slice":
        pairs = zip(runs[value], runs[output], strict=True)
        last = all(np.array_equal(np.take(whole, [-1], axis=grown[0]), cut) for whole, cut in pairs)
    shapes = {array.shape for array in runs[output]}
    single = node.op_type != "GatherND" or all(size == 1 for size in runs[value][0].shape[: grown[0] if grown else 0])
    if not last or not single or len(shapes) != 1:
        return False
    newest = buffers.emit(
        stream, node, "Gather", [value, stream.constant("last", np.array([-1], np.int64))], axis=grown[0]
    )
    (shape,) = shapes
    taken = list(runs[value][0].shape)
    taken[grown[0]] = 1
    if np.prod(taken) != np.prod(shape):
        return False
    form = stream.constant("last.shape", np.array(shape, np.int64))
    whole = buffers.emit(stream, node, "Reshape", [newest, form])  # 2
    whole.name, output.name = output.name, f"{output.name}.indexed"
    whole.shape, whole.type = ir.Shape(shape), ir.TensorType(ir.DataType.from_numpy(runs[output][0].dtype))
    output.replace_all_uses_with(whole, replace_graph_outputs=True)
    return True


def _place(node: ir.Node, index: Array, rank: int) -> int | None:
    """Return the axis that a node indexes; of a GatherND, whose other indices must be the first entry, the last."""
    if node.op_type != "GatherND":
        return integer(node, "axis", 0) % rank
    if integer(node, "batch_dims", 0) or index[..., :-1].any():
        return None
    return int(index.shape[-1]) - 1
