"""Pad and Slice along time only move a value in time; what they put in or cut off is settled at reset and at flush.

1. Pad before the first frame: the value is early by as much; those entries become the fill of its reader's history.
   Where the padded value comes late, the padding is put in the place of entries that do not exist yet.
2. Pad behind the last frame is put in when the stream is flushed.
3. Pad with the edge value: the first and the last entry are not known at reset, so its reader's history copies them
   (`stream.edges`). Only a convolution or pooling reads such a value, with ops on each entry by itself between.
4. A Pad of other axes beside time goes on padding those.
5. Slice from the n-th entry on: the value is late by n. Slice up to the n-th from the end: it ends earlier. Slice of as
   many from the end as another value has, whose length goes with the sequence's: it starts where those runs show.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, Timing, constant_of, first_input, sizes
from export.passes import buffers

OPS = ("Pad", "Slice")
END = np.iinfo(np.int32).max
"""From here on, an end is the end."""


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Is this a Pad or Slice along time (and not along other axes alone)?"""
    value = node.inputs[0] if node.inputs else None
    if node.op_type not in OPS or value is None or value not in stream.timing:
        return False
    return (node.op_type == "Pad" and _pads(stream, node) != (0, 0)) or (
        node.op_type == "Slice" and _cuts_time(stream, node)
    )


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the output's timing."""
    entering = stream.timing[first_input(node)]
    before, after = _moved(stream, node)
    if _mode(node) == "edge" and node.op_type == "Pad":
        stream.edges[node.outputs[0]] = max(before, 0), max(after, 0)  # 3
    return replace(
        entering,
        delay=(entering.settled if after > 0 else entering.delay) - before,
        first=None if entering.first is None else entering.first - before * entering.stride,
        last=entering.last - before * entering.stride,
        offset=entering.offset + (before + after) * entering.stride,
    )


def apply(stream: StreamGraph) -> bool:
    """Replace every Pad and Slice along time."""
    nodes = [node for node in stream.graph if claims(stream, node)]
    for node in nodes:
        value = first_input(node)
        entering = stream.timing[value]
        source = value
        if node.op_type == "Pad":
            before, after = _pads(stream, node)
            ending = after > 0 and stream.owes
            if after and entering.settled > entering.delay:
                source = value = buffers.delayed(stream, node, value, entering.settled - entering.delay)
                entering = stream.timing[value]
            if _mode(node) == "constant" and ((before and entering.delay > 0) or ending):
                source = buffers.within(stream, node, value, entering, _content(node), ending=ending)  # 1, 2
        if node.op_type == "Slice":
            kept = _cut_others(stream, node, source)
        elif _others(stream, node):
            kept = _pad_others(stream, node, source)
        else:
            kept = buffers.emit(stream, node, "Identity", [source])
        buffers.take_over(stream, node.outputs[0], kept)
    return bool(nodes)


def _cut_others(stream: StreamGraph, node: ir.Node, source: ir.Value) -> ir.Value:
    """Return what a Slice leaves of the axes other than time."""
    rank = len(sizes(first_input(node)))
    starts, ends, axes, steps = (_constant(node, index) for index in (1, 2, 3, 4))
    count = next((len(given) for given in (starts, ends, axes) if given is not None), 0)
    places = list(range(count)) if axes is None else [int(axis) % rank for axis in axes]
    kept = [at for at, place in enumerate(places) if place != stream.timing[first_input(node)].axis]
    if not kept:
        return buffers.emit(stream, node, "Identity", [source])
    if starts is None or ends is None:
        raise node_error(str(node.name), "Slice", "it cuts other axes than time at places that are not constant.")
    stride = np.ones(count, np.int64) if steps is None else steps
    bounds = [starts[kept], ends[kept], np.array([places[at] for at in kept], np.int64), stride[kept]]
    return buffers.emit(
        stream, node, "Slice", [source, *(stream.constant("cut", np.asarray(b, np.int64)) for b in bounds)]
    )


def _moved(stream: StreamGraph, node: ir.Node) -> tuple[int, int]:
    """Return how many entries the node adds before and after (negative: takes away)."""
    if node.op_type == "Pad":
        return _pads(stream, node)
    value, output = first_input(node), node.outputs[0]
    starts, ends, axes, steps = (_constant(node, index) for index in (1, 2, 3, 4))
    rank = len(sizes(value))
    bounds = starts if starts is not None else ends
    places = list(range(0 if bounds is None else len(bounds))) if axes is None else [int(a) % rank for a in axes]
    at = places.index(stream.timing[value].axis)
    if steps is not None and steps[at] != 1:
        raise node_error(str(node.name), "Slice", "it takes every n-th time step, or goes backwards.")
    before, after = stream.lengths[value], stream.lengths[output]
    start = before[0] - after[0] if starts is None else int(starts[at])
    if starts is None and (ends is None or ends[at] < END):
        raise node_error(str(node.name), "Slice", "where it starts is not a constant.")
    if start < 0:
        raise node_error(str(node.name), "Slice", "it starts at a number of steps from the end, which never comes.")
    lost = [a - b - start for a, b in zip(before, after, strict=True)]
    if lost[0] != lost[1] or lost[0] < 0:
        raise node_error(str(node.name), "Slice", "where it ends does not move with the length of the sequence.")
    return -start, -lost[0]  # 5


def _cuts_time(stream: StreamGraph, node: ir.Node) -> bool:
    value, axes = first_input(node), _constant(node, 3)
    rank = len(sizes(value))
    touched = range(rank) if axes is None else [int(a) % rank for a in axes]
    return node.outputs[0] in stream.time and stream.timing[value].axis in touched


def _pads(stream: StreamGraph, node: ir.Node) -> tuple[int, int]:
    """Return the padding along time, before and after. Raises ExportError for padding that is not constant."""
    value, pads, axes = first_input(node), _constant(node, 1), _constant(node, 3)
    if pads is None:
        raise node_error(str(node.name), "Pad", "how much it pads is not a constant.")
    rank = len(sizes(value))
    places = list(range(rank)) if axes is None else [int(a) % rank for a in axes]
    axis = stream.timing[value].axis
    if axis not in places:
        return 0, 0
    at = places.index(axis)
    before, after = int(pads[at]), int(pads[at + len(places)])
    if (before or after) and _mode(node) not in ("constant", "edge"):
        raise node_error(
            str(node.name), "Pad",
            f"its padding along time is of the mode '{_mode(node)}', made of frames that have not come yet or lie long "
            "back; constants and the edge value stream.",
        )  # fmt: skip
    return before, after


def _mode(node: ir.Node) -> str:
    return node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"


def spread_edges(stream: StreamGraph, node: ir.Node, *, pointwise: bool) -> None:
    """Say what a node makes of values padded with their edge (3). Raises ExportError where that is not known."""
    timed = [value for value in node.inputs if value is not None and value in stream.timing]
    edges = {stream.edges.get(value) for value in timed}
    if edges == {None}:
        return
    if not pointwise or len(edges) > 1 or len({stream.timing[value].delay for value in timed}) > 1:
        raise node_error(
            str(node.name), node.op_type,
            "it reads what is padded with its edge value, together with what is not, or over time; pad right before "
            "the convolution that needs it.",
        )  # fmt: skip
    stream.edges.update({output: found for output in node.outputs for found in edges if found is not None})


def _others(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a Pad pads other axes besides time."""
    pads = _constant(node, 1)
    return pads is not None and int(np.count_nonzero(pads)) > sum(1 for amount in _pads(stream, node) if amount)


def _pad_others(stream: StreamGraph, node: ir.Node, source: ir.Value) -> ir.Value:
    """Return the value padded along the axes that are not time (4)."""
    value, pads, axes = first_input(node), _constant(node, 1), _constant(node, 3)
    rank = len(sizes(value))
    places = list(range(rank)) if axes is None else [int(a) % rank for a in axes]
    at = places.index(stream.timing[value].axis)
    rest = np.array(pads, np.int64)
    rest[[at, at + len(places)]] = 0
    inputs = [source, stream.constant("pads", rest), *node.inputs[2:]]
    alone = ir.node("Pad", inputs, dict(node.attributes))
    alone.name = stream.new_name("stream.pad")
    alone.outputs[0].name = stream.new_name(f"{alone.name}.y")
    stream.graph.insert_before(node, alone)
    return alone.outputs[0]


def _content(node: ir.Node) -> float:
    content = _constant(node, 2)
    return 0.0 if content is None else float(content.reshape(-1)[0])


def _constant(node: ir.Node, index: int) -> np.ndarray | None:
    value = node.inputs[index] if len(node.inputs) > index else None
    content = constant_of(value)
    return None if content is None else content.reshape(-1)
