"""A Reshape that lays k steps side by side in one: [.., T, F] becomes [.., T / k, k F], or [.., T / k, k, F].

1. Row-major order keeps the steps of one group together where as many elements stand before the time axis as did. The
   node stays as it is: a step takes k frames, or a multiple, and so gives whole groups.
2. What comes late by less than a whole group is made to wait for the rest of it.
3. A Slice before it that cuts off the steps that fill no group has nothing to cut in a stream, and goes.
What the frames of an unfinished group are good for is seen when it is full; the original leaves them off.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from export.graph import StreamGraph, Timing, constant_of, first_input, sizes
from export.passes import buffers


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a node lays several steps side by side."""
    return _together(stream, node) > 1


def trims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a node cuts off the last steps along time, those that fill no group of all that read it (3)."""
    value, output = (node.inputs[0] if node.inputs else None), node.outputs[0]
    if node.op_type != "Slice" or value not in stream.time or output not in stream.time or value is None:
        return False
    starts, axes, steps = (constant_of(given) for given in (*node.inputs[1:2], *[*node.inputs[3:], None, None][:2]))
    along = axes is not None and [int(axis) % len(sizes(value)) for axis in axes] == [stream.time[value]]
    if not along or starts is None or starts.any() or (steps is not None and np.any(steps != 1)):
        return False
    counts = {_together(stream, user) for user, _ in output.uses() if user.op_type not in ("Shape", "Size")}
    count = counts.pop() if len(counts) == 1 else 0
    lengths = zip(stream.lengths[value], stream.lengths[output], strict=True)
    return count > 1 and not output.is_graph_output() and all(kept == whole // count * count for whole, kept in lengths)


def whole(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the timing of what a node that trims gives: its input's."""
    return stream.timing[first_input(node)]


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the output's timing: an entry for each group of the input's."""
    entering, count = stream.timing[first_input(node)], _together(stream, node)
    reach = (count - 1) * entering.stride
    delay = -(-entering.delay // count)
    return replace(entering, stride=entering.stride * count, delay=delay, last=entering.last + reach)


def apply(stream: StreamGraph) -> bool:
    """Let what comes late wait for whole groups (2)."""
    cutting = [node for node in stream.graph if trims(stream, node)]
    for node in cutting:
        untrimmed = buffers.emit(stream, node, "Identity", [first_input(node)])
        stream.lengths[untrimmed] = stream.lengths[node.outputs[0]]
        buffers.take_over(stream, node.outputs[0], untrimmed)
        stream.graph.remove(node, safe=True)
    changed = bool(cutting)
    for node in [node for node in stream.graph if claims(stream, node)]:
        value = first_input(node)
        late = -stream.timing[value].delay % _together(stream, node)
        if late:
            node.replace_input_with(0, buffers.delayed(stream, node, value, late))
            changed = True
    return changed


def _together(stream: StreamGraph, node: ir.Node) -> int:
    """Return how many steps a node lays side by side, 0 where it does something else."""
    value, output = (node.inputs[0] if node.inputs else None), node.outputs[0]
    if node.op_type != "Reshape" or value not in stream.time or output not in stream.time or value is None:
        return 0
    before, after = (sizes(each)[: stream.time[each]] for each in (value, output))
    (short, long), (fewer, more) = stream.lengths[value], stream.lengths[output]
    even = fewer and not short % fewer and not long % more and short // fewer == long // more
    return short // fewer if even and math.prod(before) == math.prod(after) else 0
