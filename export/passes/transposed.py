"""A transposed convolution that does not stretch time is written as a convolution, so that no pass needs to know it.

1. Along an axis of stride 1 it is the convolution of the kernel turned round, padded by as much as that reaches, less
   its own padding. Time may run along such an axis.
2. Along an axis of stride s, entry s * j + r of what it gives is made with every s-th weight, from r on: so one
   convolution gives s entries for each place as channels, which are then laid side by side (Shi et al., "Real-time
   single image and video super-resolution", CVPR 2016, section 3.2). No multiplication by zero is added.
Any other is left, for timeline.py to refuse: one that stretches time, or whose weights are not constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Items

import numpy as np
import onnx_ir as ir

from export.graph import Array, StreamGraph, constant_of, first_input, integer, ints, sizes
from export.passes import buffers


def apply(stream: StreamGraph) -> bool:
    """Replace every transposed convolution that does not stretch time."""
    nodes = [node for node in stream.graph if node.op_type == "ConvTranspose" and _fits(stream, node)]
    for node in nodes:
        _replace(stream, node)
    return bool(nodes)


def _fits(stream: StreamGraph, node: ir.Node) -> bool:
    value, axis = first_input(node), stream.time.get(first_input(node))
    weight = constant_of(node.inputs[1])
    plain = "output_shape" not in node.attributes and _text(node, "auto_pad") in ("NOTSET", "VALID")
    known = weight is not None and all(value is None or constant_of(value) is not None for value in node.inputs[2:])
    if axis in (None, 1) or weight is None or not (known and plain) or node.outputs[0] not in stream.time:
        return False
    strides, dilations, reach = _strides(node), _dilations(node), _reach(node, weight)
    stretched = axis is not None and axis > 1 and strides[axis - 2] != 1
    deep = any(stride > 1 and dilation > 1 for stride, dilation in zip(strides, dilations, strict=True))
    within = all(
        stride > 1 or min(pads) >= 0 for stride, pads in zip(strides, _around(node, reach), strict=True)
    )  # fmt: skip
    return not stretched and not deep and within and len(sizes(value)) > 2  # noqa: PLR2004 - channels and space


def _replace(stream: StreamGraph, node: ir.Node) -> None:
    value, output = first_input(node), node.outputs[0]
    axis, leaving = stream.time[value], sizes(output)
    weight = constant_of(node.inputs[1])
    assert weight is not None  # noqa: S101 - it fits
    strides, groups = _strides(node), integer(node, "group", 1)
    kernel = _phases(np.pad(weight, [(0, 0), (0, 0), *_beyond(node)]), strides, groups)
    around = [
        pads if stride == 1 else (size - 1, size - 1)
        for pads, stride, size in zip(
            _around(node, _reach(node, weight)), strides, kernel.shape[2:], strict=True
        )
    ]  # fmt: skip
    inputs = [value, stream.constant(f"{node.name}.kernel", kernel)]
    bias = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None  # noqa: PLR2004 - its third input
    if bias is not None:
        inputs.append(stream.constant(f"{node.name}.bias", np.repeat(bias, math.prod(strides))))
    conv = ir.node("Conv", inputs)
    conv.attributes["pads"] = ir.AttrInt64s("pads", [pads[end] for end in (0, 1) for pads in around])
    conv.attributes["dilations"] = ir.AttrInt64s("dilations", list(_dilations(node)))
    conv.attributes["group"] = ir.AttrInt64("group", groups)
    conv.name = str(node.name)
    result = conv.outputs[0]
    result.name = stream.new_name(f"{conv.name}.conv")
    stream.graph.insert_before(node, conv)
    places = [
        dim if stride == 1 else entering + size - 1
        for dim, stride, entering, size in zip(
            leaving[2:], strides, sizes(value)[2:], kernel.shape[2:], strict=True
        )
    ]  # fmt: skip
    _note(stream, result, output, [leaving[0], len(kernel), *places], axis)
    if math.prod(strides) > 1:
        result = _side_by_side(stream, node, result, places, _starts(node))
    output.replace_all_uses_with(result, replace_graph_outputs=True)
    result.name, output.name = output.name, stream.new_name(f"{output.name}.transposed")
    stream.graph.remove(node, safe=True)


def _phases(weight: Array, strides: Items[int], groups: int) -> Array:
    """Return [outputs * phases, inputs / groups, *kernel] of a weight [inputs, outputs / groups, *kernel]."""
    spatial = weight.ndim - 2
    short = [(0, -size % stride) for size, stride in zip(weight.shape[2:], strides, strict=True)]
    whole = np.pad(weight, [(0, 0), (0, 0), *short])
    counts = [size // stride for size, stride in zip(whole.shape[2:], strides, strict=True)]
    # [groups, inputs / groups, outputs / groups, count, phase, count, phase …]
    split = whole.reshape(
        groups, len(weight) // groups, weight.shape[1], *(n for pair in zip(counts, strides, strict=True) for n in pair)
    )
    phases, taps = [4 + 2 * place for place in range(spatial)], [3 + 2 * place for place in range(spatial)]
    turned = np.flip(split.transpose(0, 2, *phases, 1, *taps), axis=tuple(range(-spatial, 0)))
    return np.ascontiguousarray(turned.reshape(-1, len(weight) // groups, *counts))


def _side_by_side(
    stream: StreamGraph, node: ir.Node, value: ir.Value, places: list[int], starts: Items[int]
) -> ir.Value:
    """Lay the phases, which are channels, side by side along their axes, and cut the padding off."""
    output, axis, strides = node.outputs[0], stream.time[value], _strides(node)
    leaving, count = sizes(output), len(places)

    def moved(op_type: str, given: ir.Value, shape: list[int], time: int, **attributes: list[int]) -> ir.Value:
        dims = np.array([-1 if place == time else dim for place, dim in enumerate(shape)], np.int64)
        inputs = [given] if attributes else [given, stream.constant("form", dims)]
        made = ir.node(op_type, inputs)
        made.name = stream.new_name(f"{node.name}.{op_type.lower()}")
        for key, numbers in attributes.items():
            made.attributes[key] = ir.AttrInt64s(key, numbers)
        made.outputs[0].name = stream.new_name(f"{made.name}.y")
        stream.graph.insert_before(node, made)
        _note(stream, made.outputs[0], output, shape, time)
        return made.outputs[0]

    ahead = 0 if axis == 0 else count + axis
    apart = moved("Reshape", value, [leaving[0], leaving[1], *strides, *places], ahead)
    order = [0, 1, *(at for place in range(count) for at in (2 + count + place, 2 + place))]
    pairs = [n for pair in zip(places, strides, strict=True) for n in pair]
    turned = moved("Transpose", apart, [*leaving[:2], *pairs], order.index(ahead), perm=order)
    wide = [size * stride for size, stride in zip(places, strides, strict=True)]
    joined = moved("Reshape", turned, [*leaving[:2], *wide], axis)
    at = [place for place, stride in enumerate(strides) if stride > 1]
    bounds = ([starts[p] for p in at], [starts[p] + leaving[2 + p] for p in at], [2 + p for p in at])
    cut = buffers.emit(
        stream, node, "Slice", [joined, *(stream.constant("cut", np.array(b, np.int64)) for b in bounds)]
    )
    _note(stream, cut, output, leaving, axis)
    return cut


def _note(stream: StreamGraph, value: ir.Value, output: ir.Value, shape: list[int], axis: int) -> None:
    """Note a value's shape and where its time runs; it is as long as the output."""
    value.shape = ir.Shape(["time" if place == axis else dim for place, dim in enumerate(shape)])
    value.type = output.type
    stream.time[value], stream.lengths[value] = axis, stream.lengths[output]


def _around(node: ir.Node, reach: Items[int]) -> list[tuple[int, int]]:
    """Return what the convolution pads on both sides of an axis of stride 1."""
    count = len(reach)
    pads = ints(node, "pads") or (0,) * (2 * count)
    more = ints(node, "output_padding") or (0,) * count
    return [(span - pads[at], span - pads[at + count] + more[at]) for at, span in enumerate(reach)]


def _beyond(node: ir.Node) -> list[tuple[int, int]]:
    """Return by how many zeros a kernel must be longer to reach what `output_padding` adds behind a stride."""
    more = ints(node, "output_padding") or (0,) * _space(node)
    return [(0, extra if stride > 1 else 0) for extra, stride in zip(more, _strides(node), strict=True)]


def _starts(node: ir.Node) -> tuple[int, ...]:
    return ints(node, "pads") or (0,) * (2 * _space(node))


def _reach(node: ir.Node, weight: Array) -> list[int]:
    return [(size - 1) * dilation for size, dilation in zip(weight.shape[2:], _dilations(node), strict=True)]


def _strides(node: ir.Node) -> tuple[int, ...]:
    return ints(node, "strides") or (1,) * _space(node)


def _dilations(node: ir.Node) -> tuple[int, ...]:
    return ints(node, "dilations") or (1,) * _space(node)


def _space(node: ir.Node) -> int:
    return len(sizes(first_input(node))) - 2


def _text(node: ir.Node, name: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else "NOTSET"
