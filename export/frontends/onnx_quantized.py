"""Quantized ONNX models in one form: operators on integers as DequantizeLinear, the float operator, QuantizeLinear.

What a model computes stays what it is, up to a value that lies on the very edge between two integers. Written so it
streams by the rules of the float operators, and no engine's kernel for integers comes into it: products of uint8 by
int8 overflow in silence on some machines, those of int16 are rounded to fewer bits.

1. Weights and biases stored as integers become float constants.
2. QLinearMatMul, QLinearConv and onnxruntime's own QGemm, QLinearAdd, QLinearSigmoid … are written out.
3. QuantizeLinear and DequantizeLinear of onnxruntime's domain are ONNX's; those of 16 bits, which ONNX has from opset
   21 on, are arithmetic on floats.
Whatever else quantizes at run time, or belongs to onnxruntime alone, is refused by name.
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
WIDE, WIDE_OPSET = (np.dtype(np.int16), np.dtype(np.uint16)), 21
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
    "they stand for, its activations rounded as it rounds them"
)
Array = NDArray[Any]


def written_out(model: onnx.ModelProto) -> bool:
    """Write quantized operators out, in place; return whether there were any. Raises ExportError naming the node."""
    defined = {function.domain for function in model.functions}
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    graph = _Graph(model.graph, opset)
    for node in list(model.graph.node):
        ours = node.domain in ("", "ai.onnx") or node.domain == ORT
        if node.domain == ORT and node.op_type.startswith("DynamicQuantize"):
            raise node_error(node.name or node.output[0], node.op_type, DYNAMIC)
        rule = RULES.get(node.op_type) if ours else None
        if rule is not None:
            rule(graph, node)
        elif node.domain == ORT and ORT not in defined:
            raise node_error(node.name or node.output[0], node.op_type, FOREIGN)
        else:
            graph.nodes.append(node)
    if graph.changed:
        del model.graph.node[:]
        model.graph.node.extend(graph.nodes)
        del model.graph.value_info[:]
        _drop_unread(model.graph)
    return graph.changed or rounds(model)


def rounds(model: onnx.ModelProto) -> bool:
    """Return whether the model rounds what it computes to integers."""
    return any(node.op_type in ("QuantizeLinear", "Round") for inner in _graphs(model.graph) for node in inner.node)


class _Graph:
    """The graph as it is written anew: its nodes so far, and its constants."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        self.graph, self.opset = graph, opset
        self.nodes: list[onnx.NodeProto] = []
        self.changed = False
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
        self._taken = {name for node in graph.node for name in (*node.input, *node.output)} | set(self.constants)
        self.in_float: set[str] = set()

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
        result = self.new(f"{value}_real")
        if self.array_is_float(value):
            return self._arithmetic_back(value, scales, zeros, result)
        return self.add("DequantizeLinear", [value, scale, *([zero] if zero else [])], result)

    def array_is_float(self, value: str) -> bool:
        """Return whether integers stand in a value as floats (3)."""
        return value in self.in_float

    def _arithmetic_back(self, value: str, scales: Array, zeros: Array, result: str) -> str:
        moved = self.add(
            "Sub", [value, self.constant(f"{value}_zero", zeros.astype(scales.dtype))], self.new(f"{value}_moved")
        )
        return self.add("Mul", [moved, self.constant(f"{value}_scale", scales)], result)

    def store(self, node: onnx.NodeProto, real: str, place: int, output: str) -> None:
        """Quantize to the scale and zero point that stand at a place among the node's inputs."""
        scale, zero = _at(node, place), _at(node, place + 1)
        scales = self.array(scale)
        if scales is None or (zero and self.array(zero) is None):
            raise node_error(node.name or node.output[0], node.op_type, COMPUTED)
        _check(node, scales)
        self.add("QuantizeLinear", [real, scale, *([zero] if zero else [])], output, self.new(f"{output}_quantized"))


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
    value, scale, zero = node.input[0], _at(node, 1), _at(node, 2)
    tensor, scales = graph.constants.get(value), graph.array(scale)
    plain = not _attributes(node, "block_size").get("block_size") and scales is not None and scales.ndim <= 1
    if tensor is not None and tensor.data_type in INTEGERS and plain and (not zero or graph.array(zero) is not None):
        axis = _attributes(node, "axis").get("axis", 1)
        _rename(graph, graph.real(node, 0, axis=axis), node.output[0])  # 1
    elif graph.array_is_float(value):
        zeros = graph.array(zero) if zero else np.zeros((), np.int64)
        if scales is None or zeros is None or scales.size > 1:
            raise node_error(node.name or node.output[0], node.op_type, COMPUTED)
        graph._arithmetic_back(value, scales, zeros, node.output[0])  # noqa: SLF001 - the same file
    else:
        _ours(graph, node)
        _check(node, scales)


def _rename(graph: _Graph, constant: str, name: str) -> None:
    """Give a constant the name by which its readers, and maybe the graph's outputs, know it."""
    if any(value.name == name for value in graph.graph.output):
        graph.add("Identity", [constant], name)
        return
    graph.changed = True
    graph.constants[constant].name = name
    graph.constants[name] = graph.constants.pop(constant)


def _quantize(graph: _Graph, node: onnx.NodeProto) -> None:
    kind = graph.dtype(_at(node, 2))
    _check(node, graph.array(node.input[1]))
    if node.domain != ORT or kind not in WIDE or graph.opset >= WIDE_OPSET:
        _ours(graph, node)
        return
    scale, zero = graph.array(node.input[1]), graph.array(_at(node, 2))
    if scale is None or zero is None or scale.size > 1:
        raise node_error(node.name or node.output[0], node.op_type, COMPUTED)
    base, limits = node.output[0], np.iinfo(kind)  # 3
    ratio = graph.add("Div", [node.input[0], node.input[1]], graph.new(f"{base}_ratio"), node.name)
    whole = graph.add("Round", [ratio], graph.new(f"{base}_whole"))
    moved = graph.add(
        "Add", [whole, graph.constant(f"{base}_zero", zero.astype(scale.dtype))], graph.new(f"{base}_moved")
    )
    ends = [graph.constant(f"{base}_{end}", np.array(end, scale.dtype)) for end in (limits.min, limits.max)]
    graph.add("Clip", [moved, *ends], base)
    graph.in_float.add(base)


def _ours(graph: _Graph, node: onnx.NodeProto) -> None:
    if node.domain == ORT:
        node.domain = ""
        graph.changed = True
    graph.nodes.append(node)


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
