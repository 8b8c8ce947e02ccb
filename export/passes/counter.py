"""Positions computed from the clock: the ops that made them from a count of steps are put to work on the clock's.

1. A value that is a whole number of steps times the row's number, plus a start, is the count: the clock takes its place
   as int64, so it never rounds.
2. Ops on each row by itself are copied behind it, in float64.
3. Between the count and the result must lie a function that is bounded, or the result would outgrow any number.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.graph import Array, StreamGraph, constant_of
from export.passes import buffers, original, pairs
from export.passes.pointwise import ELEMENTWISE

BOUNDED = {"Sin", "Cos", "Sigmoid", "Tanh", "Mod", "Softsign", "Erf", "Clip", "HardSigmoid", "Sign"}
ROWWISE = ELEMENTWISE | {
    "Concat",
    "Unsqueeze",
    "Squeeze",
    "Transpose",
    "MatMul",
    "Expand",
    "Reshape",
    "Slice",
    "Gather",
}
HALF_TURN = np.pi / 2


def computed(  # noqa: PLR0917
    stream: StreamGraph, before: ir.Node, value: ir.Value, axis: int, at: ir.Value, count: int
) -> ir.Value | str:
    """Return the rows `at` int64[count], as the type they have in the original; or why they cannot be computed."""
    copy = _Copy(stream, before, at, count)
    try:
        result, bounded = copy.value(value, axis)
    except _NotComputedError as cause:
        return str(cause)
    if not bounded:
        return "and grow with the count of steps"
    kind = value.type.dtype if value.type is not None else ir.DataType.FLOAT
    return buffers.emit(stream, before, "Cast", [result], to=int(kind)) if kind == ir.DataType.FLOAT else result


class _NotComputedError(Exception):
    """Why positions cannot be computed from the clock."""


class _Copy:
    """Copies the ops that made a value, with the clock in the place of the count."""

    def __init__(self, stream: StreamGraph, before: ir.Node, at: ir.Value, count: int) -> None:
        self.stream, self.before, self.at, self.count = stream, before, at, count
        self.done: dict[ir.Value, tuple[ir.Value, bool]] = {}

    def value(self, value: ir.Value, axis: int) -> tuple[ir.Value, bool]:
        """Return the copy of a value whose time axis is given, and whether it is bounded."""
        if value not in self.done:
            self.done[value] = self._copied(value, axis)
        return self.done[value]

    def _copied(self, value: ir.Value, axis: int) -> tuple[ir.Value, bool]:
        counted = self._count(value, axis)
        if counted is not None:
            return counted, False
        node = value.producer()
        if node is None or node.op_type not in ROWWISE:
            raise _NotComputedError(f"since '{node.name if node else value.name}' is no function of one step's count")
        inputs = [self._input(node, number, entering) for number, entering in enumerate(node.inputs)]
        leaving = self._emit(node, [entering for entering, _ in inputs if entering is not None])
        return leaving, node.op_type in BOUNDED or all(bounded for _, bounded in inputs)

    def _input(self, node: ir.Node, number: int, entering: ir.Value | None) -> tuple[ir.Value | None, bool]:
        if entering is None:
            return None, True
        axes = self.stream.sized.get(entering)
        content = constant_of(entering)
        if axes is None:
            shape_only = node.op_type in ("Reshape", "Expand") and number == 1
            if content is None and not shape_only:
                raise _NotComputedError(f"since '{node.name}' reads the number of steps")
            array = self._shape(node) if shape_only else np.asarray(content)
            wide = array.astype(np.float64) if array.dtype == np.float32 else array
            return self.stream.constant("wide", wide), True
        if len(axes) > 1:
            raise _NotComputedError(f"since '{node.name}' works over two times")
        if node.op_type in ("Gather", "Slice") and (number > 0 or not self._off_time(node, axes[0])):
            raise _NotComputedError(f"as '{node.name}' reads them from a table")
        if node.op_type in ("Concat", "MatMul") and pairs.follow(self.stream, node, number, axes[0]) is None:
            raise _NotComputedError(f"as '{node.name}' sums over time")
        return self.value(entering, axes[0])

    @staticmethod
    def _off_time(node: ir.Node, axis: int) -> bool:
        rank = pairs.rank_of(node.inputs[0]) if node.inputs[0] is not None else 0
        if node.op_type == "Gather":
            return "axis" in node.attributes and node.attributes["axis"].as_int() % rank != axis
        axes = constant_of(node.inputs[3]) if len(node.inputs) > 3 else None  # noqa: PLR2004 - Slice's fourth input
        return axes is not None and all(int(a) % rank != axis for a in axes.reshape(-1))

    def _shape(self, node: ir.Node) -> Array:
        """Return the shape that a Reshape or Expand gives, with this step's count of rows."""
        shape = node.outputs[0].shape
        if shape is None:
            raise _NotComputedError(f"since the shape of '{node.name}' is not known")
        return np.array([dim if isinstance(dim, int) else self.count for dim in shape], np.int64)

    def _count(self, value: ir.Value, axis: int) -> ir.Value | None:
        """Return the clock's count in the place of a value that is one (1)."""
        content = original.content(self.stream, value, self.stream.probed[1])
        flat = content.astype(np.float64).reshape(-1) if content.dtype.kind in "fiu" else np.zeros(0)
        if len(flat) != content.shape[axis] or len(flat) < 2:  # noqa: PLR2004 - a slope takes two
            return None
        start, slope = flat[0], flat[1] - flat[0]
        whole = float(start).is_integer() and float(slope).is_integer() and slope
        if not whole or not np.array_equal(flat, start + slope * np.arange(len(flat))):
            return None
        shape = [self.count if place == axis else 1 for place in range(content.ndim)]
        count = self._op("Mul", [self.at, self.stream.constant("slope", np.array([int(slope)], np.int64))])
        count = self._op("Add", [count, self.stream.constant("start", np.array([int(start)], np.int64))])
        count = self._op("Reshape", [count, self.stream.constant("count.shape", np.array(shape, np.int64))])
        if content.dtype.kind == "f":
            count = buffers.emit(self.stream, self.before, "Cast", [count], to=int(ir.DataType.DOUBLE))
        return count

    def _op(self, op_type: str, inputs: list[ir.Value]) -> ir.Value:
        return buffers.emit(self.stream, self.before, op_type, inputs)

    def _emit(self, node: ir.Node, inputs: list[ir.Value]) -> ir.Value:
        """Copy one node (2)."""
        if node.op_type == "Cos":
            # onnxruntime has no cosine in float64.
            quarter = self.stream.constant("quarter", np.array(HALF_TURN, np.float64))
            return self._op("Sin", [self._op("Add", [inputs[0], quarter])])
        copy = ir.node(node.op_type, inputs, domain=node.domain)
        for name, attribute in node.attributes.items():
            wide = node.op_type == "Cast" and name == "to" and attribute.as_int() == ir.DataType.FLOAT
            copy.attributes[name] = ir.AttrInt64("to", int(ir.DataType.DOUBLE)) if wide else attribute
        copy.name = self.stream.new_name(f"clock.{node.op_type.lower()}")
        copy.outputs[0].name = self.stream.new_name(f"{copy.name}.y")
        self.stream.graph.insert_before(self.before, copy)
        return copy.outputs[0]
