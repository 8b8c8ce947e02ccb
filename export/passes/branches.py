"""An If whose condition depends on no data and is the same at every length is the branch that it takes.

Exporters write them where a shape was not known to them: whether an axis has size 1, whether there is anything at all.
"""

from __future__ import annotations

import onnx_ir as ir

from export.graph import StreamGraph, probe
from export.passes import time_axis


def apply(stream: StreamGraph) -> bool:
    """Put the branch in the place of every such If; those inside a branch are seen once it stands in the graph."""
    changed = False
    while _once(stream):
        changed = True
    return changed


def _once(stream: StreamGraph) -> bool:
    if not any(node.op_type == "If" for node in stream.graph):
        return False
    on_data = time_axis.data_dependent(stream)
    nodes = [node for node in stream.graph if node.op_type == "If" and node.inputs[0] not in on_data]
    conditions = [value for node in nodes if (value := node.inputs[0]) is not None and value.producer() is not None]
    if not conditions:
        return False
    short, long = (probe(stream.model, stream.noise(length), conditions) for length in time_axis.probed(stream))
    changed = False
    for node in nodes:
        name = str(node.inputs[0].name) if node.inputs[0] is not None else ""
        if name in short and bool(short[name].all()) == bool(long[name].all()):
            _take(stream, node, "then_branch" if short[name].all() else "else_branch")
            changed = True
    return changed


def _take(stream: StreamGraph, node: ir.Node, branch: str) -> None:
    body = node.attributes[branch].as_graph()
    given = list(body.outputs)
    for value in list(body.initializers.values()):
        del body.initializers[str(value.name)]
        value.name = stream.new_name(f"{node.name}.{value.name}")
        stream.graph.register_initializer(value)
    inner = list(body)
    body.outputs.clear()
    body.remove(inner)
    for each in inner:
        # Names within one branch may be those of another.
        each.name = stream.new_name(f"{node.name}.{each.name}")
        for value in each.outputs:
            value.name = stream.new_name(f"{node.name}.{value.name}")
        stream.graph.insert_before(node, each)
    for old, new in zip(node.outputs, given, strict=True):
        through = ir.node("Identity", [new])
        through.name = stream.new_name(f"{node.name}.taken")
        stream.graph.insert_before(node, through)
        through.outputs[0].name, old.name = old.name, stream.new_name(f"{old.name}.if")
        through.outputs[0].shape, through.outputs[0].type = new.shape, new.type or old.type
        old.replace_all_uses_with(through.outputs[0], replace_graph_outputs=True)
    stream.graph.remove(node, safe=True)
