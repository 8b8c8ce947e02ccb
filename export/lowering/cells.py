"""RNN, GRU and LSTM as their equations in the ONNX operator specification, one step after the other.

What all steps take of the frames is one product of as many rows; the recurrent products share one array of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from export.errors import FLOAT_ALONE, node_error
from export.graph import constant_of, integer
from export.lowering.builder import Builder, Rule
from export.lowering.products import linear
from export.program import Array

DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
PARAMETERS = {"HardSigmoid": {"alpha": 0.2, "beta": 0.5}, "Elu": {"alpha": 1.0}, "LeakyRelu": {"alpha": 0.01}}
"""What activations take beside the value, with ONNX's defaults inside recurrent ops."""
PLAIN = {"Sigmoid", "Tanh", "Relu", "Softsign", "Softplus"}


@dataclass
class Cell:
    """One direction of a recurrent node. `recurrence`: [gates * hidden, hidden]; states are [rows, hidden]."""

    builder: Builder
    node: ir.Node
    name: str
    hidden: int
    recurrence: Array
    bias: Array
    peephole: Array | None
    activations: list[tuple[str, dict[str, float]]]
    _parts: dict[tuple[int, int], tuple[Array, Array]] = field(default_factory=dict)

    def op(self, kind: str, name: str, *sources: str) -> str:
        """Write an elementwise op."""
        return self.builder.elementwise(kind, f"{self.name}.{name}", *sources)

    def product(self, name: str, source: str, start: int, stop: int) -> str:
        """Write the recurrent product of some of the gates."""
        rows = slice(start * self.hidden, stop * self.hidden)
        weight, bias = self._parts.setdefault((start, stop), (self.recurrence[rows], self.bias[rows]))
        return linear(self.builder, f"{self.name}.{name}", source, weight, bias)

    def cut(self, name: str, source: str, start: int, stop: int) -> str:
        """Take some of the gates out of what stands side by side."""
        if (start * self.hidden, stop * self.hidden) == (0, self.builder.shape(source)[1]):
            return source
        rows = self.builder.shape(source)[0]
        attributes = {"starts": (0, start * self.hidden), "ends": (rows, stop * self.hidden), "steps": (1, 1)}
        return self.builder.emit("Slice", f"{self.name}.{name}", source, attributes=attributes)

    def curve(self, index: int, name: str, source: str, *, clipped: bool = True) -> str:
        """Write the node's activation of that number, after its clip."""
        limit = self.node.attributes["clip"].as_float() if "clip" in self.node.attributes else 0.0
        if limit and clipped:
            for kind, bound in (("Min", limit), ("Max", -limit)):
                constant = self.builder.constant(f"{self.name}.clip", np.full((1, 1), bound, np.float32))
                source = self.op(kind, f"{name}.{kind.lower()}", source, constant)
        kind, attributes = self.activations[index]
        return self.builder.elementwise(kind, f"{self.name}.{name}", source, **attributes)


def _rnn(cell: Cell, x: str, states: list[str]) -> list[str]:
    total = cell.op("Add", "sum", x, cell.product("h", states[0], 0, 1))
    return [cell.curve(0, "out", total)]


def _gru(cell: Cell, x: str, states: list[str]) -> list[str]:
    """Gates are stacked z, r, h."""
    (h,) = states
    after = bool(integer(cell.node, "linear_before_reset", 0))
    from_h = cell.product("h", h, 0, 3 if after else 2)
    gates = cell.op("Add", "zr.in", cell.cut("xzr", x, 0, 2), cell.cut("hzr", from_h, 0, 2))
    both = cell.curve(0, "zr", gates)
    z, r = cell.cut("z", both, 0, 1), cell.cut("r", both, 1, 2)
    if after:
        inner = cell.op("Mul", "rh", r, cell.cut("hn", from_h, 2, 3))
    else:
        inner = cell.product("hn", cell.op("Mul", "rh", r, h), 2, 3)
    n = cell.curve(1, "n", cell.op("Add", "n.in", cell.cut("xn", x, 2, 3), inner))
    # (1 - z) n + z h, written so that one product is rounded instead of two.
    return [cell.op("Add", "out", n, cell.op("Mul", "kept", z, cell.op("Sub", "diff", h, n)))]


def _lstm(cell: Cell, x: str, states: list[str]) -> list[str]:
    """Gates are stacked i, o, f, c; peepholes i, o, f."""
    h, c = states
    total = cell.op("Add", "sum", x, cell.product("h", h, 0, 4))
    i, o, f, g = (cell.cut(f"{gate}.in", total, place, place + 1) for place, gate in enumerate("iofg"))

    def seen(gate: str, value: str, place: int, memory: str) -> str:
        if cell.peephole is None:
            return value
        part = cell.peephole[place * cell.hidden : (place + 1) * cell.hidden].reshape(1, -1)
        weight = cell.builder.constant(f"{cell.name}.{gate}.peephole", part)
        return cell.op("Add", f"{gate}.seen", value, cell.op("Mul", f"{gate}.look", memory, weight))

    entering = cell.curve(0, "i", seen("i", i, 0, c))
    if integer(cell.node, "input_forget", 0):
        one = cell.builder.constant(f"{cell.name}.one", np.ones((1, 1), np.float32))
        forgetting = cell.op("Sub", "f", one, entering)
    else:
        forgetting = cell.curve(0, "f", seen("f", f, 2, c))
    added = cell.op("Mul", "added", entering, cell.curve(1, "g", g))
    memory = cell.op("Add", "c", cell.op("Mul", "kept", forgetting, c), added)
    leaving = cell.curve(0, "o", seen("o", o, 1, memory))
    # What leaves the cell is not clipped: onnxruntime clips the gates alone.
    return [cell.op("Mul", "out", leaving, cell.curve(2, "ct", memory, clipped=False)), memory]


STEPS: dict[str, Callable[[Cell, str, list[str]], list[str]]] = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}


def _recurrent(builder: Builder, node: ir.Node) -> None:
    name, op_type = str(node.name), node.op_type
    if integer(node, "layout", 0):
        raise node_error(name, op_type, "its batch comes first (layout 1), which has no integer form.")
    if len(node.inputs) > 4 and node.inputs[4] is not None and constant_of(node.inputs[4]) is None:  # noqa: PLR2004
        raise node_error(name, op_type, "its sequence lengths are not constants; export float32 alone.")
    x, weights, recurrences, biases = (builder.read(node, 0), *(builder.fixed(node, place) for place in (1, 2, 3)))
    if weights is None or recurrences is None:
        raise node_error(name, op_type, "its weights are missing.")
    if x in builder.growing:
        reason = "it goes through the source to its end, however long that is"
        raise node_error(name, op_type, f"{reason}{FLOAT_ALONE}")
    peepholes = builder.fixed(node, 7)
    steps, batch, features = builder.shape(x)
    gates, hidden = GATES[op_type], recurrences.shape[2]
    rows = builder.view(x, (steps * batch, features))
    count = 2 if op_type == "LSTM" else 1
    ends: list[list[str]] = []
    sequences: list[list[str]] = []
    for direction in range(len(weights)):
        title = name if len(weights) == 1 else f"{name}.{direction}"
        bias = np.zeros((2, gates * hidden), np.float32)
        if biases is not None:
            bias = biases[direction].reshape(2, -1).astype(np.float32)
        cell = Cell(
            builder, node, title, hidden, recurrences[direction].astype(np.float32), bias[1],
            None if peepholes is None else peepholes[direction].astype(np.float32), _activations(node, direction),
        )  # fmt: skip
        taken = linear(builder, f"{title}.x", rows, weights[direction].astype(np.float32), bias[0])
        states = [_initial(builder, node, 5 + place, direction, (batch, hidden)) for place in range(count)]
        order = list(range(steps))
        if _direction(node) == "reverse" or direction == 1:
            order.reverse()
        given = [""] * steps
        for step in order:
            attributes = {"starts": (step * batch, 0), "ends": ((step + 1) * batch, gates * hidden), "steps": (1, 1)}
            part = taken if steps == 1 else builder.emit("Slice", f"{title}.x{step}", taken, attributes=attributes)
            states = STEPS[op_type](cell, part, states)
            given[step] = states[0]
        sequences.append(given)
        ends.append(states)
    _leave(builder, node, sequences, ends, (steps, batch, hidden))


def _initial(builder: Builder, node: ir.Node, place: int, direction: int, shape: tuple[int, int]) -> str:
    """Return the state that a direction begins with."""
    if place >= len(node.inputs) or node.inputs[place] is None:
        return builder.constant(f"{node.name}.zero", np.zeros(shape, np.float32))
    source = builder.read(node, place)
    directions = builder.shape(source)[0]
    if directions > 1:
        attributes = {"starts": (direction, 0, 0), "ends": (direction + 1, *shape), "steps": (1, 1, 1)}
        source = builder.emit("Slice", f"{source}.{direction}", source, attributes=attributes)
    return builder.view(source, shape)


def _leave(
    builder: Builder, node: ir.Node, sequences: list[list[str]], ends: list[list[str]], shape: tuple[int, int, int]
) -> None:
    """Name the outputs: Y [steps, directions, batch, hidden], then each last state [directions, batch, hidden]."""
    steps, batch, hidden = shape
    rows = [builder.view(sequence[step], (1, 1, batch, hidden)) for step in range(steps) for sequence in sequences]
    wanted: list[tuple[list[str], tuple[int, ...]]] = [(rows, (steps, len(sequences), batch, hidden))]
    for place in range(len(ends[0])):
        states = [builder.view(states[place], (1, batch, hidden)) for states in ends]
        wanted.append((states, (len(ends), batch, hidden)))
    for place, (output, (parts, dims)) in enumerate(zip(node.outputs, wanted, strict=False)):
        if not output.uses() and output not in builder.stream.graph.outputs:
            continue
        whole = (
            parts[0] if len(parts) == 1 else builder.emit("Concat", str(output.name), *parts, attributes={"axis": 0})
        )
        builder.set(node, builder.view(whole, dims), place)


def _direction(node: ir.Node) -> str:
    return node.attributes["direction"].as_string() if "direction" in node.attributes else "forward"


def _activations(node: ir.Node, direction: int) -> list[tuple[str, dict[str, float]]]:
    """Return a direction's activations, each with what it takes."""
    names: tuple[str, ...] = DEFAULTS[node.op_type]
    many = len(names)
    if "activations" in node.attributes:
        given = [str(word).title() for word in node.attributes["activations"].as_strings()]
        names = tuple({"Hardsigmoid": "HardSigmoid", "Leakyrelu": "LeakyRelu"}.get(word, word) for word in given)
        names = names[direction * many : (direction + 1) * many]
    parameters: dict[str, Any] = {
        key: list(node.attributes[f"activation_{key}"].as_floats()) if f"activation_{key}" in node.attributes else []
        for key in ("alpha", "beta")
    }
    found = []
    for word in names:
        if word not in PLAIN and word not in PARAMETERS:
            raise node_error(
                str(node.name), node.op_type, f"the activation {word} has no integer form; export float32 alone."
            )
        takes = PARAMETERS.get(word, {})
        found.append((word, {key: (parameters[key].pop(0) if parameters[key] else takes[key]) for key in takes}))
    return found


RULES: dict[str, Rule] = dict.fromkeys(GATES, _recurrent)
