"""Give recurrent ops (RNN, GRU, LSTM) their state: what came in as initial state comes from the last step.

1. The op must run forward, over the time axis, and not depend on sequence lengths.
2. Its initial state must be a constant (or absent: zero), or held; that is the state's value at reset.
3. Its last state leaves the graph. Where the model itself reads the last state (a last-step head), it reads on from
   there: at every step, the last state is that step's.
4. Where the input comes late, the state waits for the first entry that exists. If that may stand in the middle of a
   step that takes several, the op is taken apart into one for each of them. An input that is early, because it is
   padded before the first frame, is made to wait (align.py).
5. An op that has time in the place of its batch runs along something else, as the bins of a spectrum, anew in every
   frame: in any direction, and it has no state.
6. Where constants stand in front of the sequence (front.py), the state at reset is the one behind them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir

from export.errors import node_error
from export.graph import Array, StreamGraph, Timing, constant_of, integer, session, sizes
from export.passes import buffers, tables

OPS = {"RNN": ("h",), "GRU": ("h",), "LSTM": ("h", "c")}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
SEQUENCE_LENS = 4
INITIAL = 5
"""Position of the first initial state among a recurrent op's inputs."""


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the outputs' timing: as the input's, made of all frames before. Raises ExportError (see 1)."""
    if _within_frames(stream, node):
        return _anew(stream, node)
    _check(stream, node)
    entering = stream.timing[node.inputs[0]]  # type: ignore[index]
    if entering.delay < 0 < entering.offset:
        return replace(entering, first=None)  # 6
    return replace(entering, delay=max(0, entering.delay), first=None)


def apply(stream: StreamGraph) -> bool:
    """Make the states of all recurrent ops explicit."""
    nodes = [node for node in stream.graph if node.op_type in OPS and node.domain in ("", "ai.onnx")]
    for node in nodes:
        if _within_frames(stream, node):
            _begin_anew(stream, node)
    for number, node in enumerate(node for node in nodes if not _within_frames(stream, node)):
        name = f"{node.op_type.lower()}{number}"
        x = node.inputs[0]
        timing = stream.timing[x]  # type: ignore[index]
        states = [_enter(stream, node, f"{name}.{letter}", at) for at, letter in enumerate(OPS[node.op_type])]
        if timing.delay < 0:
            _run_ahead(stream, node, stream.fills[x])  # type: ignore[index]  # 6
        exists = buffers.valid(stream, node, timing, ending=False) if timing.delay > 0 else None
        entries = stream.frames_per_step // timing.stride
        if exists is not None and timing.delay % entries:
            _take_apart(stream, node, states, exists, entries)  # 4
            continue
        first = None if exists is None else buffers.cut(stream, node, exists, 0, 0, 1)
        for at, state in enumerate(states):
            _leave(stream, node, state, at, first)
    return bool(nodes)


def _within_frames(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether time is in the place of the batch (5)."""
    x = node.inputs[0]
    return x is not None and stream.time.get(x) == (0 if integer(node, "layout", 0) else 1)


def _anew(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the outputs' timing of an op that runs within each frame: that of its input. Raises ExportError."""
    others = [value for value in node.inputs[1:] if value is not None]
    if any(value in stream.time or value in stream.pairs for value in others):
        raise node_error(
            str(node.name), node.op_type, "it runs within each frame, from a state that is computed from the data."
        )
    return stream.timing[node.inputs[0]]  # type: ignore[index]


def _begin_anew(stream: StreamGraph, node: ir.Node) -> None:
    """Give initial states that are as many as there are frames the size of a step (5)."""
    leaving = stream.timing[node.inputs[0]]  # type: ignore[index]
    entries = stream.frames_per_step // leaving.stride
    for place, value in enumerate(node.inputs):
        if place >= INITIAL and value is not None and value in stream.sized:
            axis = stream.sized[value][0]
            node.replace_input_with(place, tables.rows(stream, node, value, axis, entries, leaving))


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


def _enter(stream: StreamGraph, node: ir.Node, name: str, position: int) -> ir.Value:
    """Make one initial state a state of the step (2)."""
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
        content = constant_of(given)
        if content is None:
            raise node_error(str(node.name), node.op_type, "its initial state is computed from the data.")
        initial = np.broadcast_to(np.asarray(content, np.float32), shape).copy()
    entering = stream.add_state(name, initial, held)
    node.replace_input_with(INITIAL + position, entering)
    return entering


def _run_ahead(stream: StreamGraph, node: ir.Node, rows: Array) -> None:
    """Let the states begin as they are behind rows that stand in front of the sequence (6)."""
    letters = OPS[node.op_type]
    states = [next(s for s in stream.states if s.input is node.inputs[INITIAL + at]) for at in range(len(letters))]
    if any(state.held is not None for state in states):
        raise node_error(
            str(node.name), node.op_type, "constants stand in front of its input, and its initial state is held."
        )
    initial = {str(state.input.name): state.initial for state in states}
    names = [str(value.name) if value is not None else "" for value in node.inputs]
    known = {
        name: constant_of(value) for name, value in zip(names[1:], node.inputs[1:], strict=True) if value is not None
    }
    arrays = {name: array for name, array in (known | initial | {names[0]: rows}).items() if array is not None}
    alone = ir.to_proto(node)
    del alone.output[:]
    alone.output.extend(["", *letters])
    graph = onnx.helper.make_graph(
        [alone], "ahead", [], [onnx.ValueInfoProto(name=letter) for letter in letters],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    opset = onnx.helper.make_opsetid("", stream.graph.opset_imports[""])
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=stream.model.ir_version)
    for state, content in zip(states, session(model).run([*letters], {}), strict=True):
        state.initial = np.asarray(content)


def _leave(stream: StreamGraph, node: ir.Node, entering: ir.Value, position: int, exists: ir.Value | None) -> None:
    """Let one last state leave the step (3)."""
    output = 1 + position
    if len(node.outputs) <= output:
        node.resize_outputs(output + 1)
    leaving = node.outputs[output]
    leaving.name = leaving.name or stream.new_name(f"{entering.name}.last")
    if exists is not None:
        leaving = _append(stream, "Where", [exists, leaving, entering])  # 4
    elif leaving.is_graph_output():
        # The model itself ends in the last state: the state leaves under a name of its own beside it.
        leaving = _append(stream, "Identity", [leaving])
    stream.leave(entering, leaving)


def _take_apart(stream: StreamGraph, node: ir.Node, states: list[ir.Value], exists: ir.Value, entries: int) -> None:
    """Put one op for each entry of a step in the place of one op for all (4)."""
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise node_error(str(node.name), node.op_type, "its input comes late by less than a whole step.")
    x, axis = node.inputs[0], integer(node, "layout", 0)
    carried, given = states, []
    for entry in range(entries):
        part = buffers.cut(stream, node, x, axis, entry, entry + 1)  # type: ignore[arg-type]
        inputs = [part, *node.inputs[1:INITIAL], *carried, *node.inputs[INITIAL + len(states) :]]
        copy = ir.node(node.op_type, inputs, num_outputs=1 + len(states))
        copy.attributes.update(node.attributes)
        copy.name = stream.new_name(f"{node.name}.{entry}")
        for value, letter in zip(copy.outputs, "yhc", strict=False):
            value.name = stream.new_name(f"{copy.name}.{letter}")
        stream.graph.insert_before(node, copy)
        here = buffers.cut(stream, node, exists, 0, entry, entry + 1)
        pairs = zip(copy.outputs[1:], carried, strict=True)
        carried = [buffers.chosen(stream, node, here, new, old) for new, old in pairs]
        given.append(copy.outputs[0])
    whole, old = buffers.emit(stream, node, "Concat", given, axis=axis), node.outputs[0]
    whole.shape, whole.type = old.shape, old.type
    stream.time[whole], stream.timing[whole] = axis, stream.timing[old]
    old.replace_all_uses_with(whole, replace_graph_outputs=True)
    for state, last in zip(states, carried, strict=True):
        stream.leave(state, last)
    stream.graph.remove(node, safe=True)


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
