"""Convolutions and poolings over time work on a history of their input instead of on all of it.

1. Padding before the first frame is what the history holds at reset. An input that comes late holds no such entries
   yet in its first steps: there the padding is put in its place.
2. A kernel that reaches ahead makes its output come late by as many entries: lookahead becomes delay. Padding behind
   the last frame is put in when the stream is flushed.
3. A stride makes the step take several frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, Timing, constant_of, integer, ints, sizes
from export.passes import buffers

OPS = {"Conv", "MaxPool", "AveragePool", "LpPool"}
LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Window:
    """What a node looks at along time: `span` entries beyond the first, stepping by `stride`, padded on both sides."""

    place: int
    span: int
    stride: int
    before: int
    after: int


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the output's timing."""
    value = _input(node)
    entering = stream.timing[value]
    w = window(stream, node)
    if w.after:
        entering = replace(entering, delay=entering.settled)
    stride = entering.stride * w.stride
    # The last entry needed for output j must have come when its step ends: round up to whole output entries.
    delay = -((w.stride - 1 - w.span - entering.delay + w.before) // w.stride)
    return replace(
        entering,
        stride=stride,
        delay=delay,
        first=None if entering.first is None else entering.first - w.before * entering.stride,
        last=entering.last + (w.span - w.before) * entering.stride,
        offset=entering.offset + entering.stride * (w.before + w.after - w.span - 1 + w.stride),
    )


def apply(stream: StreamGraph) -> bool:
    """Rewrite every convolution and pooling over time."""
    nodes = [node for node in stream.graph if node.op_type in OPS and node.inputs[0] in stream.timing]
    for number, node in enumerate(nodes):
        _rewrite(stream, node, number)
    return bool(nodes)


def window(stream: StreamGraph, node: ir.Node) -> Window:
    """Read the node's window along time. Raises ExportError for what does not stream."""
    value, name = _input(node), str(node.name)
    rank = len(sizes(value))
    place = stream.timing[value].axis - 2
    if place < 0:
        raise node_error(name, node.op_type, "time runs along its batch or channel axis, so it mixes all of time.")
    if integer(node, "ceil_mode", 0):
        raise node_error(name, node.op_type, "ceil_mode makes its last output depend on where the sequence ends.")
    weight = constant_of(node.inputs[1]) if node.op_type == "Conv" else None
    kernel = ints(node, "kernel_shape") or (weight.shape[2:] if weight is not None else ())
    if not kernel:
        raise node_error(name, node.op_type, "its kernel is not a constant.")
    spatial = rank - 2
    strides, dilations = ints(node, "strides") or (1,) * spatial, ints(node, "dilations") or (1,) * spatial
    span = (kernel[place] - 1) * dilations[place]
    before, after = _pads(node, place, spatial, span, strides[place])
    excludes = node.op_type == "AveragePool" and not integer(node, "count_include_pad", 0)
    if excludes and (before or after):
        raise node_error(
            name, node.op_type, "its average leaves padding out (count_include_pad=0) at the ends of time."
        )
    return Window(place, span, strides[place], before, after)


def _pads(node: ir.Node, place: int, spatial: int, span: int, stride: int) -> tuple[int, int]:
    how = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    if how == "VALID":
        return 0, 0
    if how in ("SAME_UPPER", "SAME_LOWER"):
        if stride != 1:
            raise node_error(
                str(node.name), node.op_type, "its padding depends on how long the sequence is (auto_pad)."
            )
        half = span // 2
        return (half, span - half) if how == "SAME_UPPER" else (span - half, half)
    pads = ints(node, "pads") or (0,) * (2 * spatial)
    return pads[place], pads[place + spatial]


def _rewrite(stream: StreamGraph, node: ir.Node, number: int) -> None:
    value = _input(node)
    entering, leaving, w = stream.timing[value], stream.timing[node.outputs[0]], window(stream, node)
    padding = LOWEST if node.op_type == "MaxPool" else 0.0
    source = value
    if w.after and entering.settled > entering.delay:
        source = value = buffers.delayed(stream, node, value, entering.settled - entering.delay)
        entering = stream.timing[value]
    if w.before and entering.delay > 0:
        source = buffers.within(stream, node, value, entering, padding, ending=bool(w.after) and stream.owes)  # 1
    elif w.after and stream.owes:
        source = buffers.within(stream, node, value, entering, padding, ending=True)  # 2
    source.shape, source.type = value.shape, value.type
    # Entry j * stride of the padded input lies this many entries before the newest ones of its step.
    length = leaving.delay * w.stride - (entering.delay - w.before)
    if length < 0:
        windowed = buffers.cut(stream, node, source, entering.axis, -length, None)
    else:
        fill = _fill(stream, value, entering, w.before, padding)
        windowed = buffers.history(stream, node, source, entering, length, fill, f"{node.op_type.lower()}{number}")
    node.replace_input_with(0, windowed)
    spatial = len(sizes(value)) - 2
    pads = list(ints(node, "pads") or (0,) * (2 * spatial))
    if "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() != "NOTSET" and spatial > 1:
        raise node_error(str(node.name), node.op_type, "auto_pad over time and features together is not streamed.")
    pads[w.place] = pads[w.place + spatial] = 0
    node.attributes.pop("auto_pad", None)
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)


def _fill(stream: StreamGraph, value: ir.Value, entering: Timing, before: int, padding: float) -> np.ndarray:
    """Return what stands before the first entry that comes from a frame: own padding, then the input's own."""
    shape = sizes(value)
    shape[entering.axis] = max(before - max(entering.delay, 0), 0)
    own = np.full(shape, padding, np.float32)
    if value in stream.fills:
        return np.concatenate([own, stream.fills[value]], axis=entering.axis)
    return own


def _input(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise node_error(str(node.name), node.op_type, "its input is missing.")
    return value
