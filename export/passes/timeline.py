"""Say how every value stands to the frames: its stride, its delay, which frames it is made of.

Walks the graph once, in order. What an op does to timing is told by the file that later rewrites it; everything that no
file claims must be pointwise in time. Where branches with different delays meet, the later one sets the pace. The
lengths that follow from it are then held against lengths seen in a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from export.errors import ExportError, node_error
from export.graph import Array, StreamGraph, Timing, probe, reads
from export.passes import (
    attention,
    attention_pooling,
    convolution,
    cumulative,
    deviations,
    first,
    front,
    head,
    padding,
    pairs,
    pointwise,
    recurrent,
    scan,
    stacked,
)
from export.passes.time_axis import frames

UNDEFINED = 4
"""Steps at the start that may give no number."""
Rule = Callable[[StreamGraph, ir.Node], Timing]


def apply(stream: StreamGraph) -> bool:
    """Fill in `stream.timing`, `stream.fills` and `stream.frames_per_step`. Changes nothing else."""
    stream.timing = {
        value: Timing(frames.time_axis) for frames, value in zip(stream.frames, stream.inputs, strict=True)
    }
    ends = set(head.ending(stream))
    kept = _check_ends(stream, ends)
    for node in stream.graph:
        timed = [value for value in reads(node) if value in stream.time or value in stream.pairs]
        if not timed or node.op_type in ("Shape", "Size"):
            continue
        if node in ends and not any(output in stream.time or output in stream.pairs for output in node.outputs):
            head.check(stream, node)
            continue
        rule = rule_of(stream, node)
        timing = rule(stream, node)
        if kept.intersection(reads(node)):
            timing = replace(timing, first=None, delay=max(0, timing.delay))
        for output in node.outputs:
            if output in stream.pairs:
                stream.timing[output] = timing.at(stream.pairs[output].query)
            elif output in stream.time:
                stream.timing[output] = timing.at(stream.time[output])
        if rule is not convolution.timing:
            padding.spread_edges(stream, node, pointwise=rule is pointwise.timing)
    strides = {timing.stride for timing in stream.timing.values()}
    stream.frames_per_step = math.lcm(*strides)
    _check_outputs(stream)
    _check_lengths(stream)
    _find_undefined(stream)
    _find_fills(stream)
    return False


def _check_outputs(stream: StreamGraph) -> None:
    if any(output in stream.edges for output in stream.outputs):
        raise ExportError("the output is padded with its edge value; leave that padding off.")
    for output in stream.outputs:
        given = stream.timing.get(output)
        if given is not None and given.stride != stream.frames_per_step:
            raise ExportError(
                f"the output '{output.name}' comes every {given.stride} frames, but part of the model works every "
                f"{stream.frames_per_step}: several outputs a step are not streamed."
            )


def _check_ends(stream: StreamGraph, ends: set[ir.Node]) -> set[ir.Value]:
    """Refuse what is taken from the whole sequence at its end and then used at every step of it.

    Returns what is made of the first step alone, which is known at every step.
    """
    ended: dict[ir.Value, ir.Node] = {}
    kept: dict[ir.Value, ir.Node] = {}
    for node in stream.graph:
        if node.op_type in ("Shape", "Size"):
            continue
        whole = next((ended[value] for value in reads(node) if value in ended), None)
        begun = next((kept[value] for value in reads(node) if value in kept), None)
        if deviations.claims(stream, node):
            continue
        starting = whole or begun
        if starting is not None and (node.op_type in recurrent.OPS or scan.claims(node)):
            raise node_error(
                str(node.name),
                node.op_type,
                f"its initial state is computed from the data: '{starting.name}' takes it from the sequence.",
            )
        if whole is not None and any(output in stream.time or output in stream.pairs for output in node.outputs):
            raise node_error(
                str(whole.name),
                whole.op_type,
                pointwise.REASONS.get(whole.op_type)
                or "what it takes from the whole sequence is used at every step again: that looks into the future. "
                "From the frames so far it would be another function; train it so, or over the features of one step.",
            )
        timed = any(output in stream.time for output in node.outputs)
        if (
            not timed
            and whole is None
            and (begun or first.claims(stream, node))
            and (begun is None or node not in ends)
        ):
            kept.update((output, begun or node) for output in node.outputs)
        elif whole is not None or node in ends:
            ended.update((output, whole or node) for output in node.outputs if output not in stream.time)
    return set(kept)


def rule_of(stream: StreamGraph, node: ir.Node) -> Rule:
    """Return what an op does to timing, as the file tells it that later rewrites it."""
    rules: tuple[tuple[bool, Rule], ...] = (
        (node.op_type in recurrent.OPS, recurrent.timing),
        (scan.claims(node), scan.timing),
        (cumulative.claims(stream, node), cumulative.timing),
        (convolution.claims(stream, node), convolution.timing),
        (attention_pooling.claims(stream, node), attention_pooling.timing),
        (pairs.claims(stream, node), attention.timing),
        (stacked.trims(stream, node), stacked.whole),
        (padding.claims(stream, node), padding.timing),
        (front.claims(stream, node), front.timing),
        (stacked.claims(stream, node), stacked.timing),
    )
    return next((rule for claimed, rule in rules if claimed), pointwise.timing)


def _check_lengths(stream: StreamGraph) -> None:
    """Hold (T + offset) // stride against the lengths that values really had."""
    for value, timing in stream.timing.items():
        producer = value.producer()
        seen = stream.lengths.get(value)
        if producer is None or seen is None or stacked.trims(stream, producer):
            continue
        expected = tuple((length + timing.offset) // timing.stride for length in stream.probed)
        if seen != expected:
            raise node_error(
                str(producer.name),
                producer.op_type,
                f"it gives {seen[0]} steps for {stream.probed[0]} and {seen[1]} for "
                f"{stream.probed[1]}, which is not understood.",
            )


def _find_undefined(stream: StreamGraph) -> None:
    """Let the first steps give nothing where what is computed with their number is no number, as one over n - 1 is."""
    if not stream.counts or any(output in stream.time for output in stream.outputs):
        return
    every, known = stream.frames_per_step, stream.output_timing
    late = empty = known.delay if known is not None else 0
    while empty - late < UNDEFINED and _undefined(stream, (empty + 1) * every):
        empty += 1
    if empty > late and not _undefined(stream, (empty + 1) * every):
        stream.ended.append(Timing(0, stride=every, delay=empty, first=None, offset=-empty * every))
        steps = "step gives" if empty == 1 else f"{empty} steps give"
        stream.notes.append(f"the first {steps} nothing: what the model computes of so few is no number")


def _undefined(stream: StreamGraph, length: int) -> bool:
    """Return whether so many frames give something that is no number, whatever they are."""
    try:
        runs = [probe(stream.model, frames(stream, length, seed), stream.outputs) for seed in (0, 1)]
    except ExportError:
        return False  # a model that does not run on so few gives no number that is none
    return all(any(not np.isfinite(array).all() for array in run.values()) for run in runs)


def _find_fills(stream: StreamGraph) -> None:
    """Read the constant entries at the start of padded values from runs on two inputs, which must agree on them."""
    unknown = stream.edges.keys() | stream.pairs.keys()
    early = [value for value, timing in stream.timing.items() if timing.delay < 0 and value not in unknown]
    if not early:
        return
    one, other = (probe(stream.model, frames(stream, stream.probed[1], seed), early) for seed in (0, 1))
    for value in early:
        timing, name = stream.timing[value], str(value.name)
        start: list[Array] = [np.take(run[name], range(-timing.delay), axis=timing.axis) for run in (one, other)]
        if not np.array_equal(start[0], start[1]):
            producer = value.producer()
            raise node_error(
                str(producer.name if producer else name),
                producer.op_type if producer else "input",
                "it gives values before the first frame that depend on later frames.",
            )
        stream.fills[value] = start[0]
