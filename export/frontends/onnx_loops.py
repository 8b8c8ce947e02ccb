"""Scan and Loop for ONNX's reference evaluator.

1. Its Scan knows axis 0 alone.
2. Its Loop stacks what rounds give with vstack, which is wrong for all but vectors and rows, lets values from outside
   hide those carried by the same name, and hands a loop without a trip count no number of the round.
3. Thousands of rounds node by node in Python take long. They run in onnxruntime instead, where it gives what the
   reference gives for the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference.op_run import OpRun

from export.graph import Array, session

COMPARED = 24
"""Rounds on which onnxruntime is held against the reference."""
MANY = 100
"""Rounds from which on it is worth that."""
Outside = Mapping[str, Any]


class _Rounds(OpRun):
    """What Scan and Loop share: a body that is run again and again."""

    op_domain = ""
    body: Any
    quick: Any = None
    """This node alone in onnxruntime; None where that has not been tried, False where it differs."""

    def need_context(self) -> bool:
        """Say that the body may read values from outside."""
        return True

    def _outside(self, context: Outside | None) -> dict[str, Any]:
        """Return what the body may read from outside: no more than it reads, since each round copies it."""
        if not hasattr(self, "_wanted"):
            self._wanted = _named(self.body.proto_)
        return {name: value for name, value in (context or {}).items() if name in self._wanted}

    def _round(self, outside: Outside, entering: Items[Any]) -> list[Any]:
        feeds = {**outside, **dict(zip(self.body.input_names, entering, strict=True))}
        return list(self.body.run(None, feeds))

    def _quickly(
        self, args: Items[Any], first: Items[Any], outside: Outside, slowly: Callable[[Items[Any]], tuple[Any, ...]]
    ) -> tuple[Any, ...]:
        """Run all rounds in onnxruntime (3), or slowly where it cannot or differs in the first ones."""
        try:
            if self.quick is None:
                self.quick = _alone(self.onnx_node, self.run_params["opsets"], (args, first), outside)
                pairs = zip(self._run_alone(first, outside), slowly(first), strict=True)
                if not all(np.allclose(ours, theirs, rtol=1e-9, atol=1e-12) for ours, theirs in pairs):
                    self.quick = False
            if self.quick:
                return self._run_alone(args, outside)
        except Exception:  # noqa: BLE001 - onnxruntime lacks some ops in float64, and says so in many ways
            self.quick = False
        return slowly(args)

    def _run_alone(self, args: Items[Any], outside: Outside) -> tuple[Any, ...]:
        feeds = {**outside, **{name: value for name, value in zip(self.onnx_node.input, args, strict=True) if name}}
        wanted = {entry.name for entry in self.quick.get_inputs()}
        results = self.quick.run(None, {name: np.asarray(value) for name, value in feeds.items() if name in wanted})
        return tuple(results)


class Scan(_Rounds):
    """ONNX Scan on any axes and in both directions (1)."""

    def _run(self, *args: Any, context: Outside | None = None, **given: Any) -> tuple[Any, ...]:
        count, outside = given["num_scan_inputs"], self._outside(context)
        axes = given.get("scan_input_axes") or [0] * count
        scanned = args[len(args) - count :]

        def slowly(args: Items[Any]) -> tuple[Any, ...]:
            return self._slowly(args, axes, outside, given)

        if scanned[0].shape[axes[0]] < MANY:
            return slowly(args)
        cut = [np.take(x, range(COMPARED), axis) for x, axis in zip(scanned, axes, strict=True)]
        return self._quickly(args, (*args[: len(args) - count], *cut), outside, slowly)

    def _slowly(
        self, args: Items[Any], axes: Items[int], outside: Outside, given: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        count = len(axes)
        states, scanned = list(args[: len(args) - count]), args[len(args) - count :]
        backwards = given.get("scan_input_directions") or [0] * count
        lines = [
            np.flip(np.moveaxis(x, axis, 0), 0) if back else np.moveaxis(x, axis, 0)
            for x, axis, back in zip(scanned, axes, backwards, strict=True)
        ]
        rows: list[list[Array]] = [[] for _ in self.body.output_names[len(states) :]]
        for entries in zip(*lines, strict=True):
            results = self._round(outside, [*states, *entries])
            states, parts = results[: len(states)], results[len(states) :]
            for row, part in zip(rows, parts, strict=True):
                row.append(np.asarray(part))
        out_axes = given.get("scan_output_axes") or [0] * len(rows)
        backwards = given.get("scan_output_directions") or [0] * len(rows)
        stacked = [
            np.stack(row[::-1] if back else row, axis)
            for row, axis, back in zip(rows, out_axes, backwards, strict=True)
        ]
        return (*states, *stacked)


class Loop(_Rounds):
    """ONNX Loop (2)."""

    def _run(self, *args: Any, context: Outside | None = None, **_: Any) -> tuple[Any, ...]:
        trip, outside = args[0], self._outside(context)
        if trip is None or int(np.squeeze(trip)) < MANY:
            return self._slowly(args, outside)
        first = (np.full_like(trip, COMPARED), *args[1:])
        return self._quickly(args, first, outside, lambda args: self._slowly(args, outside))

    def _slowly(self, args: Items[Any], outside: Outside) -> tuple[Any, ...]:
        trip, condition, *carried = args
        rows: list[list[Array]] = [[] for _ in self.body.output_names[1 + len(carried) :]]
        going, number = condition is None or bool(np.all(condition)), 0
        while going and (trip is None or number < int(np.squeeze(trip))):
            results = self._round(outside, [np.array(number, np.int64), np.array(going), *carried])
            going, carried, parts = bool(np.all(results[0])), results[1 : 1 + len(carried)], results[1 + len(carried) :]
            for row, part in zip(rows, parts, strict=True):
                row.append(np.asarray(part))
            number += 1
        return (*carried, *(np.stack(row) for row in rows))


OPS: list[type[OpRun]] = [Scan, Loop]


def _alone(node: onnx.NodeProto, opsets: Mapping[str, int], runs: Items[Items[Any]], outside: Outside) -> Any:
    """Open one node as a model, everything that it reads being an input. runs: what it reads in two runs."""
    known = [
        {**outside, **{name: value for name, value in zip(node.input, args, strict=True) if name}} for args in runs
    ]
    inputs = []
    for name, value in known[0].items():
        if not name:
            continue
        kind = helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype)
        # A Scan's states keep their shapes, and onnxruntime wants to know them; a Loop's may grow.
        dims = zip(np.shape(value), np.shape(known[1][name]), strict=True)
        shape = [one if one == other else None for one, other in dims] if node.op_type == "Scan" else None
        inputs.append(helper.make_tensor_value_info(name, kind, shape))
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    graph = helper.make_graph([node], "alone", inputs, outputs)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return session(helper.make_model(graph, opset_imports=imports, ir_version=10))


def read_by(node: onnx.NodeProto) -> set[str]:
    """Return all names that a node reads, in its bodies too, some of which are given there."""
    return set(node.input).union(*(_named(attribute.g) for attribute in node.attribute if attribute.HasField("g")))


def _named(graph: onnx.GraphProto) -> set[str]:
    """Return all names that a graph and the graphs within it read."""
    return {value.name for value in graph.output}.union(*(read_by(node) for node in graph.node))
