"""Bring a graph of fixed length into a form in which steps that compute alike also look alike.

1. Functions are inlined and constants lifted, as for every rewrite (see passes/clean.py).
2. What depends on no data is a constant at a fixed length, whatever computed it: also all arithmetic on shapes, and the
   initial states that are made from them.
3. What changes nothing goes: a cast to the same type, a reshape or slice to the same shape, a choice that always falls
   the same way, a concatenation of one.
4. What is computed twice from the same values is computed once.
5. A buffer filled step by step is the concatenation of what fills it (scatter.py).

An input whose length is free already stays so: what hangs on its length is no constant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from export.graph import Array, Input, StreamGraph, constant_of, probe
from export.passes import clean, time_axis
from export.unrolled import scatter

SAME_SHAPE = {"Reshape", "Expand", "Squeeze", "Unsqueeze", "Flatten"}
"""Ops that change nothing where the shape stays as it was."""
RECURRENT = {"RNN", "GRU", "LSTM"}
"""Ops of several outputs, of which the last are left out where nothing reads them."""
OTHERS = (13, 19)
"""Lengths, other than the loop's, of inputs whose length is free already."""


def prepared(model: onnx.ModelProto, inputs: tuple[Input, ...], length: int, free: Collection[str] = ()) -> StreamGraph:
    """Return the graph at a length of time, all its shapes known. free: inputs whose length is free already."""
    stream = StreamGraph(ir.from_proto(model), inputs)
    clean.apply(stream)  # 1
    for given, value in zip(inputs, stream.inputs, strict=True):
        value.shape = ir.Shape(["time" if dim == -1 else dim for dim in given.shape])
        if given.name not in free:
            value.shape = ir.Shape(given.shaped(length))
    values = [v for node in stream.graph for v in node.outputs if v.name and (v.uses() or v.is_graph_output())]
    content = probe(stream.model, frames(inputs, length, free), values)
    other = probe(stream.model, frames(inputs, length, free, OTHERS[1]), values) if free else content
    for given, value in zip(inputs, stream.inputs, strict=True):
        value.shape = ir.Shape(given.shaped(OTHERS[0] if given.name in free else length))
    on_data = time_axis.data_dependent(stream)
    for value in values:
        array = content[str(value.name)]
        value.shape, value.type = ir.Shape(array.shape), ir.TensorType(ir.DataType.from_numpy(array.dtype))
        same = other is content or np.array_equal(array, other[str(value.name)])
        if value not in on_data and not value.is_graph_output() and same:
            _constant(stream.graph, value, array)  # 2
    common.RemoveUnusedNodesPass()(stream.model)
    _simplify(stream.graph)
    scatter.apply(stream.graph)  # 5
    common.RemoveUnusedNodesPass()(stream.model)
    return stream


def frames(
    inputs: tuple[Input, ...], length: int, free: Collection[str] = (), other: int = OTHERS[0], seed: int = 0
) -> dict[str, Array]:
    """Return seeded inputs of a length, those that are free of another."""
    return {
        entry.name: entry.noise(other if entry.name in free else length, seed + place)
        for place, entry in enumerate(inputs)
    }


class Keys:
    """Tells constants and nodes apart by what they hold, not by who they are."""

    def __init__(self) -> None:
        self.known: dict[ir.Value, Hashable] = {}

    def constant(self, value: ir.Value) -> Hashable:
        """Return a key that equal constants share."""
        if value not in self.known:
            array = constant_of(value)
            assert array is not None  # noqa: S101 - asked of constants alone
            digest = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()
            self.known[value] = ("constant", array.dtype.str, array.shape, digest)
        return self.known[value]

    def op(self, node: ir.Node) -> Hashable:
        """Return a key that nodes of the same op and the same attributes share.

        How much of what a recurrent op can give is read, at the last step say, makes it no other op.
        """
        return (
            node.domain,
            node.op_type,
            None if node.op_type in RECURRENT else len(node.outputs),
            tuple(sorted(map(self._attribute, node.attributes.items()))),
        )

    @staticmethod
    def _attribute(item: tuple[str, ir.Attr]) -> tuple[str, str]:
        name, attribute = item
        value = attribute.value
        if attribute.type == ir.AttributeType.TENSOR:
            value = (str(value.dtype), tuple(value.shape), value.numpy().tobytes())
        elif attribute.type == ir.AttributeType.GRAPH:
            value = id(value)
        return name, repr(value)


def _constant(graph: ir.Graph, value: ir.Value, array: Array) -> None:
    """Put a constant in a value's place, under its name."""
    name, value.name = f"{value.name}", f"{value.name}.computed"
    constant = ir.Value(name=name, const_value=ir.tensor(array, name=name), shape=value.shape, type=value.type)
    graph.register_initializer(constant)
    value.replace_all_uses_with(constant)


def _simplify(graph: ir.Graph) -> None:
    """Take out what changes nothing and what was computed before, in the nodes' order."""
    keys = Keys()
    seen: dict[Hashable, ir.Node] = {}
    for node in graph:
        unchanged = _unchanged(node)
        if unchanged is not None and not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(unchanged)  # 3
            continue
        if node.op_type.startswith("Random") or any(output.is_graph_output() for output in node.outputs):
            continue
        inputs = tuple(v if v is None or v.const_value is None else keys.constant(v) for v in node.inputs)
        twin = seen.setdefault((keys.op(node), len(node.outputs), inputs), node)
        if twin is not node:
            for output, same in zip(node.outputs, twin.outputs, strict=True):
                output.replace_all_uses_with(same)  # 4


def _unchanged(node: ir.Node) -> ir.Value | None:
    """Return the input that a node's output always equals, or None."""
    value, output = node.inputs[0] if node.inputs else None, node.outputs[0]
    if value is None or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Where":
        condition = constant_of(value)
        if condition is None or condition.all() != condition.any():
            return None
        chosen = node.inputs[1 if condition.all() else 2]
        return chosen if chosen is not None and chosen.shape == output.shape else None
    alone = node.op_type in ("Identity", "Concat") and len(node.inputs) == 1
    same = value.shape is not None and value.shape == output.shape
    cast = node.op_type in ("Cast", "CastLike") and value.dtype == output.dtype
    whole = node.op_type == "Slice" and same and _forward(node)
    return value if alone or cast or whole or (same and node.op_type in SAME_SHAPE) else None


def _forward(node: ir.Node) -> bool:
    steps = node.inputs[4] if len(node.inputs) > 4 else None  # noqa: PLR2004 - Slice's fifth input
    content = constant_of(steps)
    return steps is None or (content is not None and bool((np.asarray(content, np.int64) > 0).all()))
