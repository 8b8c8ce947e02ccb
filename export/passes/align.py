"""Where branches of different delays meet, the earlier ones wait for the latest."""

from __future__ import annotations

from export.graph import StreamGraph
from export.passes import buffers, convolution, padding, pairs, recurrent


def apply(stream: StreamGraph) -> bool:
    """Delay every input of a pointwise node that comes earlier than its output's timing says."""
    changed = False
    for node in list(stream.graph):
        output = next((value for value in node.outputs if value in stream.timing), None)
        claimed = node.op_type in recurrent.OPS or node.op_type in convolution.OPS or pairs.claims(stream, node)
        if output is None or claimed or padding.claims(stream, node):
            continue
        for index, value in enumerate(node.inputs):
            if value is not None and value in stream.timing:
                late = stream.timing[output].delay - stream.timing[value].delay
                if late > 0:
                    node.replace_input_with(index, buffers.delayed(stream, node, value, late))
                    changed = True
    return changed
