"""The same model, written otherwise: names scrambled, ops decomposed, detours put in. What it computes stays the same.

A rewrite that leaned on names, on whole-layer patterns or on how one exporter writes things would fail here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from renamed import renamed

Nodes = Iterator[onnx.NodeProto]


class Scrambler:
    """Rewrites one graph, by chance where there is a choice."""

    def __init__(self, model: onnx.ModelProto, seed: int) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.rng = np.random.default_rng(seed)
        self.made = 0
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.ranks = {
            value.name: len(value.type.tensor_type.shape.dim)
            for value in [*inferred.value_info, *inferred.input, *inferred.output]
        }
        self.weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

    def run(self) -> onnx.ModelProto:
        """Return the model written otherwise."""
        nodes: list[onnx.NodeProto] = []
        for node in self.graph.node:
            decompose: Callable[[onnx.NodeProto], Nodes] | None = getattr(self, f"_{node.op_type.lower()}", None)
            found = list(decompose(node)) if decompose is not None and self.chance(0.7) else [node]
            nodes += self._with_detours(found)
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        self._constants()
        result = renamed(self.model, int(self.rng.integers(1 << 30)), unnamed=True)
        onnx.checker.check_model(result)
        return result

    def chance(self, odds: float = 0.5) -> bool:
        return bool(self.rng.random() < odds)

    def new(self) -> str:
        self.made += 1
        return f"made{self.made}"

    def constant(self, array: Any) -> str:
        name = self.new()
        array = np.asarray(array)
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def chain(self, output: str, *steps: tuple[str, list[str | None], dict[str, Any]]) -> Nodes:
        """Yield ops one behind another; None among the inputs stands for what the one before gives."""
        last: str | None = None
        for place, (op_type, inputs, attributes) in enumerate(steps):
            leaving = output if place == len(steps) - 1 else self.new()
            yield helper.make_node(op_type, [str(name or last) for name in inputs], [leaving], **attributes)
            last = leaving

    # ---- ops as simpler ops

    def _gemm(self, node: onnx.NodeProto) -> Nodes:
        a, b, c = node.input
        yield from self.chain(node.output[0], ("MatMul", [a, b], {}), ("Add", [None, c], {}))

    def _relu(self, node: onnx.NodeProto) -> Nodes:
        zero = self.constant(np.float32(0))
        if self.chance():
            yield helper.make_node("Max", [node.input[0], zero], node.output)
        else:
            yield from self.chain(
                node.output[0], ("Greater", [node.input[0], zero], {}), ("Where", [None, node.input[0], zero], {})
            )

    def _sigmoid(self, node: onnx.NodeProto) -> Nodes:
        one = self.constant(np.float32(1))
        yield from self.chain(
            node.output[0], ("Neg", [node.input[0]], {}), ("Exp", [None], {}), ("Add", [None, one], {}),
            ("Reciprocal", [None], {}),
        )  # fmt: skip

    def _tanh(self, node: onnx.NodeProto) -> Nodes:
        one, two = self.constant(np.float32(1)), self.constant(np.float32(2))
        yield from self.chain(
            node.output[0], ("Mul", [node.input[0], two], {}), ("Sigmoid", [None], {}), ("Mul", [None, two], {}),
            ("Sub", [None, one], {}),
        )  # fmt: skip

    def _layernormalization(self, node: onnx.NodeProto) -> Nodes:
        x, scale, bias = node.input
        centred, mean, squared, root, normed = (self.new() for _ in range(5))
        two, tiny = self.constant(np.float32(2)), self.constant(np.float32(1e-5))
        yield helper.make_node("ReduceMean", [x], [mean], axes=[-1])
        yield helper.make_node("Sub", [x, mean], [centred])
        yield helper.make_node("Pow", [centred, two], [squared])
        yield from self.chain(
            root, ("ReduceMean", [squared], {"axes": [-1]}), ("Add", [None, tiny], {}), ("Sqrt", [None], {})
        )
        yield helper.make_node("Div", [centred, root], [normed])
        yield from self.chain(node.output[0], ("Mul", [normed, scale], {}), ("Add", [None, bias], {}))

    def _softmax(self, node: onnx.NodeProto) -> Nodes:
        greatest, raised, total = self.new(), self.new(), self.new()
        yield helper.make_node("ReduceMax", [node.input[0]], [greatest], axes=[-1])
        yield from self.chain(raised, ("Sub", [node.input[0], greatest], {}), ("Exp", [None], {}))
        yield helper.make_node("ReduceSum", [raised, self.constant(np.array([-1]))], [total])
        yield helper.make_node("Div", [raised, total], node.output)

    def _batchnormalization(self, node: onnx.NodeProto) -> Nodes:
        x, *names = node.input
        scale, bias, mean, variance = (self.weights[name].astype(np.float64) for name in names)
        factor = scale / np.sqrt(variance + 1e-5)
        shape = (1, -1, *[1] * (self.ranks[x] - 2))
        parts = [self.constant(part.reshape(shape).astype(np.float32)) for part in (factor, bias - mean * factor)]
        yield from self.chain(node.output[0], ("Mul", [x, parts[0]], {}), ("Add", [None, parts[1]], {}))

    def _conv(self, node: onnx.NodeProto) -> Nodes:
        """A 1-D convolution as a sum over its taps, each a part of the padded input."""
        weight = self.weights[node.input[1]]
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = attributes.get("group", 1) == 1 and attributes.get("strides", [1]) == [1]
        if weight.ndim != 3 or not plain:
            yield node
            return
        kernel, dilation = weight.shape[2], attributes.get("dilations", [1])[0]
        before, after = attributes.get("pads", [0, 0])
        padded = node.input[0]
        if before or after:
            padded = self.new()
            yield helper.make_node(
                "Pad", [node.input[0], self.constant(np.array([0, 0, before, 0, 0, after]))], [padded]
            )
        taps = []
        for tap in range(kernel):
            part, tap_out = self.new(), self.new()
            lost = (kernel - 1 - tap) * dilation
            bounds = [tap * dilation, -lost if lost else np.iinfo(np.int64).max, 2]
            yield helper.make_node("Slice", [padded, *(self.constant(np.array([b])) for b in bounds)], [part])
            yield helper.make_node("MatMul", [self.constant(weight[:, :, tap].copy()), part], [tap_out])
            taps.append(tap_out)
        total = taps[0]
        for place, tap_out in enumerate(taps[1:]):
            last = place == kernel - 2 and len(node.input) == 2
            together = node.output[0] if last else self.new()
            yield helper.make_node("Add", [total, tap_out], [together])
            total = together
        if len(node.input) > 2:
            bias = self.constant(self.weights[node.input[2]].reshape(-1, 1))
            yield helper.make_node("Add", [total, bias], node.output)
        elif kernel == 1:
            yield helper.make_node("Identity", [total], node.output)

    def _gru(self, node: onnx.NodeProto) -> Nodes:
        """A recurrent op as a Scan of its equations, or with its zero state written out."""
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if self.chance(0.6):
            yield from self._scan(node, attributes)
            return
        inputs = [*node.input, *[""] * (5 - len(node.input))]
        states = 2 if node.op_type == "LSTM" else 1
        zero = np.zeros((1, 1, attributes["hidden_size"]), np.float32)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [*inputs, *(self.constant(zero) for _ in range(states))]
        yield copy

    _lstm = _rnn = _gru

    def _scan(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Nodes:
        hidden, kind = attributes["hidden_size"], node.op_type
        gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
        w, r = (self.weights[name][0] for name in node.input[1:3])
        bias = self.weights[node.input[3]][0] if len(node.input) > 3 else np.zeros(2 * gates * hidden, np.float32)
        wb, rb = bias[: gates * hidden], bias[gates * hidden :]
        body = Body(self)
        x, h = body.enter("x"), body.enter("h")
        wx = [body.linear(x, w[k * hidden : (k + 1) * hidden], wb[k * hidden : (k + 1) * hidden]) for k in range(gates)]
        parts = [(r[k * hidden : (k + 1) * hidden], rb[k * hidden : (k + 1) * hidden]) for k in range(gates)]
        carried = [h]
        if kind == "RNN":
            act = "Relu" if b"Relu" in attributes.get("activations", []) else "Tanh"
            leaving = [body.op(act, body.op("Add", wx[0], body.linear(h, *parts[0])))]
        elif kind == "GRU":
            z, reset = (body.op("Sigmoid", body.op("Add", wx[k], body.linear(h, *parts[k]))) for k in range(2))
            if attributes.get("linear_before_reset"):
                inner = body.op("Mul", reset, body.linear(h, *parts[2]))
            else:
                inner = body.linear(body.op("Mul", reset, h), *parts[2])
            n = body.op("Tanh", body.op("Add", wx[2], inner))
            kept = body.op("Sub", self.constant(np.float32(1)), z)
            leaving = [body.op("Add", body.op("Mul", kept, n), body.op("Mul", z, h))]
        else:
            c = body.enter("c")
            carried.append(c)
            i, o, f, g = (
                body.op("Tanh" if k == 3 else "Sigmoid", body.op("Add", wx[k], body.linear(h, *parts[k])))
                for k in range(4)
            )
            cell = body.op("Add", body.op("Mul", f, c), body.op("Mul", i, g))
            leaving = [body.op("Mul", o, body.op("Tanh", cell)), cell]
        graph = body.graph([*carried, x], leaving)
        zeros = [self.constant(np.zeros((1, hidden), np.float32)) for _ in carried]
        rows = self.new()
        yield helper.make_node(
            "Scan", [*zeros, node.input[0]], [*(self.new() for _ in carried), rows], body=graph, num_scan_inputs=1
        )
        yield helper.make_node("Unsqueeze", [rows, self.constant(np.array([1]))], [node.output[0]])

    # ---- detours

    def _with_detours(self, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Put ops behind a value that change nothing: moved there and back, reshaped, added to by zero."""
        result = []
        for node in nodes:
            result.append(node)
            name = node.output[0]
            rank = self.ranks.get(name, 0)
            if rank != 3 or not self.chance(0.25):
                continue
            early = self.new()
            node.output[0] = early
            zero, axis = self.constant(np.float32(0)), self.constant(np.array([int(self.rng.integers(0, 4))]))
            detours: list[list[tuple[str, list[str | None], dict[str, Any]]]] = [
                [("Identity", [early], {})],
                [("Add", [early, zero], {})],
                [("Transpose", [early], {"perm": [2, 0, 1]}), ("Transpose", [None], {"perm": [1, 2, 0]})],
                [("Unsqueeze", [early, axis], {}), ("Squeeze", [None, axis], {})],
                [("Neg", [early], {}), ("Neg", [None], {})],
            ]
            result += self.chain(name, *detours[int(self.rng.integers(len(detours)))])
        return result

    def _constants(self) -> None:
        """Write some weights as Constant nodes."""
        inside = [inner for node in self.graph.node for a in node.attribute for inner in a.g.node]
        kept, read = [], {name for node in (*self.graph.node, *inside) for name in node.input}
        for tensor in list(self.graph.initializer):
            if tensor.name not in read:
                continue
            if self.chance(0.3):
                self.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
            else:
                kept.append(tensor)
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


class Body:
    """The graph that a Scan runs each round; its weights stand outside."""

    def __init__(self, outer: Scrambler) -> None:
        self.outer = outer
        self.nodes: list[onnx.NodeProto] = []

    def enter(self, name: str) -> str:
        return f"{self.outer.new()}.{name}"

    def op(self, op_type: str, *inputs: str) -> str:
        name = self.outer.new()
        self.nodes.append(helper.make_node(op_type, inputs, [name]))
        return name

    def linear(self, x: str, weight: np.ndarray[Any, Any], bias: np.ndarray[Any, Any]) -> str:
        product = self.op("MatMul", x, self.outer.constant(np.ascontiguousarray(weight.T)))
        return self.op("Add", product, self.outer.constant(np.array(bias)))

    def graph(self, entering: list[str], leaving: list[str]) -> onnx.GraphProto:
        given = [*leaving, self.op("Identity", leaving[0])]
        sides = [
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
            for names in (entering, given)
        ]
        return helper.make_graph(self.nodes, "round", *sides)


def scrambled(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Return the same model, written otherwise."""
    return Scrambler(model, seed).run()
