"""Entries picked along time by numbers that go up evenly become cuts and strides, which later passes know.

1. A Slice that takes every n-th entry is a cut and a pooling over one entry with that stride.
2. A Gather at places that depend on the length alone, n * t + c, is such a Slice; at several of them for each t, as
   windows that are laid side by side, it is one Slice each, joined. What the places are is told by runs.
Any other is left, for timeline.py to refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from export.graph import StreamGraph, constant_of, first_input, integer, sizes
from export.passes import buffers, original
from export.passes.padding import END

WIDEST = 64
"""Places for each step up to which a Gather is taken apart."""


def apply(stream: StreamGraph) -> bool:
    """Replace every Slice along time with a step, and every Gather along it by evenly rising places."""
    changed = False
    for node in list(stream.graph):
        value = node.inputs[0] if node.inputs else None
        if value is None or value not in stream.time or node.outputs[0] not in stream.time:
            continue
        if node.op_type == "Slice":
            changed |= _slice(stream, node)
        elif node.op_type == "Gather" and integer(node, "axis", 0) % len(sizes(value)) == stream.time[value]:
            changed |= _gather(stream, node)
    return changed


def _slice(stream: StreamGraph, node: ir.Node) -> bool:
    value, output = first_input(node), node.outputs[0]
    starts, ends, axes, steps = (constant_of(given) for given in [*node.inputs[1:], None, None, None][:4])
    axis = stream.time[value]
    if starts is None or ends is None or axes is None or steps is None or value.dtype != ir.DataType.FLOAT:
        return False
    at = next((at for at, given in enumerate(axes) if given % len(sizes(value)) == axis), None)
    if at is None or steps[at] <= 1 or starts[at] < 0 or ends[at] < END:
        return False
    stride, steps = int(steps[at]), np.array(steps)
    steps[at] = 1
    whole = buffers.emit(
        stream, node, "Slice", [value, *(stream.constant("cut", bound) for bound in (starts, ends, axes, steps))]
    )
    short, long = (length - int(starts[at]) for length in stream.lengths[value])
    _note(stream, whole, output, sizes(output), axis, (short, long))
    _stand_in(stream, output, _every(stream, node, whole, stride))  # 1
    stream.graph.remove(node, safe=True)
    return True


def _every(stream: StreamGraph, node: ir.Node, value: ir.Value, stride: int) -> ir.Value:
    """Return every so many-th entry of a value, in the shape of the node's output but for what stands at other axes."""
    axis, shape, lengths = stream.time[value], sizes(value), stream.lengths[value]
    first, second = (-(-length // stride) for length in lengths)
    flat = [1, int(np.prod(shape[:axis])), 1, int(np.prod(shape[axis + 1 :]))]
    plane = buffers.emit(stream, node, "Reshape", [value, _form(stream, flat, 2)])
    _note(stream, plane, value, flat, 2, lengths)
    pool = ir.node("MaxPool", [plane])
    pool.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", [1, 1])
    pool.attributes["strides"] = ir.AttrInt64s("strides", [stride, 1])
    pool.name = str(node.name)
    pool.outputs[0].name = stream.new_name(f"{node.name}.every")
    stream.graph.insert_before(node, pool)
    _note(stream, pool.outputs[0], value, flat, 2, (first, second))
    every = buffers.emit(stream, node, "Reshape", [pool.outputs[0], _form(stream, shape, axis)])
    _note(stream, every, value, shape, axis, (first, second))
    return every


@dataclass(frozen=True)
class _Places:
    """Entry t of what is picked is made of the entries stride * t + start, a start for each of its columns."""

    stride: int
    starts: tuple[int, ...]
    axis: int
    """The axis of the places along which t runs."""


def _gather(stream: StreamGraph, node: ir.Node) -> bool:
    value, output, index = first_input(node), node.outputs[0], node.inputs[1]
    places = _places(stream, value, output, index) if index in stream.sized else None
    if index is None or places is None or value.dtype != ir.DataType.FLOAT:
        return False
    axis, reach = stream.time[value], max(places.starts)
    short, long = (length - reach for length in stream.lengths[value])
    beside = axis + 1 - places.axis if len(sizes(index)) > 1 else None
    columns = []
    for start in places.starts:
        column = buffers.cut(stream, node, value, axis, start, start - reach if start < reach else None)
        _note(stream, column, value, sizes(value), axis, (short, long))
        if beside is not None:
            at = stream.constant("axis", np.array([beside], np.int64))
            column = buffers.emit(stream, node, "Unsqueeze", [column, at])
            single = [1 if place == beside else dim for place, dim in enumerate(sizes(output))]
            _note(stream, column, output, single, stream.time[output], (short, long))
        columns.append(column)
    picked = columns[0]
    if beside is not None:
        picked = buffers.emit(stream, node, "Concat", columns, axis=beside)
        _note(stream, picked, output, sizes(output), stream.time[output], (short, long))
    _stand_in(stream, output, picked if places.stride == 1 else _every(stream, node, picked, places.stride))
    stream.graph.remove(node, safe=True)
    return True


def _places(stream: StreamGraph, value: ir.Value, output: ir.Value, index: ir.Value | None) -> _Places | None:
    """Return what a Gather picks; None where its places are not of that kind (2)."""
    if index is None or len(stream.sized[index]) != 1 or len(sizes(index)) > 2:  # noqa: PLR2004 - times, columns
        return None
    (axis,) = stream.sized[index]
    found = []
    for place, length in enumerate(stream.probed):
        rows = np.moveaxis(original.content(stream, index, length), axis, 0).reshape(stream.lengths[output][place], -1)
        stride, starts = int(rows[1, 0] - rows[0, 0]) if len(rows) > 1 else 1, rows[0]
        even = np.array_equal(rows, starts + stride * np.arange(len(rows))[:, None])
        room = stream.lengths[value][place] - starts.max()
        if not even or stride < 1 or starts.min() < 0 or len(starts) > WIDEST or -(-room // stride) != len(rows):
            return None
        found.append(_Places(stride, tuple(map(int, starts)), axis))
    return found[0] if found[0] == found[1] else None


def _form(stream: StreamGraph, shape: list[int], axis: int) -> ir.Value:
    return stream.constant("form", np.array([-1 if at == axis else dim for at, dim in enumerate(shape)], np.int64))


def _note(  # noqa: PLR0917 - what is known of a value
    stream: StreamGraph, value: ir.Value, like: ir.Value, shape: list[int], axis: int, lengths: tuple[int, int]
) -> None:
    value.shape, value.type = ir.Shape(["time" if at == axis else dim for at, dim in enumerate(shape)]), like.type
    stream.time[value], stream.lengths[value] = axis, lengths


def _stand_in(stream: StreamGraph, output: ir.Value, value: ir.Value) -> None:
    if output.is_graph_output():
        value.name, output.name = output.name, stream.new_name(f"{output.name}.picked")
    output.replace_all_uses_with(value, replace_graph_outputs=True)
