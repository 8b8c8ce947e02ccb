"""Quantized ONNX models in one form: the float operators, and between them the rounding as arithmetic on floats.

What a model computes stays what it is, up to a value that lies on the very edge between two integers. Written so it
streams by the rules of the float operators, and no engine has anything to optimize: products of uint8 by int8 overflow
in silence on some machines, those of int16 are rounded to fewer bits, and of QuantizeLinear around float weights
onnxruntime makes int8 weights of its own.

1. Weights and biases stored as integers become float constants.
2. QLinearMatMul, QLinearConv and onnxruntime's own QGemm, QLinearAdd, QLinearSigmoid … are written out.
3. QuantizeLinear becomes Div, Round, Clip: integers less their zero point, as floats. DequantizeLinear of them is Mul.
4. What only moves such integers goes on doing so, constants beside them in the same form; for other readers they become
   integers again.
What quantizes by scales of the data, or belongs to onnxruntime alone, is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.errors import node_error

ORT = "com.microsoft"
INTEGERS = {
    TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32,
    TensorProto.INT4, TensorProto.UINT4,
}  # fmt: skip
MOVING = {
    *(
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Identity",
        "Slice",
        "Split",
        "Gather",
        "Expand",
        "Tile",
    ),
    *("Pad", "MaxPool", "Concat"),
}
"""What only moves numbers, or picks some of them."""
DYNAMIC = (
    "its scales are taken from all steps of the sequence together, so no step by itself can have them. Quantize with "
    "fixed scales (onnxruntime: quantize_static), or export the float model, of which --variants makes int8 here."
)
FOREIGN = (
    "it is onnxruntime's own (domain com.microsoft) and has no meaning in ONNX. Quantize in the QDQ form "
    "(quant_format=QuantFormat.QDQ), or export the float model."
)
UNSOUND = (
    "its scale is {}, so that it gives nothing: its input held infinity when it was calibrated, as a mask does. "
    "Quantize again without the nodes on both sides of it (onnxruntime: nodes_to_exclude)."
)
COMPUTED = "its scale or zero point is computed by the model; quantize with fixed scales, or export the float model."
NOTE = (
    "the model is quantized already: it is held to what ONNX says it computes, its weights as the real numbers that "
    "they stand for, its activations rounded as it rounds them; int8 and w8a16 are made of float models"
)
Array = NDArray[Any]


def written_out(model: onnx.ModelProto) -> bool:
    """Write quantized operators out, in place; return whether there were any. Raises ExportError naming the node."""
    graph = _Graph(model.graph)
    for node in list(model.graph.node):
        ours = node.domain in ("", "ai.onnx") or node.domain == ORT
        if node.domain == ORT and node.op_type.startswith("DynamicQuantize"):
            raise node_error(node.name or node.output[0], node.op_type, DYNAMIC)
        rule = RULES.get(node.op_type) if ours else None
        if rule is not None:
            rule(graph, node)
        elif node.domain == ORT and not any(function.name == node.op_type for function in model.functions):
            raise node_error(node.name or node.output[0], node.op_type, FOREIGN)
        else:
            graph.keep(node)
    if graph.changed:
        del model.graph.node[:]
        model.graph.node.extend(graph.nodes)
        del model.graph.value_info[:]
        _drop_unread(model.graph)
    return graph.changed


def rounds(model: onnx.ModelProto) -> bool:
    """Return whether the model rounds what it computes to integers."""
    return any(node.op_type in ("QuantizeLinear", "Round") for inner in _graphs(model.graph) for node in inner.node)


class _Graph:
    """The graph as it is written anew: its nodes so far, and its constants."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.changed = False
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
        self._taken = {name for node in graph.node for name in (*node.input, *node.output)} | set(self.constants)
        # What the graph gives, and what bodies of loops read by its name, stays what it is.
        self.read_outside = {value.name for inner in _graphs(graph) for value in inner.output}
        self.read_outside |= {name for inner in [*_graphs(graph)][1:] for node in inner.node for name in node.input}
        self.centred: dict[str, tuple[int, np.dtype[Any]]] = {}
        """Integers that stand there as floats, less a zero point: that, and their type."""

    def array(self, name: str) -> Array | None:
        """Return a constant's numbers, integers as int64; None where it is computed."""
        tensor = self.constants.get(name)
        if tensor is None:
            return None
        array = numpy_helper.to_array(tensor)
        return array.astype(np.int64) if tensor.data_type in INTEGERS else array

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return a constant's type; uint8 where a zero point is left out."""
        tensor = self.constants.get(name)
        return np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)) if tensor is not None else np.dtype(np.uint8)

    def new(self, base: str) -> str:
        """Return a name that nothing has."""
        name, count = base, 0
        while name in self._taken:
            name, count = f"{base}_{count}", count + 1
        self._taken.add(name)
        return name

    def constant(self, base: str, array: Array) -> str:
        """Add a constant."""
        name = self.new(base)
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        self.constants[name] = self.graph.initializer[-1]
        return name

    def add(self, op_type: str, inputs: list[str], output: str, name: str = "", **attributes: Any) -> str:
        """Add a node."""
        self.changed = True
        self.nodes.append(helper.make_node(op_type, inputs, [output], name or self.new(f"{output}_node"), **attributes))
        return output

    def real(self, node: onnx.NodeProto, place: int, axis: int = 0) -> str:
        """Return an input of integers as real numbers: it stands before its scale and zero point."""
        value, scale, zero = (_at(node, place + offset) for offset in range(3))
        scales, zeros = self.array(scale), self.array(zero) if zero else np.zeros((), np.int64)
        if scales is None or zeros is None:
            raise node_error(node.name or node.output[0], node.op_type, COMPUTED)
        _check(node, scales)
        stored = self.array(value)
        if stored is not None:  # 1
            shape = [1] * stored.ndim
            if scales.size > 1:
                shape[axis % stored.ndim] = -1
                scales, zeros = scales.reshape(shape), zeros.reshape(shape) if zeros.size > 1 else zeros
            floats = ((stored - zeros) * scales.astype(np.float64)).astype(scales.dtype)
            return self.constant(f"{value}_real", floats.reshape(stored.shape))
        return self.back(node, place, self.new(f"{value}_real"))

    def back(self, node: onnx.NodeProto, place: int, result: str) -> str:
        """Make real numbers of computed integers."""
        value, scale, zero = (_at(node, place + offset) for offset in range(3))
        scales, zeros = self.array(scale), self.array(zero) if zero else np.zeros((), np.int64)
        known = scales is not None and zeros is not None and scales.size == 1 and scales.dtype == np.float32
        if value not in self.centred or scales is None or zeros is None or not known:
            return self.add("DequantizeLinear", [self.integers(value), scale, *([zero] if zero else [])], result)
        apart = self.centred[value][0] - int(zeros.reshape(-1)[0])
        if apart:
            shift = self.constant(f"{result}_shift", np.array(apart, scales.dtype))
            value = self.add("Add", [value, shift], self.new(f"{result}_shifted"))
        return self.add("Mul", [value, self.constant(f"{result}_scale", scales.reshape(()))], result)

    def store(self, node: onnx.NodeProto, real: str, place: int, output: str, name: str = "") -> None:
        """Quantize to the scale and zero point that stand at a place among the node's inputs."""
        scale, zero = _at(node, place), _at(node, place + 1)
        scales, zeros = self.array(scale), self.array(zero) if zero else np.zeros((), np.int64)
        if scales is None or zeros is None:
            raise node_error(node.name or node.output[0], node.op_type, COMPUTED)
        _check(node, scales)
        plain = scales.size == 1 and scales.dtype == np.float32 and self.dtype(zero).kind in "iu"
        if not plain or output in self.read_outside:
            self.add("QuantizeLinear", [real, scale, *([zero] if zero else [])], output, name)
            return
        kind, middle = self.dtype(zero), int(zeros.reshape(-1)[0])
        ratio = self.add(
            "Div", [real, self.constant(f"{output}_scale", scales.reshape(()))], self.new(f"{output}_ratio")
        )
        whole = self.add("Round", [ratio], self.new(f"{output}_whole"), name)
        limits = (np.iinfo(kind).min - middle, np.iinfo(kind).max - middle)
        ends = [self.constant(f"{output}_end", np.array(end, scales.dtype)) for end in limits]
        self.add("Clip", [whole, *ends], output)
        self.centred[output] = middle, kind

    def integers(self, value: str) -> str:
        """Return centred integers as what they were, others as they are."""
        if value not in self.centred:
            return value
        middle, kind = self.centred[value]
        moved = self.add(
            "Add", [value, self.constant(f"{value}_zero", np.array(middle, np.float32))], self.new(f"{value}_moved")
        )
        return self.add("Cast", [moved], self.new(f"{value}_stored"), to=helper.np_dtype_to_tensor_dtype(kind))

    def keep(self, node: onnx.NodeProto) -> None:
        """Keep a node that quantizes nothing (4)."""
        held = [name for name in node.input if name in self.centred]
        if held and node.op_type == "Pad" and not _at(node, 2):  # filled with what is stored as 0
            node.input[:] = [*node.input[:2], self.constant("stored_zero", np.array(0, np.uint8)), *node.input[3:]]
        places = {"Concat": slice(None), "Pad": slice(0, 3, 2)}
        data = node.input[places.get(node.op_type, slice(1))]
        beside = [name for name in data if name not in self.centred]
        kinds = {self.centred[name] for name in held}
        moves = node.op_type in MOVING and len(kinds) == 1 and set(held) <= set(data)
        if moves and not self.read_outside & set(node.output) and all(self.array(name) is not None for name in beside):
            for name in beside:
                centred = np.asarray(self.array(name)) - self.centred[held[0]][0]
                self._reads(node, name, self.constant(f"{name}_centred", centred.astype(np.float32)))
            self.centred |= dict.fromkeys(node.output[: 1 if node.op_type == "MaxPool" else None], kinds.pop())
        else:
            for name in dict.fromkeys(held):
                self._reads(node, name, self.integers(name))
        self.nodes.append(node)

    def _reads(self, node: onnx.NodeProto, old: str, new: str) -> None:
        self.changed = True
        node.input[:] = [new if name == old else name for name in node.input]


def _at(node: onnx.NodeProto, place: int) -> str:
    return node.input[place] if place < len(node.input) else ""


def _check(node: onnx.NodeProto, scales: Array | None) -> None:
    """Raise ExportError for scales that are none."""
    wrong = None if scales is None else scales[~((scales > 0) & np.isfinite(scales))]
    if wrong is not None and wrong.size:
        raise node_error(node.name or node.output[0], node.op_type, UNSOUND.format(wrong.flat[0]))


def _attributes(node: onnx.NodeProto, *kept: str) -> dict[str, Any]:
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value for name, value in found.items() if not kept or name in kept}


def _matmul(graph: _Graph, node: onnx.NodeProto) -> None:
    inputs = [graph.real(node, 0, axis=-2), graph.real(node, 3, axis=-1)]
    _named(graph, node, "MatMul", inputs, 6)


def _conv(graph: _Graph, node: onnx.NodeProto) -> None:
    inputs = [graph.real(node, 0), graph.real(node, 3)]
    if _at(node, 8):
        inputs.append(_bias(graph, node, _at(node, 8)))
    _named(graph, node, "Conv", inputs, 6, **_attributes(node))


def _gemm(graph: _Graph, node: onnx.NodeProto) -> None:
    given = _attributes(node)
    inputs = [graph.real(node, 0), graph.real(node, 3, axis=0 if given.get("transB") else -1)]
    if _at(node, 6):
        inputs.append(_bias(graph, node, _at(node, 6), given.get("alpha", 1.0)))
    if _at(node, 7):
        _named(graph, node, "Gemm", inputs, 7, **given)
    else:
        graph.add("Gemm", inputs, node.output[0], node.name, **given)


def _bias(graph: _Graph, node: onnx.NodeProto, name: str, alpha: float = 1.0) -> str:
    """Return a bias, stored in the product of the scales of input and weights, as real numbers."""
    stored, one, other = (graph.array(part) for part in (name, _at(node, 1), _at(node, 4)))
    if stored is None or one is None or other is None:
        raise node_error(node.name or node.output[0], node.op_type, COMPUTED)
    real = stored * one.astype(np.float64) * other.astype(np.float64) * alpha
    return graph.constant(f"{name}_real", real.astype(one.dtype))


def _of_two(op_type: str) -> Rule:
    return lambda graph, node: _named(graph, node, op_type, [graph.real(node, 0), graph.real(node, 3)], 6)


def _of_one(op_type: str, *kept: str) -> Rule:
    def rule(graph: _Graph, node: onnx.NodeProto) -> None:
        if _attributes(node, "channels_last").get("channels_last"):
            raise node_error(node.name or node.output[0], node.op_type, FOREIGN)
        given = _attributes(node, *kept) if kept else {}
        _named(graph, node, op_type, [graph.real(node, 0)], 3, **given)

    return rule


def _concat(graph: _Graph, node: onnx.NodeProto) -> None:
    parts = [graph.real(node, place) for place in range(2, len(node.input), 3)]
    _named(graph, node, "Concat", parts, 0, **_attributes(node))


def _where(graph: _Graph, node: onnx.NodeProto) -> None:
    _named(graph, node, "Where", [node.input[0], graph.real(node, 1), graph.real(node, 4)], 7)


def _named(graph: _Graph, node: onnx.NodeProto, op_type: str, inputs: list[str], place: int, **given: Any) -> None:
    """Add the float operator under the name of the one on integers, and what quantizes its result."""
    real = graph.add(op_type, inputs, graph.new(f"{node.output[0]}_float"), node.name or node.output[0], **given)
    graph.store(node, real, place, node.output[0])


def _dequantize(graph: _Graph, node: onnx.NodeProto) -> None:
    zero, scales = _at(node, 2), graph.array(_at(node, 1))
    _check(node, scales)
    tensor = graph.constants.get(node.input[0])
    plain = not _attributes(node, "block_size").get("block_size") and scales is not None and scales.ndim <= 1
    if tensor is not None and tensor.data_type in INTEGERS and plain and (not zero or graph.array(zero) is not None):
        axis = _attributes(node, "axis").get("axis", 1)
        _rename(graph, graph.real(node, 0, axis=axis), node.output[0])  # 1
    elif node.input[0] in graph.centred:
        graph.back(node, 0, node.output[0])
    else:
        _ours(graph, node)


def _rename(graph: _Graph, constant: str, name: str) -> None:
    """Give a constant the name by which its readers, and maybe the graph's outputs, know it."""
    if any(value.name == name for value in graph.graph.output):
        graph.add("Identity", [constant], name)
        return
    graph.changed = True
    graph.constants[constant].name = name
    graph.constants[name] = graph.constants.pop(constant)


def _quantize(graph: _Graph, node: onnx.NodeProto) -> None:
    scales, zero = graph.array(node.input[1]), _at(node, 2)
    _check(node, scales)
    later = _attributes(node, "block_size", "output_dtype")
    if scales is None or scales.size > 1 or any(later.values()) or (zero and graph.array(zero) is None):
        _ours(graph, node)
    else:
        graph.store(node, node.input[0], 1, node.output[0], node.name)


def _ours(graph: _Graph, node: onnx.NodeProto) -> None:
    if node.domain == ORT:
        node.domain = ""
        graph.changed = True
    graph.keep(node)


Rule = Callable[[_Graph, onnx.NodeProto], None]
RULES: Mapping[str, Rule] = {
    "QLinearMatMul": _matmul,  # 2
    "QLinearConv": _conv,
    "QGemm": _gemm,
    "QLinearAdd": _of_two("Add"),
    "QLinearMul": _of_two("Mul"),
    "QLinearSigmoid": _of_one("Sigmoid"),
    "QLinearLeakyRelu": _of_one("LeakyRelu", "alpha"),
    "QLinearSoftmax": _of_one("Softmax", "axis"),
    "QLinearGlobalAveragePool": _of_one("GlobalAveragePool"),
    "QLinearAveragePool": _of_one(
        "AveragePool", "auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"
    ),
    "QLinearConcat": _concat,
    "QLinearWhere": _where,
    "DequantizeLinear": _dequantize,  # 1, 3
    "QuantizeLinear": _quantize,  # 3
}


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Let constants go that nothing reads any more."""
    read = {name for inner in _graphs(graph) for node in inner.node for name in node.input}
    read |= {value.name for inner in _graphs(graph) for value in inner.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
