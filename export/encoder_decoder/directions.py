"""The directions in which an encoder's recurrences go through its source.

1. A bidirectional op becomes two, one forwards and one backwards, whose outputs are joined as it would give them. One
   whose activations or initial states cannot be told apart is left as it is.
2. A recurrence that goes backwards over a sequence gives what one that goes forwards gives over the sequence turned
   round, turned round: so a part of the encoder that only holds such is turned as a whole.
"""

from __future__ import annotations

import onnx_ir as ir

from export.graph import StreamGraph, constant_of, integer, ints
from export.passes import buffers, recurrent, scan

FORWARDS, BACKWARDS = "forward", "reverse"
BOTH = "bidirectional"
WEIGHTS = (1, 2, 3, 7)
"""The inputs of a recurrent op that hold an entry for each direction on their first axis."""


def of(node: ir.Node) -> str | None:
    """Return the direction of a recurrent op or a Scan, None for any other node and for what goes both ways."""
    if node.op_type in recurrent.OPS:
        direction = _direction(node)
        return direction if direction in (FORWARDS, BACKWARDS) else None
    if not scan.claims(node):
        return None
    scanned = integer(node, "num_scan_inputs", 0)
    given = len(node.outputs) - (len(node.inputs) - scanned)
    ways = {*(ints(node, "scan_input_directions") or (0,) * scanned)}
    ways |= {*(ints(node, "scan_output_directions") or (0,) * given)}
    return None if len(ways) > 1 else BACKWARDS if ways == {1} else FORWARDS


def turn(model: ir.Model) -> None:
    """Let all recurrences that go backwards go forwards (2)."""
    for node in model.graph:
        if of(node) == BACKWARDS:
            change(node)


def change(node: ir.Node) -> None:
    """Let a recurrence go the other way; any other node has none."""
    direction = of(node)
    if direction is None:
        return
    backwards = direction == FORWARDS
    if node.op_type in recurrent.OPS:
        node.attributes["direction"] = ir.AttrString("direction", BACKWARDS if backwards else FORWARDS)
        return
    scanned = integer(node, "num_scan_inputs", 0)
    for side, count in (("input", scanned), ("output", len(node.outputs) - len(node.inputs) + scanned)):
        name = f"scan_{side}_directions"
        node.attributes[name] = ir.AttrInt64s(name, [int(backwards)] * count)


def apart(stream: StreamGraph) -> bool:
    """Put two ops in the place of every bidirectional one (1)."""
    found = [node for node in stream.graph if node.op_type in recurrent.OPS and _direction(node) == BOTH]
    done = [_apart(stream, node) for node in found]
    return any(done)


def _apart(stream: StreamGraph, node: ir.Node) -> bool:
    batch_first = bool(integer(node, "layout", 0))
    activations = node.attributes["activations"].as_strings() if "activations" in node.attributes else ()
    if len(activations) % 2 or {"activation_alpha", "activation_beta"} & {*node.attributes}:
        return False
    read = {place: value for place, value in enumerate(node.inputs) if place in WEIGHTS and value is not None}
    weights = {place: content for place, value in read.items() if (content := constant_of(value)) is not None}
    if len(weights) < len(read):
        return False
    halves = []
    for way, direction in enumerate((FORWARDS, BACKWARDS)):
        inputs = [
            stream.constant(f"{value.name}.{direction}", weights[place][way : way + 1])
            if value is not None and place in weights
            else _initial(stream, node, value, way, int(batch_first))
            if value is not None and place in (recurrent.INITIAL, recurrent.INITIAL + 1)
            else value
            for place, value in enumerate(node.inputs)
        ]
        half = ir.node(node.op_type, inputs, num_outputs=len(node.outputs))
        half.attributes.update(node.attributes)
        half.attributes["direction"] = ir.AttrString("direction", direction)
        if activations:
            count = len(activations) // 2
            half.attributes["activations"] = ir.AttrStrings("activations", activations[way * count : (way + 1) * count])
        half.name = stream.new_name(f"{node.name}.{direction}")
        for value, letter in zip(half.outputs, "yhc", strict=False):
            value.name = stream.new_name(f"{half.name}.{letter}")
        stream.graph.insert_before(node, half)
        halves.append(half)
    # Directions stand behind the time, or before the batch; the states', before the batch or behind it.
    axes = ((2 if batch_first else 1), int(batch_first), int(batch_first))
    for old, pair, axis in zip(node.outputs, zip(*(half.outputs for half in halves), strict=True), axes, strict=False):
        if not old.uses() and not old.is_graph_output():
            continue
        for value in pair:
            value.type = old.type
        joined = buffers.emit(stream, node, "Concat", list(pair), axis=axis)
        joined.shape, joined.type = old.shape, old.type
        joined.name, old.name = old.name, None
        old.replace_all_uses_with(joined, replace_graph_outputs=True)
    stream.graph.remove(node, safe=True)
    return True


def _initial(stream: StreamGraph, node: ir.Node, value: ir.Value, way: int, axis: int) -> ir.Value:
    """Return the initial state of one direction."""
    content = constant_of(value)
    if content is not None:
        return stream.constant(f"{value.name}.{way}", content.take([way], axis))
    return buffers.cut(stream, node, value, axis, way, way + 1)


def _direction(node: ir.Node) -> str:
    return node.attributes["direction"].as_string() if "direction" in node.attributes else FORWARDS
