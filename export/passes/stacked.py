"""A Reshape that lays k steps side by side in one: [.., T, F] becomes [.., T / k, k F], or [.., T / k, k, F].

1. Row-major order keeps the steps of one group together where as many elements stand before the time axis as did. The
   node stays as it is: a step takes k frames, or a multiple, and so gives whole groups.
2. What comes late by less than a whole group is made to wait for the rest of it.
What the frames of an unfinished group are good for is seen when it is full; the original leaves them off.
"""

from __future__ import annotations

import math
from dataclasses import replace

import onnx_ir as ir

from export.graph import StreamGraph, Timing, first_input, sizes
from export.passes import buffers


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a node lays several steps side by side."""
    return _together(stream, node) > 1


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the output's timing: an entry for each group of the input's."""
    entering, count = stream.timing[first_input(node)], _together(stream, node)
    reach = (count - 1) * entering.stride
    delay = -(-entering.delay // count)
    return replace(entering, stride=entering.stride * count, delay=delay, last=entering.last + reach)


def apply(stream: StreamGraph) -> bool:
    """Let what comes late wait for whole groups (2)."""
    changed = False
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
