"""A cumulative sum over time becomes a running sum.

1. It must run forward. `exclusive` leaves the newest entry out.
2. The sum is a state in float64 (int64 for integers), which one step's entries are added to; entries from before the
   start, where the input comes late, count as zero.
3. Nothing fades from a sum: it grows without end, and once it is great enough a further step no longer changes it. So
   the user says after how many steps the stream is reset (--max-steps), as for a mean over time. That also bounds what
   such sums are mostly made for: ratios of two of them (linear attention's, normalized), differences of one (a moving
   sum), and sums weighted by a factor to the power of the step, which is read from a table of as many steps.

A sum that fades is written as a Scan or a Loop and needs no end.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, Timing, constant_of, first_input, integer, sizes
from export.passes import buffers


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a node is a cumulative sum along time."""
    value = node.inputs[0] if node.inputs else None
    if node.op_type != "CumSum" or value is None or value not in stream.time:
        return False
    axis = constant_of(node.inputs[1])
    return axis is None or int(axis.reshape(-1)[0]) % len(sizes(value)) == stream.time[value]


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the output's timing: as the input's, made of all frames before. Raises ExportError (see 1, 3)."""
    entering = stream.timing[first_input(node)]
    if constant_of(node.inputs[1]) is None:
        raise node_error(str(node.name), "CumSum", "its axis is not a constant.")
    if integer(node, "reverse", 0):
        raise node_error(
            str(node.name), "CumSum", "it adds up from the end: its output depends on frames that have not come yet. "
            "Run it over whole windows (--window)."
        )  # fmt: skip
    if entering.delay < 0 < entering.offset:
        raise node_error(
            str(node.name), "CumSum", "its input is padded before the first frame and so longer than the sequence."
        )
    if stream.max_steps is None:
        raise node_error(
            str(node.name), "CumSum",
            "it is a sum over all time, from which nothing fades. Say after how many steps the stream is reset: "
            "--max-steps N; or run whole windows: --window N.",
        )  # fmt: skip
    return replace(entering, delay=max(0, entering.delay), first=None)


def apply(stream: StreamGraph) -> bool:
    """Rewrite every cumulative sum over time."""
    nodes = [node for node in stream.graph if claims(stream, node)]
    for number, node in enumerate(nodes):
        _rewrite(stream, node, f"sum{number}")
    return bool(nodes)


def _rewrite(stream: StreamGraph, node: ir.Node, name: str) -> None:
    value, given = first_input(node), node.outputs[0]
    here = stream.timing[value]
    kind = value.type.dtype if value.type is not None else ir.DataType.FLOAT
    dtype = np.dtype(np.float64 if kind.is_floating_point() else np.int64)
    shape = sizes(value)
    shape[here.axis] = 1
    entering = stream.add_state(name, np.zeros(shape, dtype))
    wide = buffers.emit(stream, node, "Cast", [value], to=int(ir.DataType.from_numpy(dtype)))
    if here.delay > 0:  # 2
        dims = np.array([-1 if axis == here.axis else 1 for axis in range(len(shape))], np.int64)
        inside = buffers.valid(stream, node, here, ending=False)
        mask = buffers.emit(stream, node, "Reshape", [inside, stream.constant("mask.shape", dims)])
        wide = buffers.emit(stream, node, "Where", [mask, wide, stream.constant("nothing", np.zeros((), dtype))])
    axes = stream.constant("axis", np.array([here.axis], np.int64))
    step = buffers.emit(stream, node, "ReduceSum", [wide, axes], keepdims=1)
    exclusive = integer(node, "exclusive", 0)
    at = stream.constant("axis", np.array(here.axis, np.int64))
    within = buffers.emit(stream, node, "CumSum", [wide, at], exclusive=exclusive)  # 1
    running = buffers.emit(stream, node, "Add", [entering, within])
    result = buffers.emit(stream, node, "Cast", [running], to=int(kind))
    stream.leave(entering, buffers.emit(stream, node, "Add", [entering, step]))
    result.shape, result.type = given.shape, given.type
    stream.time[result], stream.timing[result] = here.axis, stream.timing[given]
    if given.is_graph_output():
        result.name, given.name = given.name, stream.new_name(f"{given.name}.whole")
    given.replace_all_uses_with(result, replace_graph_outputs=True)
    stream.limited = True
    told = f"sum over time: the stream must be reset after {stream.max_steps} steps at most"  # 3
    if told not in stream.notes:
        stream.notes.append(told)
