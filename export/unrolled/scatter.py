"""A buffer that is filled step by step becomes the concatenation of what fills it.

`out = zeros(…); for t: out[:, t] = y` comes out as a chain of ScatterND or ScatterElements nodes, each with its place
as a constant. Where what is written goes is seen by running the chain on numbers that say where they come from,
whatever the form of the places. Only a chain that fills all of the buffer, one entry along an axis at a time, is
replaced.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir

from export.errors import ExportError
from export.graph import Array, constant_of, session
from export.unrolled.steps import shape

OPS = {"ScatterND", "ScatterElements"}


def apply(graph: ir.Graph) -> None:
    """Replace all such chains of a graph whose shapes are known."""
    for node in list(graph):
        if node.op_type in OPS and not any(_goes_on(reader, index) for reader, index in node.outputs[0].uses()):
            chain = _chain(node)
            axis = _axis(chain)
            if axis is not None:
                _concatenate(graph, chain, axis)


def _goes_on(node: ir.Node, index: int) -> bool:
    return node.op_type in OPS and index == 0


def _chain(node: ir.Node) -> list[ir.Node]:
    """Return the nodes that fill one buffer, the first one first; each is read by the next alone."""
    chain = [node]
    while (
        (data := chain[0].inputs[0]) is not None
        and (before := data.producer()) is not None
        and before.op_type in OPS
        and len(data.uses()) == 1
    ):
        chain.insert(0, before)
    return chain


def _axis(chain: list[ir.Node]) -> int | None:
    """Return along which axis the chain fills its buffer, entry by entry in order; None where it does otherwise."""
    target, places = shape(chain[0].outputs[0]), [constant_of(node.inputs[1]) for node in chain]
    one = math.prod(target) // len(chain)
    sizes = [shape(node.inputs[2]) if node.inputs[2] is not None else () for node in chain]
    if constant_of(chain[0].inputs[0]) is None or any(place is None for place in places):
        return None
    if any(math.prod(size) != one for size in sizes) or one * len(chain) != math.prod(target):
        return None
    written: list[Array] = [(np.arange(one) + number * one).reshape(size) for number, size in enumerate(sizes)]
    try:
        filled = _run(chain, target, written)
    except ExportError:
        return None
    for axis, dim in enumerate(target):
        rest = target[:axis] + target[axis + 1 :]
        if dim == len(chain) and np.array_equal(np.stack([each.reshape(rest) for each in written], axis), filled):
            return axis
    return None


def _run(chain: list[ir.Node], target: tuple[int, ...], written: list[Array]) -> Array:
    """Run a chain on other numbers."""
    nodes = [ir.to_proto(node) for node in chain]
    feeds: dict[str, Array] = {"buffer": np.full(target, -1, np.int64)}
    nodes[0].input[0] = "buffer"
    for number, (proto, node, content) in enumerate(zip(nodes, chain, written, strict=True)):
        place = constant_of(node.inputs[1])
        proto.input[1], proto.input[2] = f"place{number}", f"written{number}"
        feeds |= {f"place{number}": np.asarray(place, np.int64), f"written{number}": content.astype(np.int64)}
    for before, after in pairwise(nodes):
        after.input[0] = before.output[0]
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, x.shape) for name, x in feeds.items()]
    output = onnx.helper.make_tensor_value_info(nodes[-1].output[0], onnx.TensorProto.INT64, target)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "chain", inputs, [output]),
        opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10,
    )  # fmt: skip
    try:
        return np.asarray(session(model).run(None, feeds)[0])
    except Exception as cause:
        raise ExportError(str(cause)) from cause


def _concatenate(graph: ir.Graph, chain: list[ir.Node], axis: int) -> None:
    last = chain[-1]
    target = list(shape(last.outputs[0]))
    target[axis] = 1
    name = f"{last.name}.filled"
    dims = ir.Value(name=f"{name}.shape", const_value=ir.tensor(np.array(target, np.int64), name=f"{name}.shape"))
    dims.shape, dims.dtype = ir.Shape([len(target)]), ir.DataType.INT64
    graph.register_initializer(dims)
    entries = []
    for number, node in enumerate(chain):
        value = node.inputs[2]
        if value is not None and shape(value) != tuple(target):
            entry = ir.node("Reshape", [value, dims], name=f"{name}.entry{number}")
            entry.outputs[0].name, entry.outputs[0].shape = f"{entry.name}.out", ir.Shape(target)
            entry.outputs[0].type = value.type
            graph.insert_before(last, entry)
            value = entry.outputs[0]
        entries.append(value)
    joined = ir.node("Concat", entries, attributes={"axis": axis}, name=name)
    joined.outputs[0].shape, joined.outputs[0].type = last.outputs[0].shape, last.outputs[0].type
    joined.outputs[0].name = f"{name}.out"
    graph.insert_before(last, joined)
    if last.outputs[0].is_graph_output():
        joined.outputs[0].name, last.outputs[0].name = last.outputs[0].name, f"{name}.old"
    last.outputs[0].replace_all_uses_with(joined.outputs[0], replace_graph_outputs=True)
