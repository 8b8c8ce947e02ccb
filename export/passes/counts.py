"""The number of steps, read as a number where the time axis has ended: there it is that of the steps so far.

So a mean written out as a sum over the sequence's length is the running one.

1. A value that is a whole number of times the steps, plus a constant, comes from the clock, in int64.
2. What is computed from such is computed again at every step.
3. In the first steps, of which the model gives nothing, it is that of the first step that gives something: one over it
   is a number.
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
    known = producer is not None and all(entering is not None for entering in producer.inputs)
    if producer is None or not known or value in stream.sized or producer.op_type in ("Shape", "Size"):
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
    """Return slope and start of a value that grows with the steps by whole numbers, seen at three lengths."""
    every = stream.frames_per_step
    first, last = -(-stream.probed[0] // every), stream.probed[1] // every
    steps = (first, (first + last) // 2, last)
    a, b, c = (np.asarray(original.content(stream, value, count * every), np.float64) for count in steps)
    if not a.shape == b.shape == c.shape or first >= last:
        return None
    slope = (c - a) / (last - first)
    start = a - slope * first
    whole = all(np.array_equal(each, np.rint(each)) for each in (slope, start))
    if not whole or not np.array_equal(b, slope * steps[1] + start):
        return None
    return slope.astype(np.int64), start.astype(np.int64)


def _counted(stream: StreamGraph, before: ir.Node, value: ir.Value, slope: Array, start: Array) -> ir.Value:
    def whole(array: object) -> ir.Value:
        return stream.constant("count", np.asarray(array, np.int64))

    steps = buffers.emit(stream, before, "Add", [buffers.clock(stream), whole([1])])
    known = stream.output_timing
    if known is not None and known.delay:  # 3
        steps = buffers.emit(stream, before, "Max", [steps, whole([known.delay + 1])])
    flat = buffers.emit(stream, before, "Mul", [steps, whole(slope.reshape(-1))])
    flat = buffers.emit(stream, before, "Add", [flat, whole(start.reshape(-1))])
    formed = buffers.emit(stream, before, "Reshape", [flat, whole(slope.shape)])
    kind = value.type.dtype if value.type is not None else ir.DataType.INT64
    return buffers.emit(stream, before, "Cast", [formed], to=int(kind))
