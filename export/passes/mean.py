"""A mean, maximum or sum over all time becomes a running one: after every step, that of all steps so far.

1. Mean (ReduceMean, GlobalAveragePool): with n steps before this one, mean' = mean + (x - mean) / (n + 1) (Welford,
   "Note on a method for calculating corrected sums of squares and products", Technometrics 4, 1962), in float64: it
   neither overflows nor loses small steps early. What one step adds gets ever smaller, and old steps never fade: the
   user says after how many frames the stream is reset (--max-steps).
2. Sum (ReduceSum, ReduceL1, ReduceSumSquare), in float64. It grows without end: the same holds.
3. Maximum and minimum (ReduceMax, GlobalMaxPool, ReduceMin) are exact for ever.
4. What comes late has no entry yet in the first steps: there stands what changes nothing, and a mean counts those that
   are there.
5. What deviates from a mean, squared, is what a variance is made of (deviations.py).
Where features are reduced along with time, the step's own are first: each step has as many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import Array, StreamGraph, Timing, constant_of, first_input, ints, sizes
from export.passes import attention_pooling, buffers, deviations

DOUBLE = int(ir.DataType.DOUBLE)
MEANS = {"ReduceMean", "GlobalAveragePool"}
SUMS = {"ReduceSum", "ReduceL1", "ReduceSumSquare"}
EXTREMES = {"ReduceMax": "Max", "GlobalMaxPool": "Max", "ReduceMin": "Min"}
WORDS = dict.fromkeys(MEANS, "mean") | dict.fromkeys(SUMS, "sum")


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a node is a mean, sum or extreme over time that ends the time axis."""
    value = node.inputs[0] if node.inputs else None
    if node.op_type not in MEANS | SUMS | set(EXTREMES) or value is None or value not in stream.time:
        return False
    if node.outputs[0] in stream.time or value in stream.pairs or attention_pooling.ends(stream, node):
        return False
    return stream.time[value] in axes(node)


def axes(node: ir.Node) -> set[int]:
    """Return the axes that a node reduces."""
    rank = len(sizes(node.inputs[0]))
    if node.op_type.startswith("Global"):
        return set(range(2, rank))
    given = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    named = ints(node, "axes") or (() if given is None else tuple(int(axis) for axis in given))
    return {axis % rank for axis in named} or set(range(rank))


def kept(node: ir.Node) -> list[int]:
    """Return the shape of what a node reduces, with 1 for all axes that it reduces."""
    return [1 if axis in axes(node) else size for axis, size in enumerate(sizes(node.inputs[0]))]


def check(stream: StreamGraph, node: ir.Node) -> None:
    """Raise ExportError where nothing says when the stream is reset."""
    if stream.max_steps is None and not stream.restarted and node.op_type not in EXTREMES:
        word = WORDS[node.op_type]
        reason = "to which each further step adds less" if word == "mean" else "which may grow without end"
        raise node_error(
            str(node.name),
            node.op_type,
            f"it is a {word} over all time, {reason}. Say after how many frames the stream is reset: --max-steps N.",
        )


def apply(stream: StreamGraph) -> bool:
    """Rewrite every mean, sum and extreme over time."""
    nodes = [node for node in stream.graph if claims(stream, node)]
    deviating = {node: deviations.mean_of(stream, node) for node in stream.graph if deviations.claims(stream, node)}
    for node in nodes:
        given = node.outputs[0]
        users = list(given.uses())
        timing = stream.timing[first_input(node)]
        partly = timing.delay % (stream.frames_per_step // timing.stride)
        if timing.delay > 0 and (partly or node.op_type not in EXTREMES):
            _leave_out(stream, node, timing)
        before = buffers.following(stream, node)
        kind = _extreme if node.op_type in EXTREMES else _counted
        so_far, running = kind(stream, node, before, timing)
        buffers.end_as(stream, given, running, users)
        for deviation in [each for each, source in deviating.items() if source is node]:  # 5
            deviations.rewrite(stream, deviation, node, so_far)
    return bool(nodes)


def _leave_out(stream: StreamGraph, node: ir.Node, timing: Timing) -> None:
    """Put what changes nothing in the place of entries that are not there yet (4)."""
    nothing = float(_worst(node)) if node.op_type in EXTREMES else 0.0
    node.replace_input_with(0, buffers.within(stream, node, first_input(node), timing, nothing, ending=False))


def _worst(node: ir.Node) -> Any:
    """Return the number that a running maximum or minimum begins with."""
    given = node.outputs[0]
    dtype = given.type.dtype.numpy() if given.type is not None else np.dtype(np.float32)
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return dtype.type(limits.min if EXTREMES[node.op_type] == "Max" else limits.max)


def _extreme(stream: StreamGraph, node: ir.Node, before: ir.Node, timing: Timing) -> tuple[ir.Value, ir.Value]:
    """Return the maximum or minimum before this step and with it (3)."""
    given, kind = node.outputs[0], EXTREMES[node.op_type]
    worst: Array = np.full(sizes(given), _worst(node))
    state = stream.add_state(stream.state_name(kind.lower()), worst)
    running = buffers.emit(stream, before, kind, [given, state])
    leaving = running
    if timing.delay > 0:  # 4
        newest = buffers.cut(stream, before, buffers.valid(stream, before, timing, ending=False), 0, -1, None)
        leaving = buffers.emit(stream, before, "Where", [newest, running, state])
    stream.leave(state, buffers.emit(stream, before, "Identity", [leaving]))
    return state, running


def _counted(stream: StreamGraph, node: ir.Node, before: ir.Node, timing: Timing) -> tuple[ir.Value, ir.Value]:
    """Return the mean (1) or sum (2) before this step, in float64, and with it."""
    given, word = node.outputs[0], WORDS[node.op_type]
    state = stream.add_state(stream.state_name(word), np.zeros(sizes(given), np.float64))
    wide = buffers.emit(stream, before, "Cast", [given], to=DOUBLE)
    if word == "mean":
        wide = _change(stream, node, before, timing, wide, state)
    exact = buffers.emit(stream, before, "Add", [state, wide])
    stream.leave(state, exact)
    if not stream.restarted:
        stream.limited = True
        stream.notes.append(f"{word} over time: the stream must be reset after {stream.max_steps} frames at most")
    kind = given.type.dtype if given.type is not None else ir.DataType.FLOAT
    return state, buffers.emit(stream, before, "Cast", [exact], to=int(kind))


def _change(  # noqa: PLR0917 - one call, above
    stream: StreamGraph, node: ir.Node, before: ir.Node, timing: Timing, new: ir.Value, state: ir.Value
) -> ir.Value:
    """Return by how much a step, whose own mean is `new`, changes the mean so far."""

    def emit(op_type: str, a: ir.Value, b: ir.Value) -> ir.Value:
        return buffers.emit(stream, before, op_type, [a, b])

    def number(given: int, kind: type = np.int64) -> ir.Value:
        return stream.constant("number", np.array([given], kind))

    def real(value: ir.Value) -> ir.Value:
        return buffers.emit(stream, before, "Cast", [value], to=DOUBLE)

    if timing.delay <= 0:
        return emit("Div", emit("Sub", new, state), real(_count(stream, node, before)))
    entries = stream.frames_per_step // timing.stride
    there = emit("Add", emit("Mul", buffers.clock(stream), number(entries)), number(entries - timing.delay))
    fresh = real(emit("Max", emit("Min", there, number(entries)), number(0)))
    added = emit("Sub", emit("Mul", new, number(entries, np.float64)), emit("Mul", state, fresh))
    return emit("Div", added, real(emit("Max", there, number(1))))


def _count(stream: StreamGraph, node: ir.Node, before: ir.Node) -> ir.Value:
    """Return how many steps there were, this one included: since the reset, or since each copy was restarted."""
    one = stream.constant("one", np.ones(1, np.int64))
    if not stream.restarted:
        return buffers.emit(stream, before, "Add", [buffers.clock(stream), one])
    counted = stream.add_state(stream.state_name("count"), np.zeros(sizes(node.outputs[0]), np.int64))
    count = buffers.emit(stream, before, "Add", [counted, one])
    stream.leave(counted, count)
    return count
