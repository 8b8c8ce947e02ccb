"""Bring the graph into one form, so that the passes behind it meet fewer of them.

1. Functions are inlined, also the definitions that ONNX gives of its own composite ops (see expand.py),
   Constant nodes become initializers, Identity nodes go.
2. Dropout outside training is an identity and goes, if nothing reads its mask.
3. What nothing reads goes.
4. A node without a name gets one, so that a refusal can name it.
"""

from __future__ import annotations

from onnx_ir.passes import common

from export.graph import StreamGraph
from export.passes import expand


def apply(stream: StreamGraph) -> bool:
    """Clean the graph in place."""
    before = stream.graph.num_nodes()
    model = common.InlinePass()(expand.expanded(stream.model)).model  # 1
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)  # 1
    for node in list(model.graph):  # 2
        unread = all(not value.uses() and not value.is_graph_output() for value in node.outputs[1:])
        if node.op_type == "Dropout" and node.inputs[0] is not None and unread:
            node.outputs[0].replace_all_uses_with(node.inputs[0], replace_graph_outputs=True)
    common.IdentityEliminationPass()(model)  # 1
    for node in model.graph:  # 4
        node.name = node.name or f"{node.op_type.lower()} giving {node.outputs[0].name}"
    common.RemoveUnusedNodesPass()(model)  # 3
    stream.model = model
    return model.graph.num_nodes() != before
