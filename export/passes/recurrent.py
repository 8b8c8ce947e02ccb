"""Give recurrent ops (RNN, GRU, LSTM) their state: what came in as initial state comes from the last step.

1. The op must run forward, over the time axis, and not depend on sequence lengths.
2. Its initial state must be a constant (or absent: zero), or held; that is the state's value at reset.
3. Its last state leaves the graph. Where the model itself reads the last state (a last-step head), it reads on from
   there: at every step, the last state is that step's.
4. Where the input comes late, the state waits for the first entry that exists.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, Timing, constant_of, integer, sizes
from export.passes import buffers

OPS = {"RNN": ("h",), "GRU": ("h",), "LSTM": ("h", "c")}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
SEQUENCE_LENS = 4
INITIAL = 5
"""Position of the first initial state among a recurrent op's inputs."""


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the outputs' timing: as the input's, made of all frames before. Raises ExportError (see 1)."""
    _check(stream, node)
    x = node.inputs[0]
    if x is None or stream.timing[x].delay < 0:
        raise node_error(str(node.name), node.op_type, "its input is padded before the first frame.")
    return replace(stream.timing[x], first=None)


def apply(stream: StreamGraph) -> bool:
    """Make the states of all recurrent ops explicit."""
    nodes = [node for node in stream.graph if node.op_type in OPS and node.domain in ("", "ai.onnx")]
    for number, node in enumerate(nodes):
        exists = _existing(stream, node)
        for position, letter in enumerate(OPS[node.op_type]):
            _add_state(stream, node, f"{node.op_type.lower()}{number}.{letter}", position, exists)
    return bool(nodes)


def _check(stream: StreamGraph, node: ir.Node) -> None:
    name = str(node.name)
    direction = node.attributes["direction"].as_string() if "direction" in node.attributes else "forward"
    if direction != "forward":
        raise node_error(  # 1
            name, node.op_type, f"it is {direction}: its output depends on frames that have not come yet. "
            "Train it forward."
        )  # fmt: skip
    if len(node.inputs) > SEQUENCE_LENS and node.inputs[SEQUENCE_LENS] is not None:
        raise node_error(name, node.op_type, "it takes sequence lengths, which a stream does not have.")  # 1
    x = node.inputs[0]
    expected = integer(node, "layout", 0)
    if x is None or stream.time.get(x) != expected:
        raise node_error(name, node.op_type, "it does not run over the time axis of the input.")  # 1


def _existing(stream: StreamGraph, node: ir.Node) -> ir.Value | None:
    """Return bool[1], whether this step's input exists in the original; None where it always does."""
    x = node.inputs[0]
    if x is None or stream.timing[x].delay == 0:
        return None
    timing = stream.timing[x]
    if timing.delay % (stream.frames_per_step // timing.stride):
        raise node_error(str(node.name), node.op_type, "its input comes late by less than a whole step.")
    inside = buffers.valid(stream, node, timing, ending=False)
    return buffers.cut(stream, node, inside, 0, 0, 1)


def _add_state(stream: StreamGraph, node: ir.Node, name: str, position: int, exists: ir.Value | None) -> None:
    hidden = _hidden_size(node, position)
    while len(node.inputs) <= INITIAL + position:
        node.resize_inputs(len(node.inputs) + 1)
    given = node.inputs[INITIAL + position]
    # One state a stream of the batch: layout 1 puts the batch first.
    batch = sizes(node.inputs[0])[0 if integer(node, "layout", 0) else 1]
    shape = (batch, 1, hidden) if integer(node, "layout", 0) else (1, batch, hidden)
    initial = np.zeros(shape, np.float32)
    held = given.name if given is not None and given.name in stream.held else None
    if given is not None and held is None:
        content = constant_of(given)  # 2
        if content is None:
            raise node_error(str(node.name), node.op_type, "its initial state is computed from the data.")
        initial = np.broadcast_to(np.asarray(content, np.float32), shape).copy()
    entering = stream.add_state(name, initial, held)
    node.replace_input_with(INITIAL + position, entering)
    output = 1 + position
    if len(node.outputs) <= output:
        node.resize_outputs(output + 1)
    leaving = node.outputs[output]
    leaving.name = leaving.name or stream.new_name(f"{name}.last")
    if exists is not None:
        leaving = _append(stream, "Where", [exists, leaving, entering])  # 4
    elif leaving.is_graph_output():
        # The model itself ends in the last state: the state leaves under a name of its own beside it.
        leaving = _append(stream, "Identity", [leaving])
    stream.leave(entering, leaving)  # 3


def _append(stream: StreamGraph, op_type: str, inputs: list[ir.Value]) -> ir.Value:
    node = ir.node(op_type, inputs)
    node.name = stream.new_name(f"stream.{op_type.lower()}")
    stream.graph.append(node)
    return node.outputs[0]


def _hidden_size(node: ir.Node, position: int) -> int:
    recurrence = node.inputs[2]
    shape = sizes(recurrence)
    if not shape:
        raise node_error(str(node.name), node.op_type, "its weights have no known shape.")
    return shape[2] if position == 0 else shape[1] // GATES[node.op_type]
