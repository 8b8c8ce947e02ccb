"""Where branches of different delays meet, the earlier ones wait for the latest; so do outputs of different delays."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from export.graph import StreamGraph
from export.passes import buffers, convolution, front, padding, pairs, stacked


def apply(stream: StreamGraph) -> bool:
    """Delay every input of a pointwise node that comes earlier than its output's timing says."""
    changed = _outputs(stream)
    for node in list(stream.graph):
        output = next((value for value in node.outputs if value in stream.timing), None)
        claimed = convolution.claims(stream, node) or pairs.claims(stream, node)
        if output is None or claimed or any(rule.claims(stream, node) for rule in (padding, front, stacked)):
            continue
        for index, value in enumerate(node.inputs):
            if value is not None and value in stream.timing:
                late = stream.timing[output].delay - stream.timing[value].delay
                if late > 0:
                    node.replace_input_with(index, buffers.delayed(stream, node, value, late))
                    changed = True
    return changed


def _outputs(stream: StreamGraph) -> bool:
    """Give every output that comes earlier than the latest a node of its own, which then waits as any other."""
    together, changed = stream.output_timing, False
    for place, output in enumerate(list(stream.graph.outputs)):
        timing = stream.timing.get(output)
        if together is None or timing is None or timing.delay == together.delay:
            continue
        node = ir.node("Identity", [output])
        node.name = stream.new_name("stream.output")
        late = node.outputs[0]
        late.name, output.name = output.name, stream.new_name(f"{output.name}.early")
        late.shape, late.type = output.shape, output.type
        stream.timing[late], stream.time[late] = replace(timing, delay=together.delay), timing.axis
        stream.graph.append(node)
        stream.graph.outputs[place] = late
        changed = True
    return changed
