"""Values that depend on the length alone, read as data: masks become tables by age, positions come from the clock.

Nothing is matched: what such a value is, is told by what it holds in a run of the original.

1. A mask or bias over two times must hold the same at every query for the same age (query minus key). It becomes a
   table [entries a step, keys]. If it holds one value for all of the future, a key from before the start, which the
   ring has and the original has not, gets that value, too: it counts as little as a key of the future.
2. Positions are rows over one time; the first rows must not depend on how many there are.
   a. Rows that are all the same are a constant.
   b. Rows computed from a count of steps through ops that work on each row by itself are computed from the clock, in
      float64 from an int64 count, if a bounded function (a sine …) lies between: exact for as long as the clock runs.
   c. Else, with --max-steps, they are a table with as many rows. Without, they are refused.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.errors import ExportError, node_error
from export.graph import Array, Pair, StreamGraph, Timing
from export.lengths import most_of
from export.passes import buffers, counter, original

TABLE = 1 << 16
"""Rows of a table up to which its end is looked for."""
CLOSE = 1e-6
"""How far float32 arithmetic may put equal ages apart, of their own size."""


def by_age(  # noqa: PLR0917
    stream: StreamGraph, node: ir.Node, value: ir.Value, pair: Pair, window: int, timing: Timing
) -> ir.Value:
    """Return the mask or bias over two times for one step (1); `pair` are its own axes of query and key."""
    entries = stream.frames_per_step // timing.stride
    keys = window - 1 + entries
    rows = np.moveaxis(
        _long_enough(stream, node, value, max(keys, 2), pair.query, timing), (pair.query, pair.key), (0, 1)
    )
    if rows.shape[0] != rows.shape[1] or not _same(rows[1:, 1:], rows[:-1, :-1]):
        raise node_error(
            str(node.name), node.op_type,
            "the mask or bias it takes is no function of how many steps lie between query and key.",
        )  # fmt: skip
    future = rows[np.triu_indices(len(rows), 1)]
    shut = future[0] if _same(future, np.broadcast_to(future[0], future.shape)) else None
    table = np.empty((entries, keys, *rows.shape[2:]), rows.dtype)
    for i in range(entries):
        for j in range(keys):
            age = i + window - 1 - j
            outside = age >= window and shut is not None
            table[i, j] = shut if outside else rows[max(age, 0), max(-age, 0)]
    table = np.ascontiguousarray(np.moveaxis(table, (0, 1), tuple(_order(pair))))
    result = stream.constant(f"{value.name}.by_age", table)
    if shut is None or window == 1:
        return result
    shape = [1] * rows.ndim
    shape[pair.key] = keys
    exists = ring_valid(stream, node, timing, keys)
    exists = buffers.emit(stream, node, "Reshape", [exists, stream.constant("mask.shape", np.array(shape, np.int64))])
    if table.dtype == np.bool_ and [*table.shape] == shape:
        # A mask that is open to each key there is, as most are, is whether there is one.
        if table.all() and not np.any(shut):
            return exists
        if not table.any() and np.all(shut):
            return buffers.emit(stream, node, "Not", [exists])
    closed = np.moveaxis(np.asarray(shut)[None, None], (0, 1), tuple(_order(pair)))
    return buffers.either(stream, node, exists, result, closed)


def ring_valid(stream: StreamGraph, before: ir.Node, timing: Timing, keys: int) -> ir.Value:
    """Return bool[keys]: does the key exist in the original, or does it lie before the start?"""
    index = buffers.index(stream, before, timing, keys)
    return buffers.emit(stream, before, "GreaterOrEqual", [index, stream.constant("zero", np.zeros(1, np.int64))])


def rows(  # noqa: PLR0917
    stream: StreamGraph, node: ir.Node, value: ir.Value, axis: int, count: int, timing: Timing
) -> ir.Value:
    """Return the newest `count` rows of positions in one step (2)."""
    short, long = (np.moveaxis(original.content(stream, value, length), axis, 0) for length in stream.probed)
    if not _same(short, long[: len(short)]):
        raise node_error(
            str(node.name), node.op_type, "it computes with the number of time steps, which a stream does not have."
        )
    if np.array_equal(long, np.broadcast_to(long[:1], long.shape)):  # a
        same = np.moveaxis(np.broadcast_to(long[:1], (count, *long.shape[1:])), 0, axis)
        return stream.constant(f"{value.name}.same", np.ascontiguousarray(same))
    stream.counted = True
    index = buffers.index(stream, node, timing, count)
    index = buffers.emit(stream, node, "Max", [index, stream.constant("zero", np.zeros(1, np.int64))])
    reason = None
    if stream.max_steps is None:
        computed = counter.computed(stream, node, value, axis, index, count)  # b
        if isinstance(computed, ir.Value):
            return computed
        reason = computed
    if stream.max_steps is None:
        raise node_error(
            str(node.name), node.op_type,
            f"the positions it takes have no end, {reason}. Say with --max-steps after how many steps at most the "
            f"stream is reset{_most(stream, value, axis, timing)}.",
        )  # fmt: skip
    wanted = -(-(stream.max_steps + max(0, timing.offset)) // timing.stride)
    table = _long_enough(stream, node, value, wanted, axis, timing)  # c
    table = np.take(table, range(wanted), axis=axis)
    stream.limited = True
    # Past the last row lie only steps of a flush, which are past the sequence's end.
    index = buffers.emit(stream, node, "Min", [index, stream.constant("last", np.array([wanted - 1], np.int64))])
    return buffers.emit(stream, node, "Gather", [stream.constant(f"{value.name}.rows", table), index], axis=axis)


def _most(stream: StreamGraph, value: ir.Value, axis: int, timing: Timing) -> str:
    """Say how many steps a table holds, if it ends at all."""

    def run(length: int) -> None:
        if original.content(stream, value, length).shape[axis] != (length + timing.offset) // timing.stride:
            raise ExportError("the table ends before.")

    most = most_of(run, stream.probed[1], TABLE)
    return f": --max-steps {most} at most, as its table has no more" if most else ""


def _long_enough(  # noqa: PLR0917
    stream: StreamGraph, node: ir.Node, value: ir.Value, count: int, axis: int, timing: Timing
) -> Array:
    """Return the value in a run so long that it has `count` entries at least."""
    length = max(count * timing.stride - timing.offset, stream.probed[0])
    try:
        found = original.content(stream, value, length)
    except ExportError as cause:
        raise node_error(
            str(node.name), node.op_type,
            f"the table it takes does not reach {count} steps; choose fewer with --max-steps or --attention-window.",
        ) from cause  # fmt: skip
    if found.shape[axis] < count:
        raise node_error(
            str(node.name), node.op_type,
            f"the table it takes holds {found.shape[axis]} steps, {count} are needed; choose fewer with --max-steps.",
        )  # fmt: skip
    return found


def _order(pair: Pair) -> tuple[int, int]:
    return pair.query, pair.key


def _same(a: Array, b: Array) -> bool:
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    return bool(np.allclose(a, b, rtol=CLOSE, atol=CLOSE, equal_nan=True))
