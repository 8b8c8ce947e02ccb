"""Constant rows joined in front of a sequence (a class token, a learned prefix) are entries before the first frame.

1. The joined value is early by as many entries; what follows from them alone is constant, too: it is the fill of its
   readers' histories, the first keys and values of attention, and a recurrence begins with the state behind them.
2. Where the sequence comes late, the rows stand in the place of entries that are not there yet.
Rows behind a sequence are no such: they come when it ends.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import Array, StreamGraph, Timing, constant_of, integer, sizes
from export.passes import buffers


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a node joins constants in front of one value, along its time."""
    return _rows(stream, node) is not None


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the output's timing: early by the rows."""
    entering, count = stream.timing[_value(node)], _count(stream, node)
    return replace(
        entering,
        delay=entering.delay - count,
        first=None if entering.first is None else entering.first - count * entering.stride,
        last=entering.last - count * entering.stride,
        offset=entering.offset + count * entering.stride,
    )


def apply(stream: StreamGraph) -> bool:
    """Leave the sequence alone of every such Concat; what stood in front of it is in the fills."""
    nodes = [node for node in stream.graph if claims(stream, node)]
    for node in nodes:
        value, output = _value(node), node.outputs[0]
        source = buffers.emit(stream, node, "Identity", [value])
        if stream.timing[value].delay > 0:
            source = _while_late(stream, node, value)  # 2
        buffers.take_over(stream, output, source)
    return bool(nodes)


def _while_late(stream: StreamGraph, node: ir.Node, value: ir.Value) -> ir.Value:
    rows, leaving = _rows(stream, node), stream.timing[node.outputs[0]]
    axis, count = stream.time[value], _count(stream, node)

    def number(given: int) -> ir.Value:
        return stream.constant("number", np.array([given], np.int64))

    places = buffers.index(stream, node, leaving, stream.frames_per_step // leaving.stride)
    at = buffers.emit(stream, node, "Max", [places, number(0)])
    at = buffers.emit(stream, node, "Min", [at, number(count - 1)])
    before = buffers.emit(stream, node, "Gather", [stream.constant("rows", np.asarray(rows)), at], axis=axis)
    form = np.array([-1 if place == axis else 1 for place in range(len(sizes(value)))], np.int64)
    early = buffers.emit(stream, node, "Less", [places, number(count)])
    early = buffers.emit(stream, node, "Reshape", [early, stream.constant("mask.shape", form)])
    return buffers.chosen(stream, node, early, before, value)


def _rows(stream: StreamGraph, node: ir.Node) -> Array | None:
    """Return the rows that a node joins in front of a value along its time, None where it does something else."""
    output = node.outputs[0]
    if node.op_type != "Concat" or output not in stream.time or len(node.inputs) < 2:  # noqa: PLR2004 - rows, sequence
        return None
    axis, (*others, value) = stream.time[output], node.inputs
    rows = [constant_of(other) for other in others]
    known = [row for row in rows if row is not None]
    along = integer(node, "axis", 0) % len(sizes(output)) == axis
    if not along or value is None or stream.time.get(value) != axis or len(known) < len(rows):
        return None
    return np.concatenate(known, axis=axis)


def _value(node: ir.Node) -> ir.Value:
    value = node.inputs[-1]
    if value is None:
        raise node_error(str(node.name), node.op_type, "an input is missing.")
    return value


def _count(stream: StreamGraph, node: ir.Node) -> int:
    rows = _rows(stream, node)
    return 0 if rows is None else rows.shape[stream.time[node.outputs[0]]]
