"""Writes the ops of a float Program one by one, and sees to it that views cost nothing.

1. A reshape of a reshape is one; a reshape to the shape that its source has is its source.
2. An elementwise op on tensors that are all views of tensors of one shape works on those, and its result is viewed.
3. Shapes and types of results are what the NumPy form of the op gives on ones: no rule for them stands twice.
4. What is computed of the source's length is known, as it is for one example, but is no constant: other lengths come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, constant_of, sizes
from export.operations import FLOAT
from export.program import Array, Op, Program, ProgramInput, ProgramState, Shape


class Builder:
    """`names` says as which tensor of the Program a value of the graph was written.

    example: which of the two that there are of what is held. growing: the tensors whose shape differs between them.
    scaling: whether constant factors may be multiplied into weights.
    """

    def __init__(
        self, stream: StreamGraph, example: int = 0, growing: Collection[str] = (), *, scaling: bool = True
    ) -> None:
        self.stream = stream
        self.scaling = scaling
        self.growing = growing
        self.names: dict[ir.Value, str] = {}
        self._views: dict[str, str] = {}
        self._contents: dict[str, Array] = {}
        self._sized: dict[str, Array] = {}
        inputs, start = [], 0
        for value, entry in zip(stream.inputs, stream.frames, strict=True):
            columns = slice(start, start + entry.features)
            shape = tuple(entry.shaped(stream.frames_per_step))
            inputs.append(ProgramInput(str(value.name), shape, entry.time_axis, columns, entry.dtype))
            start += entry.features
        self.program = Program(inputs, stream.frames_per_step)
        for value, given in zip(stream.inputs, inputs, strict=True):
            self._enter(value, given.shape, given.dtype)
        for value in stream.graph.inputs:
            name = str(value.name)
            if name in stream.held:
                self._enter(value, stream.held[name][example].shape, stream.held[name][example].dtype.name)
                self.program.held.append(name)
        for state in stream.states:
            self._enter(state.input, state.initial.shape, state.initial.dtype.name)

    def _enter(self, value: ir.Value, shape: Shape, dtype: str) -> None:
        self.names[value] = str(value.name)
        self.program.shapes[str(value.name)] = shape
        if dtype != "float32":
            self.program.dtypes[str(value.name)] = dtype

    def finished(self) -> Program:
        """Return the Program, without what nothing reads."""
        program = self.program
        program.outputs = [self.named(value) for value in self.stream.outputs]
        for state in self.stream.states:
            leaving = self.view(self.named(state.output), state.initial.shape)
            program.states.append(ProgramState(state.name, str(state.input.name), leaving, state.initial, state.held))
        program.pruned()
        return program

    def shape(self, name: str) -> Shape:
        """Return a tensor's shape."""
        return self.program.shapes[name]

    def content(self, name: str) -> Array | None:
        """Return what a constant tensor holds; None for any other."""
        return self._contents.get(name)

    def sized(self, value: ir.Value | None) -> Array | None:
        """Return what a value that hangs on the source's length alone is for this one (4); None for any other."""
        return self._sized.get(self.names[value]) if value in self.names else None

    def fixed_content(self, value: ir.Value | None) -> Array | None:
        """Return what a value holds, be it that it was computed of constants; None where it depends on anything."""
        content = constant_of(value)
        return self._contents.get(self.names[value]) if content is None and value in self.names else content

    def named(self, value: ir.Value) -> str:
        """Return a value's tensor; a constant is written when it is first read."""
        if value not in self.names:
            content = constant_of(value)
            if content is None:
                raise node_error(str(value.name), "Constant", "nothing gives this value.")
            self.names[value] = self.constant(str(value.name), content)
        return self.names[value]

    def read(self, node: ir.Node, place: int) -> str:
        """Return the tensor of a node's input. Raises ExportError where it is left out."""
        value = node.inputs[place] if place < len(node.inputs) else None
        if value is None:
            raise node_error(str(node.name), node.op_type, f"its input {place} is missing.")
        return self.named(value)

    def fixed(self, node: ir.Node, place: int) -> Array | None:
        """Return a constant input's content, None where it is left out. Raises ExportError where it is no constant."""
        value = node.inputs[place] if place < len(node.inputs) else None
        if value is None:
            return None
        content = self.fixed_content(value)
        content = self.sized(value) if content is None else content
        if content is None:
            raise node_error(
                str(node.name), node.op_type, f"its input '{value.name}' is not a constant; export float32 alone."
            )
        return content

    def set(self, node: ir.Node, name: str, place: int = 0) -> None:
        """Say which tensor is a node's output, in the shape that the graph gives it."""
        self.names[node.outputs[place]] = name

    def constant(self, name: str, content: Array) -> str:
        """Write a constant."""
        name = self.program.new_name(name)
        self._contents[name] = content
        return self.program.emit(
            Op("Constant", name, node=name, arrays={"value": content}), content.shape, content.dtype.name
        )

    def emit(
        self,
        kind: str,
        name: str,
        *sources: str,
        attributes: dict[str, Any] | None = None,
        arrays: dict[str, Array] | None = None,
        node: str = "",
    ) -> str:
        """Write an op and return its output; of constants alone the result is a constant."""
        op = Op(kind, self.program.new_name(name), sources, node or name, attributes or {}, arrays or {})
        known = [self._contents.get(source, self._sized.get(source)) for source in sources]
        ones = [
            _filled(content, self.shape(source), self.program.dtypes.get(source, "float32"))
            for content, source in zip(known, sources, strict=True)
        ]
        with np.errstate(all="ignore"):
            result = np.asarray(FLOAT[kind](op, *ones))
        if sources and all(source in self._contents for source in sources):
            return self.constant(name, result[0])
        if kind == "Shape" or (sources and all(content is not None for content in known)):
            self._sized[op.output] = result[0]  # 4
        return self.program.emit(op, result.shape[1:], result.dtype.name)  # 3

    def view(self, name: str, shape: Shape) -> str:
        """Return a tensor in another shape of as many numbers."""
        root = self._views.get(name, name)
        if self.shape(root) == tuple(shape):
            return root  # 1
        if root in self._contents:
            return self.constant(root, self._contents[root].reshape(shape))
        viewed = self.emit("Reshape", f"{root}.view", root, attributes={"shape": tuple(shape)})
        self._views[viewed] = root
        return viewed

    def root(self, name: str) -> str:
        """Return the tensor that a view is of."""
        return self._views.get(name, name)

    def opposite(self, name: str) -> str | None:
        """Return the condition that a condition, or what it is a view of, is the opposite of; None where it is none."""
        root = self.root(name)
        made = next((op for op in self.program.ops if op.output == root), None)
        return self.view(made.inputs[0], self.shape(name)) if made is not None and made.kind == "Not" else None

    def elementwise(self, kind: str, name: str, *sources: str, **attributes: Any) -> str:
        """Write an op whose inputs are broadcast to one shape."""
        shape = np.broadcast_shapes(*map(self.shape, sources))
        data = [source for source in sources if source not in self._contents]
        roots = {self.shape(self.root(source)) for source in data}
        if len(roots) == 1 and all(math.prod(self.shape(source)) == math.prod(shape) for source in data):
            work = roots.pop()  # 2
            read = [self._spread(s, shape, work) if s in self._contents else self.root(s) for s in sources]
            return self.view(self.emit(kind, name, *read, attributes=attributes), shape)
        read = [self.view(s, (1,) * (len(shape) - len(self.shape(s))) + self.shape(s)) for s in sources]
        return self.emit(kind, name, *read, attributes=attributes)

    def _spread(self, name: str, shape: Shape, work: Shape) -> str:
        """Return a constant that is broadcast to `shape` so that it fits what is of the shape `work` instead."""
        content = self._contents[name]
        if content.size == 1:
            return self.view(name, (1,) * len(work))
        if shape and work and shape[-1] == work[-1] and content.size == content.shape[-1]:
            return self.view(name, (*(1,) * (len(work) - 1), content.size))
        if content.size == math.prod(shape):
            return self.view(name, work)
        return self.constant(name, np.ascontiguousarray(np.broadcast_to(content, shape)).reshape(work))


Rule = Callable[[Builder, ir.Node], None]


def dims(builder: Builder, node: ir.Node, place: int = 0) -> Shape:
    """Return the shape of a node's input."""
    return builder.shape(builder.read(node, place))


def declared(value: ir.Value) -> Shape:
    """Return a value's shape as the graph has it."""
    return tuple(sizes(value))


def _filled(content: Array | None, shape: Shape, dtype: str) -> Array:
    """Return what shapes are found with: ones, but zeros for what may be a place or a condition."""
    if content is not None:
        return content[None]
    return np.full((1, *shape), 1 if dtype.startswith("float") else 0, dtype)
