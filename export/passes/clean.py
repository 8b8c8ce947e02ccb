"""Bring the graph into one form, so that the passes behind it meet fewer of them.

1. Functions are inlined, also the definitions that ONNX gives of its own composite ops (see expand.py),
   Constant nodes become initializers, also those of bodies (Loop, Scan, If); Identity nodes outside bodies go.
2. Dropout outside training is an identity and goes, if nothing reads its mask.
3. What nothing reads goes.
4. A node without a name gets one, so that a refusal can name it.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from export.graph import StreamGraph
from export.passes import expand


def apply(stream: StreamGraph) -> bool:
    """Clean the graph in place."""
    before = stream.graph.num_nodes()
    model = common.InlinePass()(expand.expanded(stream.model)).model  # 1
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)  # 1
    common.LiftSubgraphInitializersToMainGraphPass()(model)  # 1
    for node in list(model.graph):  # 2
        unread = all(not value.uses() and not value.is_graph_output() for value in node.outputs[1:])
        if node.op_type == "Dropout" and node.inputs[0] is not None and unread:
            node.outputs[0].replace_all_uses_with(node.inputs[0], replace_graph_outputs=True)
    for node in list(model.graph):  # 1
        if node.op_type == "Identity" and node.domain in ("", "ai.onnx"):
            _pass_over(node)
    for node in model.graph.all_nodes():  # 4
        node.name = node.name or f"{node.op_type.lower()} giving {node.outputs[0].name}"
    common.RemoveUnusedNodesPass()(model)  # 3
    stream.model = model
    return model.graph.num_nodes() != before


def _pass_over(identity: ir.Node) -> None:
    """Let an Identity's readers read its input; in bodies it may be what makes an outer value their output."""
    value, output = identity.inputs[0], identity.outputs[0]
    if value is None:
        return
    if output.is_graph_output():
        if value.producer() is None or value.is_graph_output():
            return
        value.name, output.name = output.name, None
    value.shape, value.type = value.shape or output.shape, value.type or output.type
    output.replace_all_uses_with(value, replace_graph_outputs=True)
