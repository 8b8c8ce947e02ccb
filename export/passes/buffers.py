"""The small parts that passes build streams from: a history of a value, a delay, the clock, and who is within time.

- A history holds a value's last entries as a state; at reset it holds what the original had there: its padding.
- The clock counts steps in int64, which at 100 Hz lasts as long as the machine. `clock.end` is how many frames the
  sequence has: without an end, END_NEVER; the runtime sets it when the sequence is flushed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgeseq.bundle import END_NEVER, END_STATE
from export.graph import Array, StreamGraph, Timing, sizes


def history(  # noqa: PLR0917
    stream: StreamGraph,
    before: ir.Node,
    value: ir.Value,
    timing: Timing,
    length: int,
    fill: Array,
    name: str,
    *,
    edges: tuple[int, int] = (0, 0),
) -> ir.Value:
    """Return the last `length` entries of a value joined with its new ones; nodes go in before `before`.

    fill: what stood last before the first entry, up to `length` entries along the time axis; zeros before that. edges:
    how many entries at the start and at the end are copies of the one beside them.
    """
    if length == 0:
        return value
    shape = sizes(value)
    shape[timing.axis] = length
    initial = np.zeros(shape, value.type.dtype.numpy() if value.type else np.float32)
    known = min(fill.shape[timing.axis], length)
    if known:
        last = [slice(None)] * len(shape)
        last[timing.axis] = slice(-known, None)
        initial[tuple(last)] = fill[tuple(last)]
    entering = stream.add_state(name, initial)
    joined = emit(stream, before, "Concat", [entering, value], axis=timing.axis)
    if any(edges):
        joined = _edged(stream, before, joined, timing, length, edges)
    stream.leave(entering, cut(stream, before, joined, timing.axis, -length, None))
    return joined


def _edged(  # noqa: PLR0917
    stream: StreamGraph, before: ir.Node, joined: ir.Value, timing: Timing, length: int, edges: tuple[int, int]
) -> ir.Value:
    """Return a history with copies of the first and the last entry in the place of those before and behind them."""
    count = length + stream.frames_per_step // timing.stride
    numbers = index(stream, before, timing, count)
    first, last = edges

    def whole(number: int) -> ir.Value:
        return stream.constant("number", np.array([number], np.int64))

    kept = emit(stream, before, "Max", [numbers, whole(first)])
    if last:
        total = emit(stream, before, "Add", [end(stream), whole(timing.offset)])
        total = emit(stream, before, "Div", [total, whole(timing.stride)])
        kept = emit(stream, before, "Min", [kept, emit(stream, before, "Sub", [total, whole(last + 1)])])
    places = emit(stream, before, "Sub", [kept, cut(stream, before, numbers, 0, 0, 1)])
    # What has gone by is held as copies by the oldest entry; what has not come is read by nobody.
    places = emit(stream, before, "Max", [emit(stream, before, "Min", [places, whole(count - 1)]), whole(0)])
    return emit(stream, before, "Gather", [joined, places], axis=timing.axis)


def index(stream: StreamGraph, before: ir.Node, timing: Timing, count: int) -> ir.Value:
    """Return int64[count], the numbers of the newest `count` entries in the original; below 0 before the start."""
    entries = stream.frames_per_step // timing.stride
    base = clock(stream)
    if entries != 1:
        base = emit(stream, before, "Mul", [base, stream.constant("entries", np.array([entries], np.int64))])
    steps = np.arange(entries - count, entries, dtype=np.int64) - timing.delay
    return emit(stream, before, "Add", [base, stream.constant("index", steps)])


def delayed(stream: StreamGraph, before: ir.Node, value: ir.Value, by: int) -> ir.Value:
    """Return the value `by` entries later; its timing is noted."""
    timing = stream.timing[value]
    shape = sizes(value)
    shape[timing.axis] = 0
    fill = stream.fills.get(value, np.zeros(shape, np.float32))
    joined = history(stream, before, value, timing, by, fill, stream.state_name("delay"))
    late = cut(stream, before, joined, timing.axis, 0, stream.frames_per_step // timing.stride)
    late.shape, late.type = value.shape, value.type
    stream.timing[late], stream.time[late] = replace(timing, delay=timing.delay + by), timing.axis
    if value in stream.edges:
        stream.edges[late] = stream.edges[value]
    return late


def cut(  # noqa: PLR0917
    stream: StreamGraph, before: ir.Node, value: ir.Value, axis: int, start: int, stop: int | None
) -> ir.Value:
    """Return value[start:stop] along an axis."""
    bounds = [start, np.iinfo(np.int64).max if stop is None else stop, axis]
    return emit(stream, before, "Slice", [value, *(stream.constant("at", np.array([b], np.int64)) for b in bounds)])


def take(stream: StreamGraph, value: ir.Value, axis: int, index: ir.Value | np.ndarray) -> ir.Value:
    """Return one entry of a value along an axis, at the graph's end; the axis stays, with size 1."""
    at = stream.constant("entry", index) if isinstance(index, np.ndarray) else index
    node = ir.node("Gather", [value, at], {"axis": axis})
    node.name = stream.new_name("stream.gather")
    node.outputs[0].name = stream.new_name(f"{value.name}.taken")
    node.outputs[0].type = value.type
    stream.graph.append(node)
    return node.outputs[0]


def emit(stream: StreamGraph, before: ir.Node, op_type: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
    """Insert a node before another and return its output."""
    node = ir.node(op_type, inputs, attributes)
    node.name = stream.new_name(f"stream.{op_type.lower()}")
    node.outputs[0].name = stream.new_name(f"{node.name}.y")
    stream.graph.insert_before(before, node)
    return node.outputs[0]


def take_over(stream: StreamGraph, old: ir.Value, new: ir.Value) -> None:
    """Let a new value stand in for an old one, its timing included."""
    new.shape, new.type = old.shape, old.type
    stream.timing[new], stream.time[new] = stream.timing[old], stream.time[old]
    if old in stream.edges:
        stream.edges[new] = stream.edges[old]
    if old in stream.fills:
        stream.fills[new] = stream.fills[old]
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def following(stream: StreamGraph, node: ir.Node) -> ir.Node:
    """Return the node behind this one; a new one, which nothing reads, where it is the last."""
    rest = list(stream.graph)
    place = rest.index(node) + 1
    if place < len(rest):
        return rest[place]
    last = ir.node("Identity", [node.outputs[0]])
    last.name = stream.new_name("stream.end")
    last.outputs[0].name = stream.new_name("stream.end.y")
    stream.graph.append(last)
    return last


def end_as(stream: StreamGraph, given: ir.Value, running: ir.Value, users: Iterable[tuple[ir.Node, int]]) -> None:
    """Let what runs along stand in for what ended the time axis, as those read it who did so far."""
    running.shape, running.type = given.shape, given.type
    for user, index in users:
        user.replace_input_with(index, running)
    if given.is_graph_output():
        running.name, given.name = given.name, stream.new_name("stream.ended.y")
        stream.graph.outputs[list(stream.graph.outputs).index(given)] = running


def chosen(stream: StreamGraph, before: ir.Node, choose: ir.Value, value: ir.Value, other: ir.Value) -> ir.Value:
    """Return the value where `choose`, else the other; onnxruntime's Where takes no bool."""
    kind = other.type or value.type
    if kind is None or kind.dtype != ir.DataType.BOOL:
        return emit(stream, before, "Where", [choose, value, other])
    here = emit(stream, before, "And", [choose, value])
    there = emit(stream, before, "And", [emit(stream, before, "Not", [choose]), other])
    return emit(stream, before, "Or", [here, there])


def either(stream: StreamGraph, before: ir.Node, choose: ir.Value, value: ir.Value, other: Array) -> ir.Value:
    """Return the value where `choose`, else `other`, a constant of its type; onnxruntime's Where takes no bool."""
    content = stream.constant("other", np.ascontiguousarray(other))
    if other.dtype != np.bool_:
        return emit(stream, before, "Where", [choose, value, content])
    if other.all():
        return emit(stream, before, "Or", [value, emit(stream, before, "Not", [choose])])
    here = emit(stream, before, "And", [choose, value])
    if not other.any():
        return here
    beyond = emit(stream, before, "And", [emit(stream, before, "Not", [choose]), content])
    return emit(stream, before, "Or", [here, beyond])


def within(
    stream: StreamGraph, before: ir.Node, value: ir.Value, timing: Timing, padding: float, *, ending: bool
) -> ir.Value:
    """Return the value with `padding` where its entries lie before the sequence's start (and, `ending`, past its end).

    Entries before the start exist in a stream only because the value comes late; past the end, while it is flushed.
    """
    if timing.delay <= 0 and not ending:
        return value
    inside = valid(stream, before, timing, ending=ending)
    rank = len(sizes(value))
    dims = np.array([-1 if axis == timing.axis else 1 for axis in range(rank)], np.int64)
    mask = emit(stream, before, "Reshape", [inside, stream.constant("mask.shape", dims)])
    return emit(stream, before, "Where", [mask, value, stream.constant("padding", np.array(padding, np.float32))])


def valid(stream: StreamGraph, before: ir.Node, timing: Timing, *, ending: bool) -> ir.Value:
    """Return bool[entries a step]: does the entry exist in the original?"""
    entries = stream.frames_per_step // timing.stride
    steps = np.arange(entries, dtype=np.int64) - timing.delay
    base = emit(stream, before, "Mul", [clock(stream), stream.constant("entries", np.array([entries], np.int64))])
    index = emit(stream, before, "Add", [base, stream.constant("index", steps)])
    inside = emit(stream, before, "GreaterOrEqual", [index, stream.constant("zero", np.zeros(1, np.int64))])
    if not ending:
        return inside
    count = emit(stream, before, "Add", [end(stream), stream.constant("offset", np.array([timing.offset], np.int64))])
    count = emit(stream, before, "Div", [count, stream.constant("stride", np.array([timing.stride], np.int64))])
    return emit(stream, before, "And", [inside, emit(stream, before, "Less", [index, count])])


def clock(stream: StreamGraph) -> ir.Value:
    """Return int64[1], the number of steps before this one."""
    return _counter(stream, "clock.step", 0, 1)


def end(stream: StreamGraph) -> ir.Value:
    """Return int64[1], the number of frames the sequence has."""
    return _counter(stream, END_STATE, END_NEVER, 0)


def _counter(stream: StreamGraph, name: str, initial: int, increment: int) -> ir.Value:
    for state in stream.states:
        if state.name == name:
            return state.input
    entering = stream.add_state(name, np.array([initial], np.int64))
    node = ir.node("Add", [entering, stream.constant(f"{name}.increment", np.array([increment], np.int64))])
    node.name = stream.new_name(name)
    stream.graph.append(node)
    stream.leave(entering, node.outputs[0])
    return entering
