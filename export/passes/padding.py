"""Pad and Slice along time only move a value in time; what they put in or cut off is settled at reset and at flush.

1. Pad before the first frame: the value is early by as much; those entries become the fill of its reader's history.
   Where the padded value comes late, the padding is put in the place of entries that do not exist yet.
2. Pad behind the last frame is put in when the stream is flushed.
3. Slice from the n-th entry on: the value is late by n. Slice up to the n-th from the end: it ends earlier.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, Timing, constant_of, sizes
from export.passes import buffers

OPS = ("Pad", "Slice")


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
    entering = stream.timing[_input(node)]
    before, after = _moved(stream, node)
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
        value = _input(node)
        entering = stream.timing[value]
        source = value
        if node.op_type == "Pad":
            before, after = _pads(stream, node)
            ending = after > 0 and stream.owes
            if after and entering.settled > entering.delay:
                source = value = buffers.delayed(stream, node, value, entering.settled - entering.delay)
                entering = stream.timing[value]
            if (before and entering.delay > 0) or ending:
                source = buffers.within(stream, node, value, entering, _content(node), ending=ending)  # 1, 2
            if _others(stream, node):
                raise node_error(str(node.name), "Pad", "it pads time and other axes at once; split it in two.")
        kept = buffers.emit(stream, node, "Identity", [source])
        _take_over(stream, node.outputs[0], kept)
    return bool(nodes)


def _take_over(stream: StreamGraph, old: ir.Value, new: ir.Value) -> None:
    """Let a new value stand in for an old one, its timing included."""
    new.shape, new.type = old.shape, old.type
    stream.timing[new], stream.time[new] = stream.timing[old], stream.time[old]
    if old in stream.fills:
        stream.fills[new] = stream.fills[old]
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def _moved(stream: StreamGraph, node: ir.Node) -> tuple[int, int]:
    """Return how many entries the node adds before and after (negative: takes away)."""
    if node.op_type == "Pad":
        return _pads(stream, node)
    value, output = _input(node), node.outputs[0]
    starts, axes, steps = (_constant(node, index) for index in (1, 3, 4))
    if starts is None:
        raise node_error(str(node.name), "Slice", "where it starts is not a constant.")
    rank = len(sizes(value))
    places = list(range(len(starts))) if axes is None else [int(a) % rank for a in axes]
    at = places.index(stream.timing[value].axis)
    if steps is not None and steps[at] != 1:
        raise node_error(str(node.name), "Slice", "it takes every n-th time step, or goes backwards.")
    start = int(starts[at])
    if start < 0:
        raise node_error(str(node.name), "Slice", "it starts at a number of steps from the end, which never comes.")
    before, after = stream.lengths[value], stream.lengths[output]
    lost = [a - b - start for a, b in zip(before, after, strict=True)]
    if lost[0] != lost[1] or lost[0] < 0:
        raise node_error(str(node.name), "Slice", "where it ends does not move with the length of the sequence.")
    return -start, -lost[0]  # 3


def _cuts_time(stream: StreamGraph, node: ir.Node) -> bool:
    value, axes = _input(node), _constant(node, 3)
    rank = len(sizes(value))
    touched = range(rank) if axes is None else [int(a) % rank for a in axes]
    return node.outputs[0] in stream.time and stream.timing[value].axis in touched


def _pads(stream: StreamGraph, node: ir.Node) -> tuple[int, int]:
    """Return the padding along time, before and after. Raises ExportError for padding that is not constant."""
    value, pads, axes = _input(node), _constant(node, 1), _constant(node, 3)
    if pads is None:
        raise node_error(str(node.name), "Pad", "how much it pads is not a constant.")
    rank = len(sizes(value))
    places = list(range(rank)) if axes is None else [int(a) % rank for a in axes]
    axis = stream.timing[value].axis
    if axis not in places:
        return 0, 0
    at = places.index(axis)
    before, after = int(pads[at]), int(pads[at + len(places)])
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    if (before or after) and mode != "constant":
        raise node_error(
            str(node.name), "Pad", f"its padding along time is of the mode '{mode}'; only constants stream."
        )
    return before, after


def _others(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a Pad pads other axes besides time."""
    pads = _constant(node, 1)
    return pads is not None and int(np.count_nonzero(pads)) > sum(1 for amount in _pads(stream, node) if amount)


def _input(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise node_error(str(node.name), node.op_type, "its input is missing.")
    return value


def _content(node: ir.Node) -> float:
    content = _constant(node, 2)
    return 0.0 if content is None else float(content.reshape(-1)[0])


def _constant(node: ir.Node, index: int) -> np.ndarray | None:
    value = node.inputs[index] if len(node.inputs) > index else None
    content = constant_of(value)
    return None if content is None else content.reshape(-1)
