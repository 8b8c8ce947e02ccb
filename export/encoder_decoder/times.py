"""Where time runs in an encoder, seen in runs at two lengths, and which of its nodes a step over a sequence may hold.

A step holds what gives each entry of a sequence from the same entry of others as long, and recurrences, which go
through it one way. Anything else has to see the whole of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from export.errors import ExportError
from export.graph import Array, StreamGraph, Timing, captured, constant_of, integer, probe, reads
from export.passes import convolution, padding, pointwise, recurrent, scan, time_axis, timeline

Lengths = tuple[int, int]


@dataclass
class Times:
    """An encoder, and what was seen of its values.

    examples: each value for sources of two lengths. on_data: those that hang on what the source is, and not on its
    length alone. lengths: how long they are, those that grow with the source along one axis: their sequences.
    """

    stream: StreamGraph
    examples: dict[ir.Value, tuple[Array, Array]]
    on_data: set[ir.Value]
    lengths: dict[ir.Value, Lengths] = field(default_factory=dict)

    def crosses(self, value: ir.Value) -> bool:
        """Return whether one part may give a value to another: numbers that hang on the source, and the source itself.

        What else parts share, as masks and shapes, each makes for itself.
        """
        given = value in self.on_data and value.dtype == ir.DataType.FLOAT
        return given or value in self.stream.graph.inputs

    def grows(self, value: ir.Value) -> list[int]:
        """Return the axes along which a value grows with the source."""
        return _grows(self.examples[value])

    def recurrences(self) -> list[ir.Node]:
        """Return what goes through a sequence entry by entry."""
        kinds = {*recurrent.OPS, "Scan", "Loop"}
        return [
            node
            for node in self.stream.graph
            if node.op_type in kinds and any(value in self.lengths for value in reads(node))
        ]

    def steps(self, node: ir.Node) -> Lengths | None:
        """Return the length of the sequences that a node goes through entry by entry, None if it does not."""
        entering = [value for value in reads(node) if value in self.on_data]
        found = {self.lengths.get(value) for value in entering if value not in self.examples or self.grows(value)}
        length = found.pop() if len(found) == 1 else None
        if length is None:
            return None
        if node.op_type in recurrent.OPS or scan.claims(node):
            return length if self._recurs(node) else None
        given = {self.lengths.get(value) for value in node.outputs if value in self.examples}
        return length if given == {length} and self._pointwise(node) else None

    def _recurs(self, node: ir.Node) -> bool:
        """Return whether a recurrent op or a Scan runs over time, and from states that are known before."""
        time = self.stream.time
        if node.op_type in recurrent.OPS:
            lens = node.inputs[recurrent.SEQUENCE_LENS] if len(node.inputs) > recurrent.SEQUENCE_LENS else None
            states = [value for value in node.inputs[recurrent.INITIAL :] if value is not None]
            over_time = node.inputs[0] is not None and time.get(node.inputs[0]) == integer(node, "layout", 0)
            return over_time and lens is None and not any(value in time for value in states)
        parts = scan.told_apart(node)
        return (
            all(time.get(value) == axis for value, axis in zip(parts.scanned, parts.axes, strict=True))
            and all(time.get(value) == axis for value, axis in zip(parts.given, parts.given_axes, strict=True))
            and not any(value in time for value in (*parts.initial, *captured(node)))
        )

    def _pointwise(self, node: ir.Node) -> bool:
        for place, value in enumerate(node.inputs):
            known = value is None or value in self.on_data or constant_of(value) is not None
            if not known and time_axis.reads_content(node, place):
                return False  # it reads positions, or how long the source is
        rule = timeline.rule_of(self.stream, node)
        try:
            if rule is convolution.timing:
                window = convolution.window(self.stream, node)
                return (window.span, window.stride, window.before, window.after) == (0, 1, 0, 0)
            return rule is pointwise.timing and rule(self.stream, node) is not None
        except ExportError:
            return False

    def slides(self, node: ir.Node) -> bool:
        """Return whether a node is a convolution, a pooling or a padding along a sequence."""
        if not any(value in self.lengths for value in node.outputs) or self.steps(node) is not None:
            return False
        rule = timeline.rule_of(self.stream, node)
        if rule is padding.timing:
            # What drops half a pair, or fills it up, does something else to an odd sequence than to an even one.
            given = self.lengths.get(node.inputs[0], (0, 0)) if node.inputs[0] is not None else (0, 0)
            made = next(self.lengths[value] for value in node.outputs if value in self.lengths)
            return made[0] - given[0] == made[1] - given[1]
        return rule is convolution.timing


def seen(stream: StreamGraph, lengths: Lengths) -> Times:
    """Run an encoder at two lengths; constants that were computed are folded."""
    values = [value for node in stream.graph for value in node.outputs if value.name]
    short, long = (probe(stream.model, stream.noise(length), values) for length in lengths)
    on_data = time_axis.data_dependent(stream)
    examples = {value: (short[str(value.name)], long[str(value.name)]) for value in values if value.name in short}
    for value, pair in examples.items():
        if value not in on_data and not value.is_graph_output() and np.array_equal(*pair):
            value.replace_all_uses_with(stream.constant(f"{value.name}_folded", pair[0]))
    common.RemoveUnusedNodesPass()(stream.model)
    for entry, value in zip(stream.frames, stream.inputs, strict=True):
        examples[value] = entry.noise(lengths[0]), entry.noise(lengths[1])
    times = Times(stream, examples, on_data)
    for value, pair in examples.items():
        grown = _grows(pair)
        value.shape = ir.Shape([_size(n, axis in grown, lengths) for axis, n in enumerate(pair[0].shape)])
        value.type = ir.TensorType(ir.DataType.from_numpy(pair[0].dtype))
        if value in on_data and len(grown) == 1:
            stream.time[value], stream.timing[value] = grown[0], Timing(grown[0])
            times.lengths[value] = stream.lengths[value] = pair[0].shape[grown[0]], pair[1].shape[grown[0]]
    return times


def _grows(pair: tuple[Array, Array]) -> list[int]:
    """Return the axes along which two examples differ."""
    short, long = (example.shape for example in pair)
    return [axis for axis, (a, b) in enumerate(zip(short, long, strict=True)) if a != b]


def _size(size: int, grows: bool, lengths: Lengths) -> int | str:  # noqa: FBT001 - one call, above
    """Return a size, or the name of one that is open: equal lengths have equal names."""
    if not grows:
        return size
    return "source" if size == lengths[0] else f"source.{size}"
