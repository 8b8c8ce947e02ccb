"""Sequences that an encoder turns round: a recurrence over one goes backwards over the sequence itself.

1. What turns a sequence round is told by a run: what it gives is what it takes from the end to the start.
2. It moves behind what works entry by entry, and behind recurrences, whose direction changes: their states do not.
3. What is turned twice is as it was. What is read turned round even so, beside what is not, stays.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from export.encoder_decoder import directions
from export.encoder_decoder.times import Times
from export.graph import reads

TURNING = {"Slice", "Gather", "ReverseSequence"}


def straighten(times: Times) -> bool:
    """Move all turns as far behind as they go. What was seen of the values is to be seen anew."""
    graph = times.stream.graph
    turned: dict[ir.Value, ir.Value] = {}
    changed = False
    for node in list(graph):
        timed = [value for value in dict.fromkeys(reads(node)) if value in times.lengths]
        if _turns(times, node):
            given, taken = node.outputs[0], timed[0]
            straight = turned.get(taken)
            if straight is not None and not (given.is_graph_output() and straight.is_graph_output()):
                given.replace_all_uses_with(straight, replace_graph_outputs=True)  # 3
                changed = True
            else:
                turned[given] = taken
        elif timed and all(value in turned for value in timed) and times.steps(node) is not None:
            for place, entering in enumerate(node.inputs):
                if entering in turned:
                    node.replace_input_with(place, turned[entering])
            directions.change(node)
            for value in node.outputs:
                if value in times.lengths:
                    turned[_turn(times, node, value)] = value  # 2
            changed = True
    common.RemoveUnusedNodesPass()(times.stream.model)
    return changed


def _turns(times: Times, node: ir.Node) -> bool:
    """Return whether a node does nothing but turn a sequence round (1)."""
    if node.op_type not in TURNING or node.outputs[0] not in times.lengths:
        return False
    on_data = [value for value in reads(node) if value in times.on_data]
    axis = times.stream.time[node.outputs[0]]
    return (
        len(on_data) == 1
        and times.stream.time.get(on_data[0]) == axis
        and all(
            np.array_equal(given, np.flip(taken, axis)) and not np.array_equal(given, taken)
            for given, taken in zip(times.examples[node.outputs[0]], times.examples[on_data[0]], strict=True)
        )
    )


def _turn(times: Times, node: ir.Node, value: ir.Value) -> ir.Value:
    """Let all that reads a value read it turned round, and return that."""
    stream = times.stream
    axis = stream.time[value]
    bounds = [stream.constant("turn", np.array([b], np.int64)) for b in (-1, np.iinfo(np.int64).min, axis, -1)]
    turn = ir.node("Slice", [value, *bounds])
    turn.name = stream.new_name(f"{node.name}.turned")
    (given,) = turn.outputs
    given.name = stream.new_name(f"{value.name}.turned")
    given.shape, given.type = value.shape, value.type
    value.replace_all_uses_with(given, replace_graph_outputs=True)
    turn.replace_input_with(0, value)
    stream.graph.insert_after(node, turn)
    stream.time[given], stream.timing[given] = axis, stream.timing[value]
    times.lengths[given] = stream.lengths[given] = times.lengths[value]
    short, long = times.examples[value]
    times.examples[given] = short, long
    times.examples[value] = np.flip(short, axis), np.flip(long, axis)
    times.on_data.add(given)
    return given
