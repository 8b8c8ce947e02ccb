"""Elementwise ops, softmax, norms and reductions.

1. What has several inputs of one kind is written two at a time; Clip is Max and Min.
2. Batch norm with fixed statistics is a factor and an offset, which fold into the product before them.
3. A reduction keeps its axes with one entry, and a view drops them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from export.errors import node_error
from export.graph import integer, ints
from export.lowering import products
from export.lowering.builder import Builder, Rule, dims

PARAMETERS: dict[str, dict[str, float]] = {
    "Elu": {"alpha": 1.0},
    "LeakyRelu": {"alpha": 0.01},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
}
DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.BOOL: "bool",
}


def _elementwise(builder: Builder, node: ir.Node) -> None:
    if products.folded(builder, node):
        return
    sources = [builder.read(node, place) for place in range(len(node.inputs))]
    attributes = {
        key: node.attributes[key].as_float() if key in node.attributes else default
        for key, default in PARAMETERS.get(node.op_type, {}).items()
    }
    builder.set(node, builder.elementwise(node.op_type, str(node.name), *sources, **attributes))


def _selu(builder: Builder, node: ir.Node) -> None:
    alpha = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.6732632
    gamma = node.attributes["gamma"].as_float() if "gamma" in node.attributes else 1.0507010
    risen = builder.elementwise("Elu", f"{node.name}.elu", builder.read(node, 0), alpha=alpha)
    builder.set(node, _times(builder, node, risen, gamma))


def _celu(builder: Builder, node: ir.Node) -> None:
    alpha = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.0
    shrunk = _times(builder, node, builder.read(node, 0), 1 / alpha)
    risen = builder.elementwise("Elu", f"{node.name}.elu", shrunk, alpha=1.0)
    builder.set(node, _times(builder, node, risen, alpha))


def _swish(builder: Builder, node: ir.Node) -> None:
    alpha = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.0
    source = builder.read(node, 0)
    gate = builder.elementwise("Sigmoid", f"{node.name}.gate", _times(builder, node, source, alpha))
    builder.set(node, builder.elementwise("Mul", str(node.name), source, gate))


def _mean(builder: Builder, node: ir.Node) -> None:
    _several("Add", builder, node)
    builder.set(node, _times(builder, node, builder.named(node.outputs[0]), 1 / len(node.inputs)))


def _times(builder: Builder, node: ir.Node, source: str, factor: float) -> str:
    if factor == 1:
        return source
    constant = builder.constant(f"{node.name}.factor", np.array(factor, np.float32))
    return builder.elementwise("Mul", f"{node.name}.times", source, constant)


def _mod(builder: Builder, node: ir.Node) -> None:
    sources = builder.read(node, 0), builder.read(node, 1)
    builder.set(node, builder.elementwise("Mod", str(node.name), *sources, fmod=integer(node, "fmod", 0)))


def _several(kind: str, builder: Builder, node: ir.Node) -> None:
    total = builder.read(node, 0)
    for place in range(1, len(node.inputs)):
        total = builder.elementwise(kind, str(node.name), total, builder.read(node, place))  # 1
    builder.set(node, total)


def _gelu(builder: Builder, node: ir.Node) -> None:
    way = node.attributes["approximate"].as_string() if "approximate" in node.attributes else "none"
    builder.set(node, builder.elementwise("Gelu", str(node.name), builder.read(node, 0), approximate=way))


def _clip(builder: Builder, node: ir.Node) -> None:
    value = builder.read(node, 0)
    for place, kind in ((1, "Max"), (2, "Min")):
        if place < len(node.inputs) and node.inputs[place] is not None:
            value = builder.elementwise(kind, f"{node.name}.{kind.lower()}", value, builder.read(node, place))  # 1
    builder.set(node, value)


def _cast(builder: Builder, node: ir.Node) -> None:
    to = DTYPES.get(node.attributes["to"].as_int())
    source = builder.read(node, 0)
    if to is None:
        raise node_error(str(node.name), "Cast", "it casts to a type that has no integer form; export float32 alone.")
    same = builder.program.dtypes.get(source, "float32") == to
    builder.set(node, source if same else builder.elementwise("Cast", str(node.name), source, to=to))


def _batch_norm(builder: Builder, node: ir.Node) -> None:
    shape = dims(builder, node)
    scale, bias, mean, variance = (np.asarray(builder.fixed(node, place), np.float64) for place in (1, 2, 3, 4))
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    factor = scale / np.sqrt(variance + epsilon)
    column = (-1, *(1,) * (len(shape) - 2))
    value = builder.read(node, 0)
    for kind, content in (("Mul", factor), ("Add", bias - mean * factor)):
        array = content.reshape(column).astype(np.float32)
        if not products.folding(builder, node, value, kind, array):
            constant = builder.constant(f"{node.name}.{kind.lower()}", array)
            value = builder.elementwise(kind, str(node.name), value, constant)  # 2
    builder.set(node, value)


def _softmax(builder: Builder, node: ir.Node) -> None:
    axis = integer(node, "axis", -1) % len(dims(builder, node))
    builder.set(node, builder.emit(node.op_type, str(node.name), builder.read(node, 0), attributes={"axis": axis}))


def _layer_norm(builder: Builder, node: ir.Node) -> None:
    shape = dims(builder, node)
    axis = integer(node, "axis", -1) % len(shape)
    if sum(bool(output.uses()) for output in node.outputs[1:]):
        raise node_error(str(node.name), node.op_type, "its mean or spread is read, too; export float32 alone.")
    given = builder.fixed(node, 1), builder.fixed(node, 2)
    arrays = {
        key: np.broadcast_to(fill if array is None else array, shape[axis:]).astype(np.float32)
        for key, array, fill in zip(("scale", "bias"), given, (1.0, 0.0), strict=True)
    }
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    source = builder.read(node, 0)
    root = builder.root(source)
    if axis == len(shape) - 1 and builder.shape(root)[-1:] == shape[-1:]:
        source, axis = root, len(builder.shape(root)) - 1
    attributes: dict[str, Any] = {"axis": axis, "epsilon": epsilon}
    result = builder.emit("LayerNormalization", str(node.name), source, attributes=attributes, arrays=arrays)
    builder.set(node, builder.view(result, shape))


def _reduce(builder: Builder, node: ir.Node) -> None:
    builder.set(node, reduced(builder, node, node.op_type, builder.read(node, 0)))


def _norm(builder: Builder, node: ir.Node) -> None:
    """Write a sum of sizes or squares, and what becomes of it."""
    name, kind, source = str(node.name), node.op_type, builder.read(node, 0)
    if kind == "ReduceL1":
        source = builder.elementwise("Abs", f"{name}.abs", source)
    elif kind in {"ReduceL2", "ReduceSumSquare"}:
        source = builder.elementwise("Mul", f"{name}.squares", source, source)
    total = reduced(builder, node, "ReduceSum", source)
    after = {"ReduceL2": "Sqrt", "ReduceLogSum": "Log"}.get(kind)
    builder.set(node, total if after is None else builder.elementwise(after, name, total))


def reduced(builder: Builder, node: ir.Node, kind: str, source: str) -> str:
    """Write a reduction over the axes that a node names."""
    shape = builder.shape(source)
    given = builder.fixed(node, 1) if len(node.inputs) > 1 else None
    axes = ints(node, "axes") if given is None else tuple(given.reshape(-1).tolist())
    if not axes and integer(node, "noop_with_empty_axes", 0):
        return source
    over = tuple(sorted({int(axis) % len(shape) for axis in axes})) or tuple(range(len(shape)))
    result = builder.emit(kind, str(node.name), source, attributes={"axes": over})
    left = builder.shape(result)
    if not integer(node, "keepdims", 1):
        left = tuple(size for axis, size in enumerate(left) if axis not in over)
    return builder.view(result, left)  # 3


ELEMENTWISE = (
    "Add Sub Mul Div Pow Neg Abs Sign Floor Ceil Exp Log Sqrt Reciprocal Sin Cos Erf Elu LeakyRelu PRelu Softplus "
    "Softsign HardSigmoid HardSwish Sigmoid Tanh Relu Less LessOrEqual Greater GreaterOrEqual Equal And Or Not"
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE.split(), _elementwise),
    "Min": partial(_several, "Min"),
    "Max": partial(_several, "Max"),
    "Sum": partial(_several, "Add"),
    "Mean": _mean,
    "Mod": _mod,
    "Selu": _selu,
    "Celu": _celu,
    "Swish": _swish,
    "Gelu": _gelu,
    "Clip": _clip,
    "Cast": _cast,
    "BatchNormalization": _batch_norm,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "LayerNormalization": _layer_norm,
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _reduce),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum"), _norm),
}
