"""The number of steps, read as a number where the time axis has ended: there it is that of the steps so far.

So a mean written out as a sum over the sequence's length is the running one.

1. A value that is a whole number of times the frames, plus a constant, comes from the clock, in int64.
2. What is computed from such is computed again at every step.
Where the time axis goes on, such a value would depend on what is still to come; time_axis.py refuses it there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import Array, StreamGraph, constant_of
from export.passes import buffers, original, time_axis


def apply(stream: StreamGraph) -> bool:
    """Replace every count of steps that is read behind the end of the time axis."""
    on_data = time_axis.data_dependent(stream)
    changed = False
    for value in stream.counts:
        for node, index in list(value.uses()):
            if time_axis.reads_content(node, index) and node.outputs[0] in on_data:
                node.replace_input_with(index, _now(stream, node, value))
                changed = True
    return changed


def _now(stream: StreamGraph, before: ir.Node, value: ir.Value) -> ir.Value:
    """Return what a value would be if the sequence ended with this step."""
    if constant_of(value) is not None:
        return value
    line = None if value in stream.sized else _line(stream, value)
    if line is not None:
        return _counted(stream, before, value, *line)  # 1
    producer = value.producer()
    if producer is None or value in stream.sized or any(entering is None for entering in producer.inputs):
        raise node_error(
            str(before.name), before.op_type, "it computes with the number of time steps in a way that is not streamed."
        )
    inputs = [_now(stream, before, entering) for entering in producer.inputs if entering is not None]
    copy = ir.node(producer.op_type, inputs, dict(producer.attributes), domain=producer.domain)
    copy.name = stream.new_name(f"now.{producer.op_type.lower()}")
    copy.outputs[0].name = stream.new_name(f"{copy.name}.y")
    stream.graph.insert_before(before, copy)
    return copy.outputs[0]  # 2


def _line(stream: StreamGraph, value: ir.Value) -> tuple[Array, Array] | None:
    """Return slope and start of a value that grows with the frames by whole numbers, seen at three lengths."""
    short, long = stream.probed
    lengths = (short, (short + long) // 2, long)
    a, b, c = (np.asarray(original.content(stream, value, length), np.float64) for length in lengths)
    slope = (c - a) / (long - short)
    start = a - slope * short
    whole = all(np.array_equal(each, np.rint(each)) for each in (slope, start))
    if not whole or not np.array_equal(b, slope * lengths[1] + start):
        return None
    return slope.astype(np.int64), start.astype(np.int64)


def _counted(stream: StreamGraph, before: ir.Node, value: ir.Value, slope: Array, start: Array) -> ir.Value:
    def whole(array: object) -> ir.Value:
        return stream.constant("count", np.asarray(array, np.int64))

    steps = buffers.emit(stream, before, "Add", [buffers.clock(stream), whole([1])])
    frames = buffers.emit(stream, before, "Mul", [steps, whole([stream.frames_per_step])])
    flat = buffers.emit(stream, before, "Mul", [frames, whole(slope.reshape(-1))])
    flat = buffers.emit(stream, before, "Add", [flat, whole(start.reshape(-1))])
    formed = buffers.emit(stream, before, "Reshape", [flat, whole(slope.shape)])
    kind = value.type.dtype if value.type is not None else ir.DataType.INT64
    return buffers.emit(stream, before, "Cast", [formed], to=int(kind))
