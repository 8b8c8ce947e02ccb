"""What no other file claims must be pointwise in time: each output step made from the same step of its inputs alone.

1. Elementwise ops, time axes aligned by broadcasting; batch norm with fixed statistics.
2. MatMul, Gemm and Einsum that do not contract over time; where both factors vary over time, it is one of the axes
   along which they are multiplied entry by entry.
3. Ops along axes (softmax, layer norm, reductions, concat, split, slice, gather, pad) that are not time.
4. Ops that move axes (transpose, reshape, squeeze …) without reordering time.
Anything else is refused by name: an op that mixes time needs a pass of its own before this one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, Timing, constant_of, integer, ints, sizes

ELEMENTWISE = set(
    "Abs Add And Cast Ceil Celu Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish "  # noqa: SIM905
    "Identity IsNaN LeakyRelu Less LessOrEqual Log Max Min Mish Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu "
    "Sigmoid Sign Sin Softplus Softsign Sqrt Sub Swish Tanh ThresholdedRelu Where Xor Mod Sum Mean Expand Tile".split()
)
ALONG_AXIS = {"Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "Concat": 0, "Split": 0, "Gather": 0, "ArgMax": 0}
MOVING = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the output's timing: the latest input sets the pace. Raises ExportError for a node that mixes time."""
    reason = _mixes(stream, node)
    if reason:
        raise node_error(str(node.name), node.op_type, reason)
    entering = [stream.timing[value] for value in node.inputs if value is not None and value in stream.timing]
    if len({timing.stride for timing in entering}) > 1:
        raise node_error(str(node.name), node.op_type, "its inputs run at different rates.")
    firsts = [timing.first for timing in entering if timing.first is not None]
    return replace(
        entering[0],
        delay=max(timing.delay for timing in entering),
        first=min(firsts) if len(firsts) == len(entering) else None,
        last=max(timing.last for timing in entering),
    )


def _mixes(stream: StreamGraph, node: ir.Node) -> str | None:  # noqa: PLR0911 - a table of cases
    """Return why a node mixes time, or None if it does not."""
    if node.domain not in ("", "ai.onnx"):
        return f"ops of the domain '{node.domain}' are not known here."
    if node.op_type in ELEMENTWISE:
        return _elementwise(stream, node)  # 1
    if node.op_type in ("MatMul", "Gemm", "Einsum"):
        return _einsum(stream, node) if node.op_type == "Einsum" else _product(stream, node)  # 2
    if node.op_type in ALONG_AXIS or node.op_type.startswith("Reduce"):
        return _along(stream, node)  # 3
    if node.op_type == "LayerNormalization":
        value, axis = _first(stream, node)
        start = integer(node, "axis", -1)
        return "it normalizes over time." if axis >= start % _rank(value) else None  # 3
    if node.op_type == "Slice":
        axes = constant_of(node.inputs[3]) if len(node.inputs) > 3 else None  # noqa: PLR2004 - Slice's fourth input
        value, axis = _first(stream, node)
        touched = range(_rank(value)) if axes is None else [int(a) % _rank(value) for a in axes]
        return "it cuts a part out of the time axis." if axis in touched else None  # 3
    if node.op_type == "BatchNormalization":
        statistics = "its statistics are taken over the batch" if integer(node, "training_mode", 0) else None
        return "its channel axis is time." if _first(stream, node)[1] == 1 else statistics  # 1
    if node.op_type in ("Pad", "CumSum"):
        return None  # 3: along time they are claimed by padding.py and cumulative.py
    if node.op_type in MOVING:
        return _moving(stream, node)  # 4
    return "it is not known here to work on each time step by itself."


def _elementwise(stream: StreamGraph, node: ir.Node) -> str | None:
    output = node.outputs[0]
    expected = _rank(output) - stream.time[output]
    for value in node.inputs:
        if value is not None and value in stream.time and _rank(value) - stream.time[value] != expected:
            return "its inputs' time axes do not lie on each other."
    return None


def _product(stream: StreamGraph, node: ir.Node) -> str | None:
    left, right = node.inputs[:2]
    if left is None or right is None:
        return "an input is missing."
    if left in stream.time and right in stream.time:
        matrix = 2 if node.op_type == "MatMul" else _rank(node.outputs[0])
        if all(stream.time[value] < _rank(value) - matrix for value in (left, right)):
            return _elementwise(stream, node)
        return "it multiplies two things that both vary over time (attention is not streamed yet)."
    if left in stream.time:
        contracted = 0 if node.op_type == "Gemm" and integer(node, "transA", 0) else _rank(left) - 1
        return "it sums over time." if stream.time[left] == contracted else None
    contracted = _rank(right) - (1 if node.op_type == "Gemm" and integer(node, "transB", 0) else 2)
    return "it sums over time." if stream.time[right] == contracted else None


def _einsum(stream: StreamGraph, node: ir.Node) -> str | None:
    left, _, right = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    if "." in left or not right:
        return "its equation is not of a form that is streamed; write out all axes and '->'."
    for value, term in zip(node.inputs, left.split(","), strict=True):
        if value in stream.time and value is not None:
            place = right.find(term[stream.time[value]])
            if place < 0:
                return "it sums over time."
            if place != stream.time[node.outputs[0]]:
                return "its inputs' time axes do not lie on each other."
    return None


def _along(stream: StreamGraph, node: ir.Node) -> str | None:
    value, axis = _first(stream, node)
    rank = _rank(value)
    if node.op_type.startswith("Reduce"):
        axes = ints(node, "axes") or tuple(constant_of(node.inputs[1]) if len(node.inputs) > 1 else ())  # type: ignore[arg-type]
        touched = {int(a) % rank for a in axes} if axes else set(range(rank))
    else:
        touched = {integer(node, "axis", ALONG_AXIS[node.op_type]) % rank}
    return "it works along the time axis." if axis in touched else None


def _moving(stream: StreamGraph, node: ir.Node) -> str | None:
    value, axis = _first(stream, node)
    output = node.outputs[0]
    if node.op_type == "Transpose":
        order = ints(node, "perm") or tuple(reversed(range(_rank(value))))
        return None if order[stream.time[output]] == axis else "it reorders time."
    # Row-major order: time stays in order if as many elements stand before its axis as did.
    before, after = sizes(value)[:axis], sizes(output)[: stream.time[output]]
    return None if math.prod(before) == math.prod(after) else "it reorders time."


def _first(stream: StreamGraph, node: ir.Node) -> tuple[ir.Value, int]:
    return next((value, stream.time[value]) for value in node.inputs if value is not None and value in stream.time)


def _rank(value: ir.Value) -> int:
    return len(value.shape) if value.shape is not None else 0
