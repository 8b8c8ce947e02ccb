"""A mean over time becomes a running mean: after every step, that of all steps so far.

With n steps before this one, mean' = mean + (x - mean) / (n + 1) (Welford, "Note on a method for calculating corrected
sums of squares and products", Technometrics 4, 1962), in float64: it neither overflows nor loses small steps early.
What one step adds gets ever smaller, and old steps never fade: the user says after how many the stream is reset
(--max-steps).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, constant_of, ints, sizes
from export.passes import buffers

DOUBLE = int(ir.DataType.DOUBLE)


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a node is a mean over time alone that ends the time axis."""
    value = node.inputs[0] if node.inputs else None
    if node.op_type != "ReduceMean" or value is None or value not in stream.time or node.outputs[0] in stream.time:
        return False
    given = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = ints(node, "axes") or (() if given is None else tuple(int(axis) for axis in given))
    return {axis % len(sizes(value)) for axis in axes} == {stream.time[value]}


def check(stream: StreamGraph, node: ir.Node) -> None:
    """Raise ExportError where nothing says when the stream is reset."""
    if stream.max_steps is None:
        raise node_error(
            str(node.name),
            node.op_type,
            "it is a mean over all time, to which each further step adds less. Say after how many frames the stream is "
            "reset: --max-steps N; or run whole windows: --window N.",
        )


def apply(stream: StreamGraph) -> bool:
    """Rewrite every mean over time."""
    nodes = [node for node in stream.graph if claims(stream, node)]
    for number, node in enumerate(nodes):
        given = node.outputs[0]
        users = list(given.uses())
        before = _following(stream, node)
        mean = stream.add_state(f"mean{number}", np.zeros(sizes(given), np.float64))
        one = stream.constant("one", np.ones(1, np.int64))
        count = buffers.emit(stream, before, "Add", [buffers.clock(stream), one])
        real = buffers.emit(stream, before, "Cast", [count], to=DOUBLE)
        wide = buffers.emit(stream, before, "Cast", [given], to=DOUBLE)
        part = buffers.emit(stream, before, "Div", [buffers.emit(stream, before, "Sub", [wide, mean]), real])
        exact = buffers.emit(stream, before, "Add", [mean, part])
        running = buffers.emit(stream, before, "Cast", [exact], to=int(ir.DataType.FLOAT))
        for user, index in users:
            user.replace_input_with(index, running)
        if given.is_graph_output():
            running.name, given.name = given.name, stream.new_name("stream.mean.y")
            stream.graph.outputs[list(stream.graph.outputs).index(given)] = running
        stream.leave(mean, exact)
        stream.limited = True
        stream.notes.append(f"mean over time: the stream must be reset after {stream.max_steps} frames at most")
    return bool(nodes)


def _following(stream: StreamGraph, node: ir.Node) -> ir.Node:
    """Return the node behind this one; a new one, which nothing reads, where it is the last."""
    rest = list(stream.graph)
    place = rest.index(node) + 1
    if place < len(rest):
        return rest[place]
    last = ir.node("Identity", [node.outputs[0]])
    last.name = stream.new_name("stream.end")
    last.outputs[0].name = stream.new_name("stream.end.y")
    stream.graph.append(last)
    return last
