"""Convolutions and poolings over time work on a history of their input instead of on all of it.

1. Padding before the first frame is what the history holds at reset. An input that comes late holds no such entries
   yet in its first steps: there the padding is put in its place.
2. A kernel that reaches ahead makes its output come late by as many entries: lookahead becomes delay. Padding behind
   the last frame is put in when the stream is flushed.
3. An input padded with its edge value has it put into its history (see padding.py).
4. An average that leaves its own padding out is scaled by how many entries there really were.
5. A stride makes the step take several frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, Timing, constant_of, first_input, integer, ints, sizes
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


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Is this a convolution or pooling over time? One that has time in the place of its batch is not."""
    value = node.inputs[0] if node.inputs else None
    return node.op_type in OPS and value is not None and value in stream.timing and stream.timing[value].axis > 0


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the output's timing."""
    value = first_input(node)
    entering = stream.timing[value]
    w = window(stream, node)
    if w.after:
        entering = replace(entering, delay=entering.settled)
    if value in stream.edges and (w.before or w.after):
        raise node_error(str(node.name), node.op_type, "it pads what is padded with its edge value already.")
    stride = entering.stride * w.stride
    # The last entry needed for output j must have come when its step ends: round up to whole output entries.
    delay = -((w.stride - 1 - w.span - entering.delay + w.before) // w.stride)
    if value in stream.edges:
        if (w.span, w.stride) == (0, 1):
            stream.edges[node.outputs[0]] = stream.edges[value]
        elif delay < 0 or delay * w.stride < entering.delay:
            raise node_error(str(node.name), node.op_type, "its input is padded with its edge further than it reaches.")
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
    nodes = [node for node in stream.graph if claims(stream, node)]
    for number, node in enumerate(nodes):
        _rewrite(stream, node, number)
    return bool(nodes)


def window(stream: StreamGraph, node: ir.Node) -> Window:
    """Read the node's window along time. Raises ExportError for what does not stream."""
    value, name = first_input(node), str(node.name)
    rank = len(sizes(value))
    place = stream.timing[value].axis - 2
    if place < 0:
        raise node_error(name, node.op_type, "time runs along its channel axis, so it mixes all of time.")
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
    value = first_input(node)
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
        edges = stream.edges.get(value, (0, 0))  # 3
        edges = edges if stream.owes else (edges[0], 0)
        name = f"{node.op_type.lower()}{number}"
        windowed = buffers.history(stream, node, source, entering, length, fill, name, edges=edges)
    node.replace_input_with(0, windowed)
    pads = _all_pads(node, sizes(value)[2:], w)
    node.attributes.pop("auto_pad", None)
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    if node.op_type == "AveragePool" and not integer(node, "count_include_pad", 0) and (w.before or w.after):
        _count_real(stream, node, entering, w)


def _all_pads(node: ir.Node, dims: list[int], w: Window) -> list[int]:
    """Return the pads along all axes: none along time, where the history holds them; auto_pad worked out."""
    spatial = len(dims)
    pads = list(ints(node, "pads") or (0,) * (2 * spatial))
    how = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    if how.startswith("SAME"):
        weight = constant_of(node.inputs[1]) if node.op_type == "Conv" else None
        kernel = ints(node, "kernel_shape") or (weight.shape[2:] if weight is not None else ())
        strides, dilations = ints(node, "strides") or (1,) * spatial, ints(node, "dilations") or (1,) * spatial
        for place, dim in enumerate(dims):
            reach = (kernel[place] - 1) * dilations[place] + 1
            total = max((-(-dim // strides[place]) - 1) * strides[place] + reach - dim, 0)
            less, more = total // 2, total - total // 2
            pads[place], pads[place + spatial] = (less, more) if how == "SAME_UPPER" else (more, less)
    pads[w.place] = pads[w.place + spatial] = 0
    return pads


def _count_real(stream: StreamGraph, node: ir.Node, entering: Timing, w: Window) -> None:
    """Scale an average over a window with zeros in the place of padding (4)."""
    output = node.outputs[0]
    leaving = stream.timing[output]
    steps = _steps(node, w)

    def whole(*numbers: int) -> ir.Value:
        return stream.constant("numbers", np.array(numbers, np.int64))

    entries = stream.frames_per_step // leaving.stride
    numbers = buffers.index(stream, node, leaving, entries)
    starts = buffers.emit(stream, node, "Mul", [numbers, whole(w.stride)])
    starts = buffers.emit(stream, node, "Reshape", [starts, whole(entries, 1)])
    seen = buffers.emit(stream, node, "Add", [starts, whole(*(step - w.before for step in steps))])
    real = buffers.emit(stream, node, "GreaterOrEqual", [seen, whole(0)])
    if w.after and stream.owes:
        total = buffers.emit(stream, node, "Add", [buffers.end(stream), whole(entering.offset)])
        total = buffers.emit(stream, node, "Div", [total, whole(entering.stride)])
        real = buffers.emit(stream, node, "And", [real, buffers.emit(stream, node, "Less", [seen, total])])
    ones = buffers.emit(stream, node, "Cast", [real], to=int(ir.DataType.FLOAT))
    count = buffers.emit(stream, node, "ReduceSum", [ones, whole(1)], keepdims=0)
    # An output that does not exist may be made of no entry at all.
    count = buffers.emit(stream, node, "Max", [count, stream.constant("one", np.ones(1, np.float32))])
    kernel = stream.constant("kernel", np.array([len(steps)], np.float32))
    factor = buffers.emit(stream, node, "Div", [kernel, count])
    shape = [entries if axis == leaving.axis else 1 for axis in range(len(sizes(output)))]
    factor = buffers.emit(stream, node, "Reshape", [factor, whole(*shape)])
    pooled = ir.node("AveragePool", list(node.inputs), dict(node.attributes))
    pooled.name = stream.new_name("stream.averagepool")
    pooled.outputs[0].name = stream.new_name(f"{pooled.name}.y")
    stream.graph.insert_before(node, pooled)
    scaled = buffers.emit(stream, node, "Mul", [pooled.outputs[0], factor])
    buffers.take_over(stream, output, scaled)


def _steps(node: ir.Node, w: Window) -> list[int]:
    """Return the steps of a pooling's window along time."""
    dilations = ints(node, "dilations")
    return list(range(0, w.span + 1, dilations[w.place] if dilations else 1))


def _fill(stream: StreamGraph, value: ir.Value, entering: Timing, before: int, padding: float) -> np.ndarray:
    """Return what stands before the first entry that comes from a frame: own padding, then the input's own."""
    shape = sizes(value)
    shape[entering.axis] = max(before - max(entering.delay, 0), 0)
    own = np.full(shape, padding, np.float32)
    if value in stream.fills:
        return np.concatenate([own, stream.fills[value]], axis=entering.axis)
    return own
