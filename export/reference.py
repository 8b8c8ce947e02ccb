"""What the step of a model with attention is held against: the original, as far as its attention is let see.

Attention over a whole long sequence takes memory with its square, and where a window was chosen the original is another
function. So the original runs in pieces, each begun as much earlier as its outputs lean on:

1. No position, no chosen window: the untouched original in pieces. They differ from one run in nothing, since nothing
   in it tells the first frame of a piece from a later one once it lies outside what the outputs lean on.
2. A chosen window: the original graph, where what its masks hold for the future is put for ages beyond the window, too.
   That the band holds is read off the weights in runs; the distance to the unmasked original is told.
3. Positions: the rows of the piece, out of the positions of the whole sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from export.errors import ExportError, node_error
from export.frontends.doubles import evaluator
from export.frontends.onnx_loops import read_by
from export.frontends.sequence import Run, Sequence
from export.graph import Array, Pair, StreamGraph, Timing, first_line, floats, session, shapeless
from export.lengths import runs
from export.passes import branches, buffers, clean, lengths, loops, original, pairs, time_axis

Floats = NDArray[np.floating]
Piece = Callable[[Items[Array], int], Items[Array]]
"""Runs inputs whose first frame has the given number."""
PIECE = 512
"""Outputs of one piece at least: with few, most of the work would be what comes before them."""
COMPARED = 1000
ENDLESS = 2000
"""Frames of one run where attention stands beside a memory without end: it can't run in pieces, and the scores of all
frames with all take memory with their square."""
ROWS = ".rows"


def bounded(sequence: Sequence, stream: StreamGraph, frames: NDArray[np.float32]) -> tuple[Sequence, list[str]]:
    """Return the original to hold a rewritten step against, and what must be said of it.

    frames: float32[T, features], on which the distance of a chosen window to the unmasked original is told.
    """
    timing = stream.output_timing or _of_last_step(stream)
    if not stream.windows or (timing.first is None and not stream.narrowed):
        return sequence, []
    single: Piece = lambda x, _: sequence.single(x)  # noqa: E731 - one of two forms of the same
    double: Piece = lambda x, _: sequence.double(x)  # noqa: E731
    if stream.narrowed or stream.counted:
        banded = _Banded(sequence, stream)
        single, double = banded.single, banded.double
    result = replace(sequence, single=_whole(sequence, single, timing), double=_whole(sequence, double, timing))
    _prove(sequence, result, stream)
    if not stream.narrowed:
        return result, []
    compared = frames[:COMPARED]
    here, unmasked = result.outputs(compared, result.double), sequence.outputs(compared, sequence.double)
    apart, spread = np.abs(here - unmasked), float(unmasked.std()) or 1.0
    told = (
        f"held against the original under a band mask of {stream.attention_window} steps; on {len(compared):,} "
        f"calibration frames that is {apart.max():.3g} at most and {np.sqrt(np.mean(apart**2)):.3g} rms apart from the "
        f"unmasked original, whose output varies by {spread:.3g}"
    )
    return result, [told]


def longest(stream: StreamGraph) -> tuple[int | None, list[str]]:
    """Return how long the sequences may be at most that the original runs over, and what must be said of it."""
    if stream.limited:
        return stream.max_steps, []
    timing = stream.output_timing or _of_last_step(stream)
    if not stream.windows or timing.first is not None:
        return None, []
    return ENDLESS, [f"attention beside a memory without end: the original ran from a reset every {ENDLESS:,} frames"]


def _of_last_step(stream: StreamGraph) -> Timing:
    """Return what an output without a time axis leans on at most: all that anything in the model leans on."""
    firsts = [timing.first for timing in stream.timing.values()]
    known = [first for first in firsts if first is not None]
    return Timing(0, stride=stream.frames_per_step, first=min(known) if len(known) == len(firsts) else None)


def _whole(sequence: Sequence, run: Piece, timing: Timing) -> Run:
    """Return a run over a whole sequence made of runs over pieces."""
    every_step = sequence.every_step
    times_in, times_out = [entry.time_axis for entry in sequence.inputs], sequence.times_of_outputs

    def whole(x: Items[Array]) -> Items[Array]:
        steps = x[0].shape[times_in[0]]
        if timing.first is None or steps <= PIECE - timing.first:
            return run(x, 0)
        stride = timing.stride
        total = (steps + timing.offset) // stride
        at_once = max(PIECE, -timing.first) // stride
        parts = []
        for first in range(0, total, at_once) if every_step else [total - 1]:
            count = min(at_once, total - first)
            start = max(0, (first * stride + timing.first) // stride * stride)
            # So far that all frames are there which the outputs are made of, and that there are as many outputs.
            beyond = max(timing.last, -timing.offset)
            end = steps if first + count == total else min(steps, (first + count) * stride + beyond)
            y = run(
                [np.take(array, range(start, end), axis=axis) for array, axis in zip(x, times_in, strict=True)], start
            )
            if not every_step:
                return y
            kept = range(first - start // stride, first - start // stride + count)
            parts.append([np.take(array, kept, axis=axis) for array, axis in zip(y, times_out, strict=True)])
        return [
            np.concatenate(pieces, axis=axis) for pieces, axis in zip(zip(*parts, strict=True), times_out, strict=True)
        ]

    return whole


def _prove(sequence: Sequence, result: Sequence, stream: StreamGraph) -> None:
    """Hold the reference against the untouched original where the two must agree: within the window."""
    longest = sequence.lengths[1]
    in_front = max([0, *(stream.timing[value].offset for value in stream.windows if value in stream.timing)])
    if stream.attention_window is not None and stream.attention_window <= in_front:
        raise ExportError(
            f"--attention-window {stream.attention_window} would not see beyond the {in_front} rows that stand in "
            "front of the first frame; choose a longer one."
        )
    length = min((stream.attention_window or longest) - in_front, stream.max_steps or longest, longest)
    x = sequence.noise(length)
    pairs_of_outputs = zip(result.double(x), sequence.double(x), strict=True)
    if not all(np.allclose(ours, theirs, rtol=1e-3, atol=1e-4) for ours, theirs in pairs_of_outputs):
        raise ExportError(f"the band-masked original is not the original within the window ({length} steps).")


@dataclass
class _Rows:
    """Positions that a piece takes as an input. entries: (stride, offset), as Timing has them."""

    name: str
    axis: int
    stride: int
    offset: int


class _Banded:
    """The original graph with bands in its masks (2) and positions as inputs (3)."""

    def __init__(self, sequence: Sequence, stream: StreamGraph) -> None:
        self.stream = StreamGraph(ir.from_proto(sequence.model), sequence.inputs)
        self.stream.attention_window, self.stream.max_steps = stream.attention_window, stream.max_steps
        for rule in (branches.apply, clean.apply, loops.apply, lengths.apply, time_axis.apply, pairs.apply):
            rule(self.stream)
        self.positions = ir.to_proto(self.stream.original or self.stream.model)
        self.rows: list[_Rows] = []
        self.known: dict[tuple[str, bool], Floats] = {}
        self._change(counted=stream.counted)
        model = shapeless(self.stream.model)
        self.runtime, self.evaluator = session(model), evaluator(model)

    def single(self, x: Items[Array], start: int) -> list[Array]:
        """Run a piece in float32."""
        return self._run(self.runtime, floats(x, np.float32), start, double=False)

    def double(self, x: Items[Array], start: int) -> list[Array]:
        """Run a piece in float64."""
        return self._run(self.evaluator, floats(x, np.float64), start, double=True)

    def _run(self, engine: Any, x: Items[Array], start: int, *, double: bool) -> list[Array]:
        frames = self.stream.frames
        feeds: dict[str, Any] = {entry.name: array for entry, array in zip(frames, x, strict=True)}
        steps = x[0].shape[frames[0].time_axis]
        for entry in self.rows:
            first, count = start // entry.stride, (steps + entry.offset) // entry.stride
            rows = self._position(entry, start + steps, double=double)
            if rows.shape[entry.axis] < first + count:
                raise ExportError(f"its positions end before {start + steps} steps.")
            feeds[entry.name] = np.take(rows, range(first, first + count), axis=entry.axis)
        try:
            return [np.asarray(y) for y in engine.run(None, feeds)]
        except Exception as cause:
            raise ExportError(
                f"the band-masked original does not run over {steps} frames at once ({first_line(cause)}). Where a "
                "mask or table in it is shorter, make it longer or of the input's length; or use --max-steps alone."
            ) from cause

    def _position(self, entry: _Rows, steps: int, *, double: bool) -> Floats:
        """Return the positions of a whole sequence: in float64 from the original in float64."""
        found = self.known.get((entry.name, double))
        if found is None or found.shape[entry.axis] * entry.stride - entry.offset < steps:
            wanted = self._ancestors(entry.name.removesuffix(ROWS))
            engine: Any = evaluator(wanted) if double else session(wanted)

            def run(length: int) -> Floats:
                names, arrays = zip(*self.stream.noise(length).items(), strict=True)
                x = dict(zip(names, floats(arrays, np.float64 if double else np.float32), strict=True))
                try:
                    return np.asarray(engine.run(None, x)[0])
                except Exception as cause:
                    raise ExportError(f"its positions do not reach {length} steps: {first_line(cause)}") from cause

            # More than asked for, so that the next piece finds its own, too, where they go on so far.
            found = run(2 * steps if runs(run, 2 * steps) else steps)
            self.known[entry.name, double] = found
        return found

    def _ancestors(self, name: str) -> onnx.ModelProto:
        """Return the part of the original that a value is made by."""
        part = onnx.ModelProto()
        part.CopyFrom(self.positions)
        needed, kept = {name}, []
        for node in reversed(part.graph.node):
            if needed & set(node.output):
                kept.append(node)
                needed |= read_by(node)
        del part.graph.node[:], part.graph.output[:], part.graph.value_info[:]
        part.graph.node.extend(reversed(kept))
        part.graph.output.append(onnx.ValueInfoProto(name=name))
        return part

    def _change(self, *, counted: bool) -> None:
        stream = self.stream
        on_data = time_axis.data_dependent(stream)
        for node in list(stream.graph):
            if node.outputs[0] not in on_data or node.op_type in ("Shape", "Size"):
                continue
            window = next((stream.windows[v] for v in (*node.outputs, *node.inputs) if v in stream.windows), None)
            for index, value in enumerate(node.inputs):
                axes = stream.sized.get(value) if value is not None else None
                shape_only = index >= time_axis.SHAPE_INPUTS.get(node.op_type, len(node.inputs))
                if axes is None or value is None or shape_only:
                    continue
                if len(axes) == 1 and counted:
                    node.replace_input_with(index, self._enter(value, axes[0]))
                elif len(axes) > 1 and window is not None and stream.narrowed:
                    roles = {pairs.follow(stream, node, index, axis): axis for axis in axes}
                    pair = next(stream.pairs[v] for v in node.outputs if v in stream.pairs)
                    node.replace_input_with(
                        index, self._band(node, value, Pair(roles[pair.query], roles[pair.key]), window)
                    )
        if stream.narrowed:
            self._check()

    def _enter(self, value: ir.Value, axis: int) -> ir.Value:
        """Make positions an input."""
        name = f"{value.name}{ROWS}"
        for entering in self.stream.graph.inputs:
            if entering.name == name:
                return entering
        short, long = (original.content(self.stream, value, length).shape[axis] for length in self.stream.probed)
        stride = (self.stream.probed[1] - self.stream.probed[0]) // (long - short)
        self.rows.append(_Rows(name, axis, stride, short * stride - self.stream.probed[0]))
        entering = ir.Value(name=name, shape=value.shape, type=value.type)
        self.stream.graph.inputs.append(entering)
        return entering

    def _band(self, node: ir.Node, value: ir.Value, pair: Pair, window: int) -> ir.Value:
        """Put what a mask holds for the future for ages beyond the window, too, if that is one value."""
        stream = self.stream
        held = np.moveaxis(original.content(stream, value, stream.probed[0]), (pair.query, pair.key), (0, 1))
        future = held[np.triu_indices(len(held), 1)]
        if not np.array_equal(future, np.broadcast_to(future[:1], future.shape)):
            return value
        shut = np.moveaxis(future[:1][None], (0, 1), (pair.query, pair.key))
        shape = buffers.emit(stream, node, "Shape", [value])
        zero, one = (stream.constant("bound", np.array(number, np.int64)) for number in (0, 1))
        places = []
        for axis in (pair.query, pair.key):
            axis_at = stream.constant("axis", np.array(axis, np.int64))
            count = buffers.emit(stream, node, "Gather", [shape, axis_at])
            counted = buffers.emit(stream, node, "Range", [zero, count, one])
            dims = np.array([-1 if place == axis else 1 for place in range(held.ndim)], np.int64)
            places.append(buffers.emit(stream, node, "Reshape", [counted, stream.constant("dims", dims)]))
        age = buffers.emit(stream, node, "Sub", places)
        within = buffers.emit(stream, node, "Less", [age, stream.constant("window", np.array(window, np.int64))])
        return buffers.either(stream, node, within, value, shut)

    def _check(self) -> None:
        """Read off the weights that the band holds."""
        stream, length = self.stream, self.stream.probed[0]
        feeds = stream.noise(length)
        for entry in self.rows:
            count = (length + entry.offset) // entry.stride
            feeds[entry.name] = np.take(self._position(entry, length, double=False), range(count), axis=entry.axis)
        for region in pairs.regions(stream):
            weights = pairs.weights_of(stream, region)
            if pairs.reach(stream, weights, feeds) > stream.windows[region[0]]:
                raise node_error(
                    *pairs.told(weights[0]),
                    "it has no mask that could be narrowed to --attention-window; give it a causal mask.",
                )
