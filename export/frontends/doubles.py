"""An ONNX model in float64: ONNX's own reference evaluator on a copy with all float32 made float64.

ONNX's evaluator is a plain reading of the specification, but not of all of it. Given here anew:

1. RNN: it knows tanh alone.
2. Scan: it knows axis 0 alone.
3. Loop: it stacks what rounds give with vstack, which is wrong for all but vectors and rows, lets values from outside
   hide those carried by the same name, and hands a loop without a trip count no number of the round.
4. MaxPool and AveragePool (pools.py): strides together with padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Items
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_rnn import RNN_14

from export.frontends.pools import POOLS
from export.graph import Array


def evaluator(model: onnx.ModelProto) -> ReferenceEvaluator:
    """Return a float64 engine of a float32 model. Raises whatever onnx raises where the model has no meaning in it."""
    return ReferenceEvaluator(doubled(model), new_ops=[RNN, Scan, Loop, *POOLS])


def doubled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with all its float32 weights, inputs, constants and casts in float64."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _double_graph(copy.graph)
    for function in copy.functions:
        _double_nodes(function.node)
    return copy


class RNN(RNN_14):
    """ONNX's own reference of the op knows tanh alone (1)."""

    op_domain = ""

    def choose_act(self, name: str, alpha: float | None, beta: float | None) -> Any:
        """Return an activation function by its ONNX name."""
        return (lambda x: np.maximum(x, 0)) if name == "Relu" else super().choose_act(name, alpha, beta)  # type: ignore[no-untyped-call]


class _Rounds(OpRun):
    """What Scan and Loop share: a body that is run again and again."""

    op_domain = ""
    body: Any

    def need_context(self) -> bool:
        """Say that the body may read values from outside."""
        return True

    def _outside(self, context: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the body may read from outside: no more than it reads, since each round copies it."""
        if not hasattr(self, "_wanted"):
            self._wanted = _named(self.body.proto_)
        return {name: value for name, value in (context or {}).items() if name in self._wanted}

    def _round(self, outside: Mapping[str, Any], entering: Items[Any]) -> list[Any]:
        feeds = {**outside, **dict(zip(self.body.input_names, entering, strict=True))}
        return list(self.body.run(None, feeds))


class Scan(_Rounds):
    """ONNX Scan on any axes and in both directions (2)."""

    def _run(self, *args: Any, context: Mapping[str, Any] | None = None, **given: Any) -> tuple[Any, ...]:
        count = given["num_scan_inputs"]
        states, scanned = list(args[: len(args) - count]), args[len(args) - count :]
        axes = given.get("scan_input_axes") or [0] * count
        backwards = given.get("scan_input_directions") or [0] * count
        lines = [
            np.flip(np.moveaxis(x, axis, 0), 0) if back else np.moveaxis(x, axis, 0)
            for x, axis, back in zip(scanned, axes, backwards, strict=True)
        ]
        rows: list[list[Array]] = [[] for _ in self.body.output_names[len(states) :]]
        outside = self._outside(context)
        for entries in zip(*lines, strict=True):
            results = self._round(outside, [*states, *entries])
            states, parts = results[: len(states)], results[len(states) :]
            for row, part in zip(rows, parts, strict=True):
                row.append(np.asarray(part))
        axes = given.get("scan_output_axes") or [0] * len(rows)
        backwards = given.get("scan_output_directions") or [0] * len(rows)
        stacked = [
            np.stack(row[::-1] if back else row, axis) for row, axis, back in zip(rows, axes, backwards, strict=True)
        ]
        return (*states, *stacked)


class Loop(_Rounds):
    """ONNX Loop (3)."""

    def _run(self, *args: Any, context: Mapping[str, Any] | None = None, **_: Any) -> tuple[Any, ...]:
        trip, condition, *carried = args
        rows: list[list[Array]] = [[] for _ in self.body.output_names[1 + len(carried) :]]
        going, number, outside = condition is None or bool(np.all(condition)), 0, self._outside(context)
        while going and (trip is None or number < int(np.squeeze(trip))):
            results = self._round(outside, [np.array(number, np.int64), np.array(going), *carried])
            going, carried, parts = bool(np.all(results[0])), results[1 : 1 + len(carried)], results[1 + len(carried) :]
            for row, part in zip(rows, parts, strict=True):
                row.append(np.asarray(part))
            number += 1
        return (*carried, *(np.stack(row) for row in rows))


def read_by(node: onnx.NodeProto) -> set[str]:
    """Return all names that a node reads, in its bodies too, some of which are given there."""
    return set(node.input).union(*(_named(attribute.g) for attribute in node.attribute if attribute.HasField("g")))


def _named(graph: onnx.GraphProto) -> set[str]:
    """Return all names that a graph and the graphs within it read."""
    return {value.name for value in graph.output}.union(*(read_by(node) for node in graph.node))


def _double_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _double_tensor(tensor)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        _double_type(value.type)
    _double_nodes(graph.node)


def _double_nodes(nodes: Items[onnx.NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _double_tensor(attribute.t)
            if attribute.HasField("g"):
                _double_graph(attribute.g)
            typed = (node.op_type, attribute.name) in (("Cast", "to"), ("SequenceEmpty", "dtype"))
            if typed and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, np.float64))
            node.attribute.append(helper.make_attribute("value", zero))
        if node.op_type == "SequenceEmpty" and not node.attribute:
            node.attribute.append(helper.make_attribute("dtype", TensorProto.DOUBLE))


def _double_type(kind: onnx.TypeProto) -> None:
    if kind.HasField("sequence_type"):
        _double_type(kind.sequence_type.elem_type)
    elif kind.tensor_type.elem_type == TensorProto.FLOAT:
        kind.tensor_type.elem_type = TensorProto.DOUBLE


def _double_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
