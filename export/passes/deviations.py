"""A variance over all time: the squares of what deviates from a mean over time are summed up, or averaged, over time.

The mean changes with every step, and so do all deviations from it. But what a step adds to the sum of their squares is
its own deviation from the mean so far times that from the mean which it makes (Welford, "Note on a method for
calculating corrected sums of squares and products", Technometrics 4, 1962):

    M2' = M2 + sum (x - mean) (x - mean')

also for several entries in one step. So the square becomes that product, and its sum or mean runs along as any other.

1. Deviations: x - mean(x), or the other way round, where the mean is over time, and moved alone between.
2. They are squared (Mul by itself, Pow 2), and all that reads the squares is sums and means over time, and over all
   that the mean was over beside.
Any other use of the deviations needs the mean of what has not come yet, and is refused.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.graph import StreamGraph, constant_of, sizes
from export.passes import buffers, mean

VIEWS = {"Unsqueeze", "Squeeze", "Reshape"}


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a node gives deviations from a mean over time that are only squared, and summed over time."""
    source = mean_of(stream, node)
    if source is None or not node.outputs[0].uses() or node.outputs[0].is_graph_output():
        return False
    over = mean.axes(source)
    for square, _ in node.outputs[0].uses():
        ends = [] if _squares(square) is None else list(square.outputs[0].uses())
        summed = [
            end.op_type in {"ReduceMean", "ReduceSum"} and mean.claims(stream, end) and over <= mean.axes(end)
            for end, _ in ends
        ]
        if not summed or not all(summed) or square.outputs[0].is_graph_output():  # 2
            return False
    return True


def mean_of(stream: StreamGraph, node: ir.Node) -> ir.Node | None:
    """Return the mean over time that a node subtracts from what it is the mean of, None where it does not (1)."""
    if node.op_type != "Sub" or node.outputs[0] not in stream.time:
        return None
    for value, other in (node.inputs, reversed(node.inputs)):
        source = other.producer() if other is not None else None
        while source is not None and source.op_type in VIEWS and source.inputs[0] is not None:
            source = source.inputs[0].producer()
        if source is None or source.op_type not in mean.MEANS or source.inputs[0] is not value:
            continue
        # Where it was moved so that it lies on other entries than it is the mean of, it is no deviation.
        lies = sizes(other)
        if mean.claims(stream, source) and lies == mean.kept(source)[-len(lies) :]:
            return source
    return None


def rewrite(stream: StreamGraph, node: ir.Node, source: ir.Node, before: ir.Value) -> None:
    """Multiply a node's deviations with those from the mean before this step; `before` is that mean, in float64."""
    kind = source.outputs[0].type.dtype if source.outputs[0].type is not None else ir.DataType.FLOAT
    at = next(index for index, value in enumerate(node.inputs) if value not in stream.time)
    form = stream.constant("form", np.array(sizes(node.inputs[at]), np.int64))
    old = buffers.emit(stream, node, "Cast", [before], to=int(kind))
    old = buffers.emit(stream, node, "Reshape", [old, form])
    pair = [value if index != at else old for index, value in enumerate(node.inputs) if value is not None]
    other = buffers.emit(stream, node, "Sub", pair)
    given = node.outputs[0]
    for square in dict.fromkeys(user for user, _ in given.uses()):
        product = buffers.emit(stream, square, "Mul", [given, other])
        buffers.take_over(stream, square.outputs[0], product)
        stream.graph.remove(square, safe=True)


def _squares(node: ir.Node) -> ir.Value | None:
    """Return what a node squares, None where it does something else."""
    value, by = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    if node.op_type == "Mul":
        return value if value is by else None
    power = constant_of(by) if node.op_type == "Pow" else None
    return value if power is not None and np.all(power == 2) else None  # noqa: PLR2004 - a square
