"""Where the time axis ends before the output: the model gives its last step's output only.

1. The last state of a recurrent op or a Scan, Gather at -1 and Slice from -1 along time all read the newest step; in a
   step graph that is the only one, so they stay as they are.
2. A mean, maximum or sum over time becomes a running one (mean.py), and so does a weighted mean (attention_pooling.py).
3. Any other end of the time axis (a product, the tenth step) is refused by node.
4. What unpadded convolutions give has fewer entries than there are frames; the first steps then give nothing.
5. The first step is kept in a state (first.py).

A model with such a head was usually trained from zero state on windows; what carrying the state on means for it is the
user's decision, which export asks for.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, Timing, constant_of, integer, reads
from export.passes import attention_pooling, first, mean, recurrent, scan


def check(stream: StreamGraph, node: ir.Node) -> None:
    """Check one place where the time axis ends. Raises ExportError for what is not a last step in time."""
    if first.claims(stream, node):
        first.check(stream, node)  # 5
        return
    softmax = attention_pooling.ends(stream, node)
    pooled = softmax is not None or mean.claims(stream, node)
    if softmax is not None:
        attention_pooling.check(stream, node, softmax)  # 2
    elif pooled:
        mean.check(stream, node)  # 2
    elif scan.claims(node):
        scan.timing(stream, node)  # 1
    elif node.op_type in recurrent.OPS:
        recurrent.timing(stream, node)  # 1
    elif not _reads_last(stream, node):
        raise node_error(  # 3
            str(node.name),
            node.op_type,
            "it ends the time axis with something else than the first or the last step, a mean, a sum, a maximum or a "
            "variance, which is not streamed.",
        )
    for value in node.inputs:
        timing = None if value is None else stream.timing.get(value)
        if timing is None:
            continue
        _check_newest(stream, node, timing, alone=not pooled)
        if timing.delay >= 0:
            stream.ended.append(timing)  # 4


def _check_newest(stream: StreamGraph, node: ir.Node, timing: Timing, *, alone: bool) -> None:
    """Raise ExportError unless the newest entry that is there after a step is the last of the sequence so far.

    alone: whether it alone is read.
    """
    if timing.delay < 0 and not alone:
        raise node_error(
            str(node.name), node.op_type,
            "it takes in what stands in front of the first frame, too, which is not streamed: cut that off before.",
        )  # fmt: skip
    if timing.delay + timing.offset // timing.stride or (stream.restarted and timing.delay > 0):
        raise node_error(
            str(node.name), node.op_type, "the last step it reads comes late: part of the model looks ahead."
        )


def ending(stream: StreamGraph) -> list[ir.Node]:
    """Return the nodes that take values with a time axis and give one without that the model goes on to read."""
    states = {state.output for state in stream.states}
    found = []
    for node in stream.graph:
        if not any(value in stream.time for value in reads(node)) or node.op_type == "Shape":
            continue
        read = [
            v
            for v in node.outputs
            if v not in stream.time
            and v not in stream.pairs
            and (v.uses() or (v.is_graph_output() and v not in states))
        ]
        if read:
            found.append(node)
    return found


def _reads_last(stream: StreamGraph, node: ir.Node) -> bool:
    source = node.inputs[0]
    axis = stream.time.get(source) if source is not None else None
    if axis is None or source is None:
        return False
    rank = len(source.shape) if source.shape is not None else 0
    if node.op_type == "Gather":
        index = constant_of(node.inputs[1])
        return index is not None and integer(node, "axis", 0) in (axis, axis - rank) and bool(np.all(index == -1))
    if node.op_type == "Slice":
        starts, _, axes, steps = [constant_of(value) for value in [*node.inputs[1:], None, None]][:4]
        if starts is None or axes is None:
            return False
        at = [i for i, a in enumerate(axes.tolist()) if a in (axis, axis - rank)]
        return len(at) == 1 and starts.tolist()[at[0]] == -1 and (steps is None or steps.tolist()[at[0]] == 1)
    return False
