"""Give a Scan over time its state: what it carries from round to round, the step carries from step to step.

1. The Scan must run forward, with time on the axis of each of its scan inputs and outputs. What its body reads from
   outside (captures) must be the same at every step.
2. What it carries begins with a constant, or something held; that is the state's value at reset.
3. Its body is written out in the step, once for each entry that one step takes: a Scan of one round costs onnxruntime
   tens of microseconds, and what is written out can be quantized.
4. What it carried last leaves the step. Where the model itself reads that (a last-step head), it reads on from there.
5. Where the input comes late, the states wait for the first entry that exists. An input that is early, because it is
   padded before the first frame, is made to wait (align.py).
6. A scan input that depends on the length alone holds positions; its rows come from the clock (see tables.py).

7. A body that adds up, from which nothing fades, is the model's own doing, as any recurrent layer's state is: it is
   carried on as the model has it and in its precision, in which a step counts ever less. That is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from export.errors import ExportError, node_error
from export.graph import StreamGraph, Timing, captured, constant_of, integer, ints, reads, sizes
from export.passes import buffers, tables


@dataclass(frozen=True)
class Parts:
    """A Scan's inputs and outputs, told apart."""

    body: ir.Graph
    initial: list[ir.Value]
    scanned: list[ir.Value]
    axes: list[int]
    last: list[ir.Value]
    given: list[ir.Value]
    given_axes: list[int]


def claims(node: ir.Node) -> bool:
    """Return whether a node is a Scan."""
    return node.op_type == "Scan" and node.domain in ("", "ai.onnx")


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the outputs' timing: that of the latest input, made of all frames before. Raises ExportError (see 1)."""
    parts = told_apart(node)
    _check(stream, node, parts)
    entering = [stream.timing[value] for value in parts.scanned if value in stream.time]
    if len({(timing.stride, timing.offset) for timing in entering}) != 1:
        raise _refused(node, "its inputs run at different rates or lengths.")
    if any(timing.delay < 0 < timing.offset for timing in entering):
        raise _refused(node, "its input is padded before the first frame and so longer than the sequence.")
    return replace(
        entering[0],
        delay=max(0, *(timing.delay for timing in entering)),
        first=None,
        last=max(timing.last for timing in entering),
    )


def apply(stream: StreamGraph) -> bool:
    """Write out every Scan over time."""
    nodes = [node for node in stream.graph if claims(node) and any(value in stream.time for value in node.inputs)]
    for number, node in enumerate(nodes):
        _write_out(stream, node, f"scan{number}")
    return bool(nodes)


def _write_out(stream: StreamGraph, node: ir.Node, name: str) -> None:
    parts, leaving = told_apart(node), timing(stream, node)
    entries = stream.frames_per_step // leaving.stride
    scanned = [
        tables.rows(stream, node, value, axis, entries, leaving) if value in stream.sized else value  # 6
        for value, axis in zip(parts.scanned, parts.axes, strict=True)
    ]
    states = [_enter(stream, node, f"{name}.s{k}", *pair) for k, pair in enumerate(zip(parts.initial, parts.last))]  # noqa: B905 - as many
    carried = list(states)
    given: list[list[ir.Value]] = [[] for _ in parts.given]
    exists = buffers.valid(stream, node, leaving, ending=False) if leaving.delay > 0 else None
    for entry in range(entries):
        taken = [
            _entry(stream, node, value, axis, entry, entries) for value, axis in zip(scanned, parts.axes, strict=True)
        ]
        results = _copy(stream, node, parts.body, [*carried, *taken])  # 3
        after = results[: len(states)]
        if exists is not None:  # 5
            here = buffers.emit(stream, node, "Gather", [exists, stream.constant("entry", np.array(entry, np.int64))])
            after = [buffers.chosen(stream, node, here, new, old) for new, old in zip(after, carried, strict=True)]
        carried = after
        for collected, value, axis in zip(given, results[len(states) :], parts.given_axes, strict=True):
            axes = stream.constant("axis", np.array([axis], np.int64))
            collected.append(buffers.emit(stream, node, "Unsqueeze", [value, axes]))
    for old, values, axis in zip(parts.given, given, parts.given_axes, strict=True):
        new = values[0] if entries == 1 else buffers.emit(stream, node, "Concat", values, axis=axis)
        new.shape, new.type = old.shape, old.type
        if old in stream.time:
            stream.time[new], stream.timing[new] = axis, stream.timing[old]
        _stand_in(stream, old, new)
    for state, entering, leaves in zip(states, parts.body.inputs, parts.body.outputs, strict=False):
        floating = state.type is not None and state.type.dtype.is_floating_point()
        if floating and _adds_up(entering, leaves):  # 7
            stream.notes.append(
                f"the state '{str(state.name).removesuffix('.in')}' is a sum from which nothing fades: in a stream "
                "that is never reset, a step is too small to change it in the end"
            )
    for state, last, value in zip(states, parts.last, carried, strict=True):  # 4
        unread = value.producer() is not None and not value.is_graph_output() and not last.is_graph_output()
        _stand_in(stream, last, value)
        stream.leave(state, value if unread else buffers.emit(stream, node, "Identity", [value]))
    stream.graph.remove(node, safe=True)


def _enter(stream: StreamGraph, node: ir.Node, name: str, given: ir.Value, last: ir.Value) -> ir.Value:
    """Make what is carried a state (2)."""
    held = str(given.name)
    if held in stream.held:
        short, long = stream.held[held]
        if short.shape != long.shape:
            raise _refused(node, "what it carries is as long as the source; a state is of fixed size.")
        return stream.add_state(name, stream.held[held][0], held)
    initial = constant_of(given)
    if initial is None:
        raise _refused(node, "its initial state is computed from the data.")
    if last.uses() and list(initial.shape) != sizes(last):
        raise _refused(node, f"what it carries begins with the shape {initial.shape} and goes on with {sizes(last)}.")
    return stream.add_state(name, np.array(initial))


def _entry(  # noqa: PLR0917
    stream: StreamGraph, node: ir.Node, value: ir.Value, axis: int, entry: int, entries: int
) -> ir.Value:
    """Return one of a step's entries, without the time axis."""
    if entries == 1:
        return buffers.emit(stream, node, "Squeeze", [value, stream.constant("axis", np.array([axis], np.int64))])
    at = stream.constant("entry", np.array(entry, np.int64))
    return buffers.emit(stream, node, "Gather", [value, at], axis=axis)


def _copy(stream: StreamGraph, before: ir.Node, body: ir.Graph, entering: list[ir.Value]) -> list[ir.Value]:
    """Write a copy of a body out before a node and return what it gives."""
    copy = body.clone(allow_outer_scope_values=True)
    places = dict(zip(copy.inputs, entering, strict=True))
    for value in copy.initializers.values():
        if value.const_value is not None:
            places[value] = stream.constant(str(value.name), value.const_value.numpy())
    results = [places.get(value, value) for value in copy.outputs]
    for inner, outer in places.items():
        inner.replace_all_uses_with(outer, replace_graph_outputs=True)
    for node in list(copy):
        copy.remove(node)
        node.name = stream.new_name(f"{before.name}.{node.name or node.op_type.lower()}")
        for value in node.outputs:
            value.name = stream.new_name(f"{before.name}.{value.name}") if value.name else value.name
        stream.graph.insert_before(before, node)
    return results


def _adds_up(inner: ir.Value, after: ir.Value) -> bool:
    """Return whether what is carried on is what was carried plus something that has no part of it."""
    node = after.producer()
    while node is not None and node.op_type == "Identity" and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Add" or inner not in node.inputs:
        return False
    waiting, seen = [value for value in node.inputs if value is not None and value is not inner], {inner}
    while waiting:
        value = waiting.pop()
        if value is inner:
            return False
        made = value.producer()
        if made is not None and value not in seen and made.graph is node.graph:
            waiting.extend(reads(made))
        seen.add(value)
    return len({*node.inputs}) > 1


def _stand_in(stream: StreamGraph, old: ir.Value, new: ir.Value) -> None:
    """Let the readers of an old value, and the model's outputs, read a new one."""
    if old.is_graph_output():
        if new.producer() is None or new.is_graph_output():
            new = buffers.emit(stream, _producer(old), "Identity", [new])
        new.name, old.name = old.name, stream.new_name(f"{old.name}.scanned")
        new.shape, new.type = old.shape, old.type
        if old in stream.timing:
            stream.time[new], stream.timing[new] = stream.time[old], stream.timing[old]
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def told_apart(node: ir.Node) -> Parts:
    """Return a Scan's inputs and outputs, told apart."""
    count = integer(node, "num_scan_inputs", 0)
    inputs = [value for value in node.inputs if value is not None]
    body = node.attributes["body"].as_graph()
    carried = len(inputs) - count
    scanned, given = inputs[carried:], list(node.outputs[carried:])
    axes, given_axes = (ints(node, f"scan_{kind}_axes") for kind in ("input", "output"))
    return Parts(
        body,
        inputs[:carried],
        scanned,
        [axis % len(sizes(value)) for value, axis in zip(scanned, axes or (0,) * count, strict=True)],
        list(node.outputs[:carried]),
        given,
        [axis % max(len(sizes(value)), 1) for value, axis in zip(given, given_axes or (0,) * len(given), strict=True)],
    )


def _check(stream: StreamGraph, node: ir.Node, parts: Parts) -> None:
    for kind in ("input", "output"):
        if any(ints(node, f"scan_{kind}_directions")):
            raise _refused(  # 1
                node, "it runs backwards over time: its output depends on frames that have not come yet. Train it "
                "forward, or run it over whole windows (--window)."
            )  # fmt: skip
    for value in captured(node):
        if value in stream.time or value in stream.pairs or value in stream.sized:
            raise _refused(node, f"its body reads '{value.name}', which runs over time, beside what it scans.")  # 1
    if any(value in stream.time for value in parts.initial):
        raise _refused(node, "its initial state is computed from the data.")  # 2
    for value, axis in zip(parts.scanned, parts.axes, strict=True):
        if stream.time.get(value) != axis and stream.sized.get(value) != (axis,):
            raise _refused(node, f"it does not run over the time axis of '{value.name}'.")  # 1
    for value, axis in zip(parts.given, parts.given_axes, strict=True):
        if stream.time.get(value, axis) != axis or value in stream.pairs:
            raise _refused(node, f"its output '{value.name}' grows with time along another axis than the one it scans.")


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    if node is None:
        raise ExportError(f"'{value.name}' is given by no node.")
    return node


def _refused(node: ir.Node, reason: str) -> ExportError:
    return node_error(str(node.name), "Scan", reason)
