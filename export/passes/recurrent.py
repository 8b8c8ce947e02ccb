"""Give recurrent ops (RNN, GRU, LSTM) their state: what came in as initial state comes from the last step.

1. The op must run forward, over the time axis, and not depend on sequence lengths.
2. Its initial state must be a constant (or absent: zero); that is the state's value at reset.
3. Its last state leaves the graph. Where the model itself reads the last state (a last-step head), it reads on from
   there: at every step, the last state is that step's.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import State, StreamGraph, constant_of, integer, sizes

OPS = {"RNN": ("h",), "GRU": ("h",), "LSTM": ("h", "c")}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTIVATIONS = {"RNN": (["Tanh"], ["Relu"]), "GRU": (["Sigmoid", "Tanh"],), "LSTM": (["Sigmoid", "Tanh", "Tanh"],)}
SEQUENCE_LENS = 4
INITIAL = 5
"""Position of the first initial state among a recurrent op's inputs."""


def apply(stream: StreamGraph) -> bool:
    """Make the states of all recurrent ops explicit."""
    nodes = [node for node in stream.graph if node.op_type in OPS and node.domain in ("", "ai.onnx")]
    for number, node in enumerate(nodes):
        _check(stream, node)
        for position, letter in enumerate(OPS[node.op_type]):
            _add_state(stream, node, f"{node.op_type.lower()}{number}.{letter}", position)
    return bool(nodes)


def _check(stream: StreamGraph, node: ir.Node) -> None:
    name = str(node.name)
    direction = node.attributes["direction"].as_string() if "direction" in node.attributes else "forward"
    if direction != "forward":
        raise node_error(  # 1
            name, node.op_type, f"it is {direction}: its output depends on frames that have not come yet. "
            "Train it forward, or run it over whole windows."
        )  # fmt: skip
    if "clip" in node.attributes:
        raise node_error(name, node.op_type, "the attribute 'clip' is not supported.")
    if "activations" in node.attributes:
        given = [str(word) for word in node.attributes["activations"].as_strings()]
        if given not in ACTIVATIONS[node.op_type]:
            raise node_error(name, node.op_type, f"the activations {given} are not supported.")
    if len(node.inputs) > SEQUENCE_LENS and node.inputs[SEQUENCE_LENS] is not None:
        raise node_error(name, node.op_type, "it takes sequence lengths, which a stream does not have.")  # 1
    x = node.inputs[0]
    expected = integer(node, "layout", 0)
    if x is None or stream.time.get(x) != expected:
        raise node_error(name, node.op_type, "it does not run over the time axis of the input.")  # 1


def _add_state(stream: StreamGraph, node: ir.Node, name: str, position: int) -> None:
    hidden = _hidden_size(node, position)
    while len(node.inputs) <= INITIAL + position:
        node.resize_inputs(len(node.inputs) + 1)
    given = node.inputs[INITIAL + position]
    initial = np.zeros((1, 1, hidden), np.float32)
    if given is not None:
        content = constant_of(given)  # 2
        if content is None:
            raise node_error(str(node.name), node.op_type, "its initial state is computed from the data.")
        initial = np.asarray(content, np.float32).reshape(1, 1, hidden)
    shape = ir.Shape([1, 1, hidden])
    entering = ir.Value(name=stream.new_name(f"{name}.in"), shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    stream.graph.inputs.append(entering)
    node.replace_input_with(INITIAL + position, entering)
    output = 1 + position
    if len(node.outputs) <= output:
        node.resize_outputs(output + 1)
    leaving = node.outputs[output]
    if leaving.is_graph_output():
        # The model itself ends in the last state: it needs a name of its own beside the state's.
        copy = ir.node("Identity", [leaving])
        stream.graph.append(copy)
        copy.outputs[0].name, leaving.name = leaving.name, None
        copy.outputs[0].shape, copy.outputs[0].type = leaving.shape, leaving.type
        stream.graph.outputs[list(stream.graph.outputs).index(leaving)] = copy.outputs[0]
    leaving.name = stream.new_name(f"{name}.out")  # 3
    leaving.shape, leaving.type = shape, ir.TensorType(ir.DataType.FLOAT)
    stream.graph.outputs.append(leaving)
    stream.states.append(State(name, entering, leaving, initial))


def _hidden_size(node: ir.Node, position: int) -> int:
    recurrence = node.inputs[2]
    shape = sizes(recurrence)
    if not shape:
        raise node_error(str(node.name), node.op_type, "its weights have no known shape.")
    return shape[2] if position == 0 else shape[1] // GATES[node.op_type]
