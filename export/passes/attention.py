"""Attention: values over two times meet a ring of keys instead of all of them.

1. What runs along the keys' time (keys, values, anything that varies with the key) is given a history of the window's
   length: entry j of a ring of `keys` has the age window - 1 - j. What runs along the queries' stays as it is.
2. Masks and biases over both times become tables by age; positions come from the clock (see tables.py). A key from
   before the start is shut out as a key of the future is.
3. Sums, maxima and softmax over keys then run over the ring; everything else works on each pair by itself.
4. Positions that ops outside attention read come from the clock, too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import Pair, StreamGraph, Timing, constant_of, integer, sizes
from export.passes import buffers, pairs, tables, time_axis
from export.passes.pointwise import ELEMENTWISE

OVER_TIME = ELEMENTWISE | {"Concat"}
"""Ops outside attention that may read positions."""


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the output's timing: the latest input sets the pace, the window says how far back it reaches."""
    if not any(output in stream.pairs or output in stream.time for output in node.outputs):
        raise node_error(str(node.name), node.op_type, "it sums over both of attention's times.")
    window = _window(stream, node)
    entering = []
    for index, value in _inputs(node):
        if value not in stream.timing:
            continue
        before = stream.timing[value]
        if _role(stream, node, index, value) == "key" and before.first is not None:
            before = replace(before, first=before.first - (window - 1) * before.stride)
        entering.append((value, before))
    latest = max(before.delay for _, before in entering)
    if latest < 0 and any(before.offset <= 0 for _, before in entering):
        latest = 0
    for value, before in entering:
        if value in stream.pairs and before.delay < latest:
            raise node_error(str(node.name), node.op_type, "the values it sums come later than their weights.")
    if len({(before.stride, before.offset) for _, before in entering}) > 1:
        raise node_error(str(node.name), node.op_type, "its queries and keys run at different rates or lengths.")
    firsts = [before.first for _, before in entering if before.first is not None]
    return replace(
        entering[0][1],
        delay=latest,
        first=None if len(firsts) < len(entering) or stream.limited else min(firsts),
        last=max(before.last for _, before in entering),
    )


def apply(stream: StreamGraph) -> bool:
    """Rewrite all attention, and all that reads positions."""
    rings: dict[tuple[ir.Value, int, int], ir.Value] = {}
    changed = False
    nodes = list(stream.graph)
    on_data = time_axis.data_dependent(stream)
    for node in nodes:
        if node.outputs[0] not in on_data or node.op_type in ("Shape", "Size"):
            continue
        if pairs.claims(stream, node):
            _check(stream, node)
            _attend(stream, node, rings)
            changed = True
        else:
            changed |= _positions(stream, node)
    if changed and not stream.narrowed and stream.windows:
        seen = ", ".join(str(window) for window in sorted(set(stream.windows.values())))
        stream.notes.append(f"attention sees {seen} steps back, as its own mask or the reset has it")
    if changed and stream.narrowed:
        stream.notes.append(f"attention sees {stream.attention_window} steps back, as chosen; the original sees all")
    if stream.limited:
        stream.notes.append(f"the stream must be reset after {stream.max_steps} steps at most")
    return changed


def _attend(stream: StreamGraph, node: ir.Node, rings: dict[tuple[ir.Value, int, int], ir.Value]) -> None:
    window, leaving = _window(stream, node), stream.timing[node.outputs[0]]
    entries = stream.frames_per_step // leaving.stride
    keys = window - 1 + entries
    for index, value in _inputs(node):
        if value in stream.sized:
            if index < time_axis.SHAPE_INPUTS.get(node.op_type, len(node.inputs)):
                node.replace_input_with(index, _table(stream, node, index, value, window))  # 2
            continue
        role = _role(stream, node, index, value) if value in stream.time else None
        if role is None:
            continue
        here = stream.timing[value]
        late = leaving.delay - here.delay
        marked = (value, late, window if role == "key" else 0)
        if marked not in rings:
            source = buffers.delayed(stream, node, value, late) if late > 0 else value
            if role == "key":  # 1
                shape = sizes(value)
                shape[here.axis] = 0
                source.type = value.type
                # What stood in front of the first frame, if it is to be there with it, else has been delayed.
                rows = stream.fills.get(value) if leaving.delay < 0 else None
                rows = np.zeros(shape, np.float32) if rows is None else rows
                source = buffers.history(stream, node, source, here, window - 1, rows, stream.state_name("ring"))
            rings[marked] = source
        node.replace_input_with(index, rings[marked])
    if node.op_type in ("Reshape", "Expand") and node.outputs[0] in stream.pairs:
        pair, shape = stream.pairs[node.outputs[0]], sizes(node.outputs[0])
        shape[pair.query], shape[pair.key] = entries, keys
        node.replace_input_with(1, stream.constant("pairs.shape", np.array(shape, np.int64)))
    if node.op_type == "Trilu":
        _triangle(stream, node, window)


def _table(stream: StreamGraph, node: ir.Node, index: int, value: ir.Value, window: int) -> ir.Value:
    """Return a mask, bias or position for one step."""
    leaving = stream.timing[node.outputs[0]]
    entries = stream.frames_per_step // leaving.stride
    axes = stream.sized[value]
    roles = {_place(stream, node, index, axis): axis for axis in axes}
    if len(axes) == 1:
        role = next(iter(roles))
        count = entries if role == "query" else window - 1 + entries
        return tables.rows(stream, node, value, axes[0], count, leaving)
    return tables.by_age(stream, node, value, Pair(roles["query"], roles["key"]), window, leaving)


def _positions(stream: StreamGraph, node: ir.Node) -> bool:
    """Replace the positions that a node outside attention reads (4)."""
    changed = False
    for index, value in _inputs(node):
        if value not in stream.sized or index >= time_axis.SHAPE_INPUTS.get(node.op_type, len(node.inputs)):
            continue
        leaving = stream.timing.get(node.outputs[0])
        axes = stream.sized[value]
        if leaving is None or node.op_type not in OVER_TIME or len(axes) > 1 or (
            pairs.follow(stream, node, index, axes[0]) != leaving.axis
        ):  # fmt: skip
            raise node_error(
                str(node.name), node.op_type, "it computes with the number of time steps, which a stream does not have."
            )
        entries = stream.frames_per_step // leaving.stride
        node.replace_input_with(index, tables.rows(stream, node, value, axes[0], entries, leaving))
        changed = True
    return changed


def _check(stream: StreamGraph, node: ir.Node) -> None:
    """Refuse what reduces over the queries, or over keys in a way that those beyond the window change."""
    for index, value in _inputs(node):
        if value not in stream.pairs:
            continue
        pair = stream.pairs[value]
        ended = pairs.follow(stream, node, index, pair.key) is None
        if node.op_type.startswith("Reduce") and ended and node.op_type not in pairs.REDUCING:
            raise node_error(
                str(node.name), node.op_type, "it reduces over all keys, also those that a query does not see."
            )


def _triangle(stream: StreamGraph, node: ir.Node, window: int) -> None:
    """Trilu on scores keeps them by age; a key from before the start goes, as one of the future does."""
    value, output = node.inputs[0], node.outputs[0]
    pair, leaving, rank = stream.pairs[output], stream.timing[output], pairs.rank_of(output)
    given = constant_of(node.inputs[1]) if len(node.inputs) > 1 else np.zeros(1, np.int64)
    if value is None or given is None or (pair.query, pair.key) != (rank - 2, rank - 1):
        raise node_error(str(node.name), "Trilu", "it cuts at a place that is not constant, or keys by queries.")
    entries = stream.frames_per_step // leaving.stride
    keys = window - 1 + entries
    ages = np.arange(entries)[:, None] + window - 1 - np.arange(keys)[None]
    edge = -int(given.reshape(-1)[0])
    kept = stream.constant("kept", (ages <= edge if integer(node, "upper", 1) else ages >= edge) & (ages < window))
    kept = buffers.emit(stream, node, "And", [kept, tables.ring_valid(stream, node, leaving, keys)])
    result = buffers.either(stream, node, kept, value, np.zeros((), np.float32))
    result.shape, result.type = output.shape, output.type
    stream.pairs[result], stream.timing[result], stream.windows[result] = pair, leaving, window
    output.replace_all_uses_with(result)


def _inputs(node: ir.Node) -> list[tuple[int, ir.Value]]:
    return [(index, value) for index, value in enumerate(node.inputs) if value is not None]


def _window(stream: StreamGraph, node: ir.Node) -> int:
    return next(stream.windows[value] for value in (*node.outputs, *node.inputs) if value in stream.windows)


def _role(stream: StreamGraph, node: ir.Node, index: int, value: ir.Value) -> str:
    """Return "pair", "query" or "key": along which time of the pairs an input runs."""
    return "pair" if value in stream.pairs else _place(stream, node, index, stream.time[value])


def _place(stream: StreamGraph, node: ir.Node, index: int, axis: int) -> str:
    """Return "query" or "key" for an input's time axis."""
    goes = pairs.follow(stream, node, index, axis)
    output = node.outputs[0]
    if output in stream.pairs and goes in (stream.pairs[output].query, stream.pairs[output].key):
        return "query" if goes == stream.pairs[output].query else "key"
    if output in stream.time and goes is None:
        return "key"
    if output in stream.time and goes == stream.time[output]:
        return "query"
    raise node_error(str(node.name), node.op_type, "its inputs' time axes do not lie on each other.")
