"""Step graph → Program: every value becomes a vector, recurrent ops become their equations.

1. Products with constant weights are `linear`; a bias added behind, and a constant factor, fold into it.
2. Elementwise ops on vectors of one size, a constant being spread to that size.
3. Ops that only change how a vector is seen (reshape, squeeze, moving axes of size 1) vanish.
4. Parts and joins whose entries stand one behind another in the vector are `slice` and `concat`; a part that is the
   whole (the last of one step) vanishes.
5. RNN, GRU and LSTM are written out as their equations in the ONNX operator specification.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.errors import ExportError, NoIntegerForm, node_error
from export.graph import StreamGraph, constant_of, integer, ints, sizes
from export.program import Op, Program, ProgramState

ACTIVATIONS = {"RNN": (["Tanh"], ["Relu"]), "GRU": (["Sigmoid", "Tanh"],), "LSTM": (["Sigmoid", "Tanh", "Tanh"],)}
"""What recurrent ops may have inside; the first is their default."""

VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Transpose"}
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul"}
UNARY = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu"}
Floats = NDArray[np.float32]


class Lowering:
    """Walks the step graph once, in order, and writes the Program."""

    def __init__(self, stream: StreamGraph) -> None:
        self.stream = stream
        entering = stream.inputs[0]
        self.names: dict[ir.Value, str] = {entering: str(entering.name)}
        sizes = {str(entering.name): _size(entering)}
        for state in stream.states:
            self.names[state.input] = str(state.input.name)
            sizes[str(state.input.name)] = int(state.initial.size)
        self.program = Program(str(entering.name), "", [], sizes)

    def lower(self) -> Program:
        """Return the Program. Raises NoIntegerForm naming the node that has none."""
        if len(self.stream.inputs) != 1 or len(self.stream.outputs) != 1:
            raise NoIntegerForm("quantized variants take models of one input and one output; export float32 alone.")
        if self.stream.frames[0].dtype != "float32":
            raise NoIntegerForm("quantized variants take frames of float32, not tokens; export float32 alone.")
        for state in self.stream.states:
            if state.initial.dtype != np.float32:
                raise NoIntegerForm(
                    f"the state '{state.name}' is {state.initial.dtype}, which has no integer form yet; export float32 "
                    "alone."
                )
        try:
            for node in self.stream.graph:
                self._node(node)
        except ExportError as cause:
            raise NoIntegerForm(str(cause)) from cause
        self.program.output = self.names[self.stream.outputs[0]]
        for state in self.stream.states:
            initial = state.initial.reshape(-1)
            entry = ProgramState(state.name, self.names[state.input], self.names[state.output], initial)
            self.program.states.append(entry)
        return self.program

    def _node(self, node: ir.Node) -> None:
        op_type = node.op_type
        if op_type in VIEWS:
            self._view(node)
        elif op_type in ("MatMul", "Gemm"):
            self._product(node)
        elif op_type in BINARY:
            self._binary(node)
        elif op_type in UNARY:
            self._set(node, self._op(UNARY[op_type], node, self._read(node, 0)))
        elif op_type == "Neg":
            data = self._read(node, 0)
            minus = self._constant(node, np.full(self.program.sizes[data], -1, np.float32))
            self._set(node, self._op("mul", node, data, minus))  # 2
        elif op_type in CELLS:
            CELLS[op_type](self, node)
        elif op_type in ("Split", "Slice", "Gather"):
            self._part(node)
        elif op_type == "Concat":
            parts = [self._read(node, index) for index in range(len(node.inputs))]
            self._entry(node, node.outputs[0], integer(node, "axis", 0))
            self._set(node, self._op("concat", node, *parts))
        else:
            raise node_error(str(node.name), op_type, "it has no integer form yet; export float32 alone.")

    def _view(self, node: ir.Node) -> None:
        value = node.inputs[0]
        if node.op_type == "Transpose" and value is not None:
            order = ints(node, "perm") or tuple(reversed(range(len(sizes(value)))))
            wide = [axis for axis in order if sizes(value)[axis] != 1]
            if wide != sorted(wide):
                raise node_error(str(node.name), node.op_type, "it reorders features, which has no integer form yet.")
        self.names[node.outputs[0]] = self._read(node, 0)  # 3

    def _product(self, node: ir.Node) -> None:
        weight = constant_of(node.inputs[1])
        if weight is None or weight.ndim != 2:  # noqa: PLR2004 - a matrix
            raise node_error(
                str(node.name), node.op_type, "its weights are not a constant matrix; export float32 alone."
            )
        if node.op_type == "MatMul" or not integer(node, "transB", 0):
            weight = weight.T
        alpha, beta = (node.attributes[k].as_float() if k in node.attributes else 1.0 for k in ("alpha", "beta"))
        bias = np.zeros(len(weight), np.float32)
        if len(node.inputs) > 2 and node.inputs[2] is not None:  # noqa: PLR2004 - Gemm's third input
            given = constant_of(node.inputs[2])
            if given is None:
                raise node_error(str(node.name), node.op_type, "its bias is not a constant; export float32 alone.")
            bias = bias + beta * np.broadcast_to(given, (1, len(weight))).reshape(-1).astype(np.float32)
        self._set(node, self.linear(str(node.name), self._read(node, 0), alpha * weight.astype(np.float32), bias))  # 1

    def _binary(self, node: ir.Node) -> None:
        constants = [constant_of(value) for value in node.inputs]
        size = _size(node.outputs[0])
        known = next((c for c in constants if c is not None), None)
        if known is not None:
            spread = np.broadcast_to(known, sizes(node.outputs[0])).reshape(-1).astype(np.float32)
            data = self._read(node, 0 if constants[0] is None else 1)
            if self._fold(node, data, spread, constant_first=constants[0] is not None):  # 1
                return
            constant = self._constant(node, spread)
            operands = (constant, data) if constants[0] is not None else (data, constant)
        else:
            operands = (self._read(node, 0), self._read(node, 1))
        if any(self.program.sizes[operand] != size for operand in operands):
            raise node_error(str(node.name), node.op_type, "its inputs differ in size; export float32 alone.")
        self._set(node, self._op(BINARY[node.op_type], node, *operands))  # 2

    def _constant(self, node: ir.Node, content: Floats) -> str:
        """Emit a constant that a node reads."""
        name = self.program.new_name(f"{node.name}.constant")
        return self.program.emit(Op("constant", name, node=str(node.name), arrays={"value": content}), len(content))

    def _fold(self, node: ir.Node, data: str, constant: Floats, *, constant_first: bool) -> bool:
        """Fold a constant added to, or multiplied with, a linear op's output that nothing else reads."""
        last = self.program.ops[-1] if self.program.ops else None
        reader = node.inputs[1 if constant_first else 0]
        if last is None or last.output != data or last.kind != "linear" or last.ints.get("relu"):
            return False
        if reader is None or len(reader.uses()) != 1 or len(constant) != self.program.sizes[data]:
            return False
        weight, bias = last.arrays["weight"].astype(np.float32), last.arrays["bias"].astype(np.float32)
        if node.op_type == "Add":
            bias = bias + constant
        elif node.op_type == "Mul":
            weight, bias = weight * constant[:, None], bias * constant
        elif node.op_type == "Sub" and not constant_first:
            bias = bias - constant
        else:
            return False
        arrays = {"weight": weight, "bias": bias}
        self.program.ops[-1] = Op("linear", last.output, last.inputs, last.node, last.ints, arrays)
        self._set(node, data)
        return True

    def _part(self, node: ir.Node) -> None:
        source = self._read(node, 0)
        if node.op_type == "Split":
            self._entry(node, node.inputs[0], integer(node, "axis", 0))
            edges = np.cumsum([0, *(_size(output) for output in node.outputs)]).tolist()
            bounds = list(itertools.pairwise(edges))
        else:
            axis, first = self._first_entry(node)
            start = first * self._entry(node, node.inputs[0], axis)
            bounds = [(start, start + _size(node.outputs[0]))]
        for output, (start, stop) in zip(node.outputs, bounds, strict=True):
            whole = (start, stop) == (0, self.program.sizes[source])
            self.names[output] = source if whole else self.cut(str(output.name), source, start, stop)  # 4

    def _first_entry(self, node: ir.Node) -> tuple[int, int]:
        """Return the axis that a Gather of one entry or a plain Slice works along, and its first entry there."""
        dims = sizes(node.inputs[0])
        if node.op_type == "Gather":
            index, axis = constant_of(node.inputs[1]), integer(node, "axis", 0) % len(dims)
            if index is None or index.size != 1:
                raise node_error(str(node.name), "Gather", "it takes more than one entry; export float32 alone.")
            return axis, int(index.reshape(-1)[0]) % dims[axis]
        starts, stops, axes, steps = (constant_of(v) for v in [*node.inputs[1:], None, None][:4])
        plain = steps is None or steps.tolist() == [1] * len(steps)
        if starts is None or stops is None or axes is None or len(starts) != 1 or not plain:
            raise node_error(str(node.name), "Slice", "it is no plain cut along one axis; export float32 alone.")
        axis = int(axes[0]) % len(dims)
        return axis, slice(int(starts[0]), int(stops[0])).indices(dims[axis])[0]

    def _entry(self, node: ir.Node, value: ir.Value | None, axis: int) -> int:
        """Return how many numbers one entry along an axis has, where entries stand one behind another in the vector."""
        dims = sizes(value)
        axis %= len(dims)
        if np.prod(dims[:axis], dtype=np.int64) != 1:
            raise node_error(str(node.name), node.op_type, "it does not work along the features; export float32 alone.")
        return int(np.prod(dims[axis + 1 :], dtype=np.int64))

    def linear(self, name: str, source: str, weight: NDArray[np.generic], bias: NDArray[np.generic]) -> str:
        """Emit weight @ source + bias."""
        if weight.shape[1] != self.program.sizes[source]:
            raise node_error(
                name, "linear", "it takes several time steps or streams at once in one step; export float32 alone."
            )
        arrays = {"weight": np.ascontiguousarray(weight, np.float32), "bias": np.asarray(bias, np.float32)}
        return self.program.emit(Op("linear", self.program.new_name(name), (source,), name, arrays=arrays), len(bias))

    def cut(self, name: str, source: str, start: int, stop: int) -> str:
        """Emit source[start:stop]."""
        bounds = {"start": start, "stop": stop}
        return self.program.emit(Op("slice", self.program.new_name(name), (source,), name, bounds), stop - start)

    def emit(self, kind: str, name: str, *sources: str) -> str:
        """Emit an elementwise op."""
        size = sum(map(self.program.sizes.__getitem__, sources)) if kind == "concat" else self.program.sizes[sources[0]]
        return self.program.emit(Op(kind, self.program.new_name(name), sources, name), size)  # type: ignore[arg-type]

    def _op(self, kind: str, node: ir.Node, *sources: str) -> str:
        return self.emit(kind, str(node.name), *sources)

    def _read(self, node: ir.Node, index: int) -> str:
        value = node.inputs[index]
        if value is None or value not in self.names:
            raise node_error(str(node.name), node.op_type, "it reads a constant where data is expected.")
        return self.names[value]

    def _set(self, node: ir.Node, name: str) -> None:
        self.names[node.outputs[0]] = name

    def cell_inputs(self, node: ir.Node, gates: int) -> tuple[str, str, list[Floats]]:
        """Return a recurrent node's input and state tensors and its weights [W, R, Wb, Rb], gates stacked."""
        weight, recurrence = (constant_of(node.inputs[index]) for index in (1, 2))
        if weight is None or recurrence is None:
            raise node_error(str(node.name), node.op_type, "its weights are not constants.")
        if "activations" in node.attributes:
            words = [str(word) for word in node.attributes["activations"].as_strings()]
            if words not in ACTIVATIONS[node.op_type]:
                raise node_error(
                    str(node.name), node.op_type, f"the activations {words} have no integer form; export float32 alone."
                )
        hidden = recurrence.shape[2]
        given = constant_of(node.inputs[3]) if len(node.inputs) > 3 else None  # noqa: PLR2004 - B is the fourth input
        bias = np.zeros(2 * gates * hidden, np.float32) if given is None else given.reshape(-1)
        arrays = [weight[0], recurrence[0], bias[: gates * hidden], bias[gates * hidden :]]
        return self._read(node, 0), self._read(node, 5), [np.asarray(array, np.float32) for array in arrays]

    def cell_outputs(self, node: ir.Node, *states: str) -> None:
        """Name a recurrent node's outputs: the sequence (one step of it is the first state), then the states."""
        for output, name in zip(node.outputs, (states[0], *states), strict=False):
            self.names[output] = name


def _rnn(low: Lowering, node: ir.Node) -> None:
    x, h, (weight, recurrence, wb, rb) = low.cell_inputs(node, 1)
    name = str(node.name)
    relu = "activations" in node.attributes and list(node.attributes["activations"].as_strings()) == ["Relu"]
    total = low.emit(
        "add", f"{name}.sum", low.linear(f"{name}.x", x, weight, wb), low.linear(f"{name}.h", h, recurrence, rb)
    )
    low.cell_outputs(node, low.emit("relu" if relu else "tanh", f"{name}.out", total))


def _gru(low: Lowering, node: ir.Node) -> None:
    """ONNX GRU. Gates are stacked z, r, h."""
    x, h, (weight, recurrence, wb, rb) = low.cell_inputs(node, 3)
    name, size = str(node.name), low.program.sizes[h]
    after = bool(integer(node, "linear_before_reset", 0))
    from_x = low.linear(f"{name}.x", x, weight, wb)
    rows = 3 * size if after else 2 * size
    from_h = low.linear(f"{name}.h", h, recurrence[:rows], rb[:rows])
    gates = low.emit(
        "add", f"{name}.zr.in", low.cut(f"{name}.xzr", from_x, 0, 2 * size), low.cut(f"{name}.hzr", from_h, 0, 2 * size)
    )
    both = low.emit("sigmoid", f"{name}.zr", gates)
    z, r = low.cut(f"{name}.z", both, 0, size), low.cut(f"{name}.r", both, size, 2 * size)
    new_x = low.cut(f"{name}.xn", from_x, 2 * size, 3 * size)
    if after:
        inner = low.emit("mul", f"{name}.rh", r, low.cut(f"{name}.hn", from_h, 2 * size, 3 * size))
    else:
        reset = low.emit("mul", f"{name}.rh", r, h)
        inner = low.linear(f"{name}.hn", reset, recurrence[2 * size :], rb[2 * size :])
    n = low.emit("tanh", f"{name}.n", low.emit("add", f"{name}.n.in", new_x, inner))
    # (1 - z) n + z h, written so that one product is rounded instead of two.
    kept = low.emit("mul", f"{name}.kept", z, low.emit("sub", f"{name}.diff", h, n))
    low.cell_outputs(node, low.emit("add", f"{name}.out", n, kept))


def _lstm(low: Lowering, node: ir.Node) -> None:
    """ONNX LSTM without peepholes. Gates are stacked i, o, f, c."""
    if len(node.inputs) > 7 and node.inputs[7] is not None:  # noqa: PLR2004 - P is the eighth input
        raise node_error(str(node.name), node.op_type, "peepholes have no integer form yet; export float32 alone.")
    x, h, (weight, recurrence, wb, rb) = low.cell_inputs(node, 4)
    name, size = str(node.name), low.program.sizes[h]
    c = low.names[node.inputs[6]]  # type: ignore[index]
    from_x, from_h = low.linear(f"{name}.x", x, weight, wb), low.linear(f"{name}.h", h, recurrence, rb)
    total = low.emit("add", f"{name}.sum", from_x, from_h)
    gates = [low.cut(f"{name}.{g}.in", total, i * size, (i + 1) * size) for i, g in enumerate("iofc")]
    i, o, f = (low.emit("sigmoid", f"{name}.{g}", gate) for g, gate in zip("iof", gates[:3], strict=True))
    candidate = low.emit("tanh", f"{name}.g", gates[3])
    kept, added = low.emit("mul", f"{name}.kept", f, c), low.emit("mul", f"{name}.added", i, candidate)
    cell = low.emit("add", f"{name}.c", kept, added)
    low.cell_outputs(node, low.emit("mul", f"{name}.out", o, low.emit("tanh", f"{name}.ct", cell)), cell)


CELLS: dict[str, Callable[[Lowering, ir.Node], None]] = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}


def _size(value: ir.Value) -> int:
    return int(np.prod(sizes(value), dtype=np.int64))
