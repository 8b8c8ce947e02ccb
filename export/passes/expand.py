"""Ops that ONNX itself defines by simpler ones are replaced by that definition, so that no pass needs to know them.

Attention and RotaryEmbedding (opset 23): what they do to time is then told op by op, as of any attention.
"""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir

from export.errors import node_error
from export.graph import first_line

DEFINED = ("Attention", "RotaryEmbedding")
DOMAIN = "expanded"


def expanded(model: ir.Model) -> ir.Model:
    """Return the model with ONNX's own definition of each such op as a local function, to be inlined."""
    if not any(node.op_type in DEFINED and node.domain in ("", "ai.onnx") for node in model.graph):
        return model
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(model))
    opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    graph = proto.graph
    types = {value.name: value.type for value in [*graph.value_info, *graph.input, *graph.output]}
    for tensor in graph.initializer:
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    for number, node in enumerate(graph.node):
        if node.op_type in DEFINED and node.domain in ("", "ai.onnx"):
            body = _definition(node, opset, types)
            body.domain, body.name = DOMAIN, f"{node.op_type}{number}"
            del body.attribute[:], body.attribute_proto[:], node.attribute[:]
            # What the node leaves out, its definition does not make.
            del body.input[len(node.input) :], body.output[len(node.output) :]
            for inner in body.node:
                inner.name = f"{node.name or node.output[0]}.{inner.output[0]}"
            proto.functions.append(body)
            node.domain, node.op_type = body.domain, body.name
    proto.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return ir.from_proto(proto)


def _definition(node: onnx.NodeProto, opset: int, types: dict[str, onnx.TypeProto]) -> onnx.FunctionProto:
    entering = [types.get(name, onnx.TypeProto()).SerializeToString() for name in node.input]
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset)
        versions = schema.context_dependent_function_opset_versions
        version = max(known for known in versions if known <= opset)
        content = schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), entering)
    except Exception as cause:
        raise node_error(
            node.name or node.output[0], node.op_type, f"its definition in ONNX does not apply: {first_line(cause)}"
        ) from cause
    body = onnx.FunctionProto()
    body.ParseFromString(content)
    return body
