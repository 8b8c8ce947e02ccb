"""The first step of a sequence, kept: what a Gather at 0 or a Slice from 0 to 1 along time reads is known ever after.

1. The node stays as it is and reads the step's own first entry; a state is set to that in the first step, and read from
   then on.
2. It has no time of its own and may be read at every step. What reads it is made of all frames since the first.
3. Its input must come as the frames do: what comes late, or is padded before the first frame, has another first entry.
4. It is told apart before other passes cut steps into entries of their own.
5. A state that begins with what the first step brings is no constant; a recurrence that takes it is refused.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, constant_of, first_input, integer, sizes
from export.passes import buffers


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a node reads the first entry along time, and nothing else of it."""
    value = node.inputs[0] if node.inputs else None
    if value is None or value not in stream.time or node.outputs[0] in stream.time:
        return False
    axis, rank = stream.time[value], len(sizes(value))
    if node.op_type == "Gather":
        index = constant_of(node.inputs[1])
        return index is not None and integer(node, "axis", 0) % rank == axis and index.size == 1 and not index.any()
    if node.op_type != "Slice":
        return False
    given = [constant_of(bound) for bound in [*node.inputs[1:], None, None]][:4]
    starts, ends, axes, steps = given
    if starts is None or ends is None:
        return False
    places = list(range(len(starts))) if axes is None else [int(place) % rank for place in axes]
    if axis not in places:
        return False
    at = places.index(axis)
    return (int(starts[at]), int(ends[at])) == (0, 1) and (steps is None or int(steps[at]) == 1)


def check(stream: StreamGraph, node: ir.Node) -> None:
    """Raise ExportError where the first entry is not that of the first frames (3)."""
    timing = stream.timing[first_input(node)]
    if timing.delay or timing.offset > 0:
        raise node_error(
            str(node.name), node.op_type,
            "the first step it reads is not that of the first frame: what gives it looks ahead, or is padded in front.",
        )  # fmt: skip
    if stream.restarted:
        raise node_error(
            str(node.name), node.op_type,
            "it keeps the first step, which is another one for each of the restarted copies. Use --window.",
        )  # fmt: skip


def apply(stream: StreamGraph) -> bool:
    """Let every node that reads the first step keep it."""
    nodes = [node for node in stream.graph if claims(stream, node)]
    for node in nodes:
        given = node.outputs[0]
        users, before = list(given.uses()), buffers.following(stream, node)
        kind = given.type.dtype.numpy() if given.type is not None else np.dtype(np.float32)
        state = stream.add_state(stream.state_name("first"), np.zeros(sizes(given), kind))
        zero = stream.constant("zero", np.zeros((), np.int64))
        now = buffers.emit(stream, before, "Equal", [buffers.clock(stream), zero])
        # As many axes as the value has: what has none is one number, and so is the clock.
        form = stream.constant("form", np.ones(len(sizes(given)), np.int64))
        here = buffers.emit(stream, before, "Reshape", [now, form])
        kept = buffers.chosen(stream, before, here, given, state)
        stream.leave(state, buffers.emit(stream, before, "Identity", [kept]))
        buffers.end_as(stream, given, kept, users)
    return bool(nodes)
