"""Constants joined to a value along its time are its padding: such a Concat becomes a Pad.

1. One number before the value, or behind it, or before and behind.
2. What holds several numbers, as a first row that was learned, is left as it is: in front it streams (front.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from export.graph import Array, StreamGraph, constant_of, integer, sizes
from export.passes import buffers


def apply(stream: StreamGraph) -> bool:
    """Replace every Concat along time whose other inputs are constants of one number."""
    changed = False
    for node in list(stream.graph):
        value = _only_timed(stream, node)
        if value is None:
            continue
        at, rows = list(node.inputs).index(value), [constant_of(other) for other in node.inputs if other is not value]
        known = [row for row in rows if row is not None]
        before, after = known[:at], known[at:]
        if len(known) < len(rows) or not (_one_number(before) and _one_number(after)):  # 2
            continue
        output = node.outputs[0]
        for place, entries in enumerate((before, after)):
            count = sum(entry.shape[stream.time[value]] for entry in entries)
            if count:
                value = _padded(stream, node, value, place, count, entries[0])  # 1
        output.replace_all_uses_with(value, replace_graph_outputs=True)
        stream.graph.remove(node, safe=True)
        changed = True
    return changed


def _only_timed(stream: StreamGraph, node: ir.Node) -> ir.Value | None:
    """Return the only input with time of a Concat of floats along it, None for any other node."""
    output = node.outputs[0]
    if node.op_type != "Concat" or output not in stream.time or output.dtype != ir.DataType.FLOAT:
        return None
    timed = [value for value in node.inputs if value is not None and value in stream.time]
    along = integer(node, "axis", 0) % len(sizes(output))
    return timed[0] if len(timed) == 1 and stream.time[timed[0]] == along and len(node.inputs) > 1 else None


def _one_number(rows: Sequence[Array]) -> bool:
    return len(np.unique(np.concatenate([row.reshape(-1) for row in rows]))) <= 1 if rows else True


def _padded(  # noqa: PLR0917 - one call, above
    stream: StreamGraph, node: ir.Node, value: ir.Value, place: int, count: int, row: Array
) -> ir.Value:
    """Return the value with so many entries before (place 0) or behind it (1)."""
    axis, rank = stream.time[value], len(sizes(value))
    pads = np.zeros(2 * rank, np.int64)
    pads[axis + place * rank] = count
    number = stream.constant("number", row.reshape(-1)[0])
    padded = buffers.emit(stream, node, "Pad", [value, stream.constant("pads", pads), number])
    padded.shape, padded.type, stream.time[padded] = node.outputs[0].shape, value.type, axis
    short, long = stream.lengths[value]
    stream.lengths[padded] = short + count, long + count
    return padded
