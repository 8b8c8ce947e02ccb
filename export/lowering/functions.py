"""Ops that ONNX itself defines by simpler ones, and what such definitions compute of shapes.

1. The definition is lowered in the op's place; what it cannot be lowered to is refused under the op's own name.
2. Shapes are fixed in a step, so what is computed of them is a constant; but not one that grows with the source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from export.errors import ExportError, node_error
from export.lowering.builder import Builder, Rule, dims
from export.program import Array


def body(builder: Builder, node: ir.Node) -> ir.Function | None:
    """Return ONNX's definition of an op; None where there is none, or none for its inputs."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type)
        if schema.has_function:
            function = onnx.FunctionProto()
            function.CopyFrom(schema.function_body)
        elif schema.has_context_dependent_function:
            types = [_type(builder, value) for value in node.inputs]
            given = ir.to_proto(node).SerializeToString()
            function = onnx.FunctionProto.FromString(schema.get_context_dependent_function(given, types))
        else:
            return None
    except (onnx.defs.SchemaError, RuntimeError):
        return None
    for inner in function.node:
        kept = [_attribute(attribute, node, schema) for attribute in inner.attribute]
        del inner.attribute[:]
        inner.attribute.extend(attribute for attribute in kept if attribute is not None)
    return ir.serde.deserialize_function(function) if function.node else None


def expand(builder: Builder, node: ir.Node, function: ir.Function, lower: Callable[[Builder, ir.Node], None]) -> None:
    """Lower a definition in its op's place (1)."""
    for value, given in zip(function.inputs, node.inputs, strict=False):
        if given is not None:
            builder.names[value] = builder.named(given)
    for value in function.inputs:
        for inner, place in list(value.uses()) if value not in builder.names else []:
            inner.replace_input_with(place, None)
    try:
        for place, inner in enumerate(function):
            inner.name = f"{node.name}.{place}"
            lower(builder, inner)
    except ExportError as cause:
        raise node_error(str(node.name), node.op_type, "it has no integer form; export float32 alone.") from cause
    for place, (value, output) in enumerate(zip(function.outputs, node.outputs, strict=False)):
        if output.uses() or output in builder.stream.graph.outputs:
            builder.set(node, builder.named(value), place)


def _type(builder: Builder, value: ir.Value | None) -> bytes:
    if value is None:
        return b""
    name = builder.named(value)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(builder.program.dtypes.get(name, "float32")))
    return bytes(helper.make_tensor_type_proto(element, builder.shape(name)).SerializeToString())


def _attribute(attribute: onnx.AttributeProto, node: ir.Node, schema: Any) -> onnx.AttributeProto | None:
    """Return an attribute of a definition as the node, or ONNX's default, has it."""
    if not attribute.ref_attr_name:
        return attribute
    found = onnx.AttributeProto()
    if attribute.ref_attr_name in node.attributes:
        found.CopyFrom(ir.to_proto(node.attributes[attribute.ref_attr_name]))
    elif attribute.ref_attr_name in schema.attributes and schema.attributes[attribute.ref_attr_name].default_value.type:
        found.CopyFrom(schema.attributes[attribute.ref_attr_name].default_value)
    else:
        return None
    found.name = attribute.name
    return found


def _shape(builder: Builder, node: ir.Node) -> None:
    source, shape = builder.read(node, 0), dims(builder, node)
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    end = node.attributes["end"].as_int() if "end" in node.attributes else len(shape)
    if source in builder.growing:
        builder.set(node, builder.emit("Shape", str(node.name), source, attributes={"start": start, "end": end}))
        return
    _fixed(builder, node, np.array(shape[start:end], np.int64))  # 2


def _size(builder: Builder, node: ir.Node) -> None:
    _fixed(builder, node, np.array(np.prod(dims(builder, node), dtype=np.int64)))


def _constant_of_shape(builder: Builder, node: ir.Node) -> None:
    shape = builder.fixed(node, 0)
    value = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else np.zeros(1, np.float32)
    _fixed(builder, node, np.full(tuple([] if shape is None else shape.tolist()), value.reshape(-1)[0], value.dtype))


def _range(builder: Builder, node: ir.Node) -> None:
    if any(builder.sized(value) is not None for value in node.inputs):
        builder.set(node, builder.emit("Range", str(node.name), *(builder.read(node, place) for place in range(3))))
        return
    bounds: list[Any] = [builder.fixed(node, place) for place in range(3)]
    start, limit, delta = (bound.item() for bound in bounds)
    _fixed(builder, node, np.arange(start, limit, delta, dtype=bounds[0].dtype))


def _cast_like(builder: Builder, node: ir.Node) -> None:
    source, to = builder.read(node, 0), builder.program.dtypes.get(builder.read(node, 1), "float32")
    same = builder.program.dtypes.get(source, "float32") == to
    builder.set(node, source if same else builder.elementwise("Cast", str(node.name), source, to=to))


def _fixed(builder: Builder, node: ir.Node, content: Array) -> None:
    builder.set(node, builder.constant(str(node.name), content))


RULES: dict[str, Rule] = {
    "Shape": _shape,
    "Size": _size,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "CastLike": _cast_like,
}
