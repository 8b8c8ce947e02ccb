"""What the forms of all ops write with: tensors in the shape and the order of axes that an op wants, constants, views.

1. A tensor is held in the shape in which it was made; RESHAPE is written when an op reads it in another, once.
2. Ops see four axes, with ones in front. Beyond four, an elementwise op works on all numbers in a row: tflite-runtime
   2.14 aborts the process where comparisons, 16-bit or 64-bit products of five axes are broadcast.
3. A convolution's result is held with its channels last, and turned where an op needs the order of the graph: between
   convolutions with elementwise ops in between, nothing is turned.
4. A length that grows with the source is left open in shapes, and inferred in a view, where it is the only one.
5. Tensors are called as in the Program, weights by their product. Those between the ops of a form, and what stands for
   another tensor in other numbers, are called by their op; other constants of an op by what they are to it: `bias`.
   Most tensors of a small file are of these, and equal names stand in it once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from export.errors import ExportError, node_error
from export.program import Array, Op, Program, Shape, Type, grows
from export.writers.tflite.file import File, signature
from export.writers.tflite.magnitudes import magnitudes
from export.writers.tflite.versions import PLAIN_RANK

Kind = str | Type
Form = Callable[["Writer", Op], int]
"""Writes an op and returns the tensor of its result."""
CONVERSIONS = {"Quantize", "Requantize", "Dequantize"}
DTYPES = {"float32", "int64", "int32", "bool"}
WIDEST = 6
"""Axes up to which TRANSPOSE and BROADCAST_TO go in both runtimes."""


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape that shapes are stretched to, as NumPy does; what grows goes on growing."""
    rank = max(map(len, shapes))
    columns = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in columns)


class Writer:
    """`at` holds the file's tensor of every Program tensor that has been written, in whatever shape.

    magnitudes: how far from zero the values of each lie at most.
    """

    def __init__(self, program: Program, forms: Mapping[str, Form], storage: str = "") -> None:
        self.program, self._forms, self.storage = program, forms, storage
        self.file = File()
        self.at: dict[str, int] = {}
        self.constants, self.readers = program.constants(), program.readers()
        self.magnitudes = magnitudes(program)
        self._left: set[int] = set()
        self._views: dict[tuple[int, Shape], int] = {}
        self._roots: dict[int, int] = {}
        self._weights: dict[int, str] = {}
        self._turned: dict[int, tuple[int, tuple[int, ...]]] = {}

    def weight_name(self, op: Op) -> str:
        """Return a product's weight's name: one for all products of the same weights, which stand there once."""
        return self._weights.setdefault(id(op.arrays["weight"]), f"{op.output}.weight")

    def write(self, outputs: Sequence[str]) -> bytes:
        """Return the file; outputs: the names under which the Program's leave."""
        program = self.program
        inputs = {entry.name: self._enter(entry.name, entry.name) for entry in program.inputs}
        inputs |= {name: self._enter(name, name) for name in program.held}
        inputs |= {f"{state.title}.in": self._enter(f"{state.title}.in", state.input) for state in program.states}
        for op in program.ops:
            if op.kind != "Constant":
                self._op(op)
        leaving = [*zip(outputs, program.outputs, strict=True)]
        leaving += [(f"{state.title}.out", state.output) for state in program.states]
        return self.file.packed("step", inputs, {title: self._leave(title, name) for title, name in leaving})

    def _op(self, op: Op) -> None:
        form = self._forms.get(op.kind)
        if form is None:
            raise self.refusal(op, "TFLite has no form of it yet.")
        for name in (op.output, *op.inputs):
            if name not in self.program.types and self.program.dtype(name) not in DTYPES:
                raise self.refusal(op, f"TFLite has it not for {self.program.dtype(name)}.")
        written = len(self.file.tensors)
        self._writing = op
        self.at[op.output] = form(self, op)
        converted = op.kind in CONVERSIONS and op.output.startswith(f"{op.inputs[0]}.")
        if self.at[op.output] >= written and not converted:
            self.file.rename(self.at[op.output], op.output)  # 5

    def refusal(self, op: Op, reason: str) -> ExportError:
        """Return what to raise for an op that cannot be written."""
        return node_error(op.node, op.kind, reason)

    def kind(self, name: str) -> Kind:
        """Return how a Program tensor is stored."""
        return self.program.types.get(name) or self.program.dtype(name)

    def _enter(self, title: str, name: str) -> int:
        self.at[name] = self.file.tensor(title, self.program.shapes[name], self.kind(name))
        return self.at[name]

    def _leave(self, title: str, name: str) -> int:
        """Let a tensor leave under its title, in its own shape: as it is, unless it entered or leaves elsewhere too."""
        shape = self.program.shapes[name]
        if grows(shape) > 1:
            raise ExportError(f"'{title}' leaves with several lengths that grow with the source; TFLite infers one.")
        held = self.at.get(name, -1)
        if held in self.file.computed - self._left and self.shape(held) == shape:
            self._left.add(held)
            self.file.rename(held, title)
            return held
        index = self.file.tensor(title, shape, self.kind(name))
        if not shape:  # an empty list of sizes would not count as a constant
            return self.file.op("SQUEEZE", [self.read(name)], index, "SqueezeOptions", squeezeDims=[0, 1, 2, 3])
        return self._reshape(self.now(name), index)

    def _reshape(self, source: int, target: int) -> int:
        return self.file.op("RESHAPE", [source], target, "ReshapeOptions", newShape=signature(self.shape(target)))

    def shape(self, index: int) -> Shape:
        """Return the shape of a tensor of the file."""
        return self.file.tensors[index].shape

    def plain(self, shape: Shape) -> Shape:
        """Return a shape with ones in front up to four axes, and none in front beyond (2)."""
        wide = shape
        while len(wide) > PLAIN_RANK and wide[0] == 1:
            wide = wide[1:]
        return (1,) * (PLAIN_RANK - len(wide)) + wide

    def now(self, name: str) -> int:
        """Return a Program tensor in the shape that it is held in."""
        if name not in self.at:
            return self.read(name)
        return self.at[name]

    def read(self, name: str, shape: Shape | None = None) -> int:
        """Return a Program tensor in a shape, the plain one where none is given (1)."""
        wanted = self.plain(self.program.shapes[name]) if shape is None else shape
        if name in self.at:
            return self.view(self.at[name], wanted)
        content, kind = self.constants[name].reshape(wanted), self.program.types.get(name)
        key = ".".join((name, "x".join(map(str, wanted))))
        return self.file.constant(key, content if kind is None else content.astype(kind.dtype), kind, name)

    def view(self, index: int, shape: Shape) -> int:
        """Return a tensor in another shape of as many numbers (1)."""
        index = self._roots.get(index, index)
        if self.shape(index) == shape:
            return index
        key = index, shape
        if key not in self._views and grows(shape) > 1:
            self._views[key] = self._with_axes(index, shape)
            self._roots[self._views[key]] = index
        elif key not in self._views:
            target = self.file.tensor("reshape", shape, self.file.tensors[index].dtype)
            self._views[key] = self._reshape(index, target)
            self._roots[target] = index
        return self._views[key]

    def _with_axes(self, index: int, shape: Shape) -> int:
        """Return a tensor with other axes of one entry: no RESHAPE infers several lengths (4)."""
        ones = [axis for axis, size in enumerate(self.shape(index)) if size == 1]
        bare = tuple(size for size in shape if size != 1)
        if bare != tuple(size for size in self.shape(index) if size != 1):
            raise self.refusal(self._writing, "its views have several lengths that grow with the source.")
        if ones:
            index = self.emit("SQUEEZE", [index], "SqueezeOptions", shape=bare, squeezeDims=ones)
        for axis, size in enumerate(shape):
            if size == 1:
                wider = (*self.shape(index)[:axis], 1, *self.shape(index)[axis:])
                index = self.emit("EXPAND_DIMS", [index, self.numbers(axis)], "ExpandDimsOptions", shape=wider)
        return index

    def turned(self, index: int, perm: tuple[int, ...]) -> int:
        """Return a tensor with its axes in another order (3)."""
        shape = self.shape(index)
        target = tuple(shape[axis] for axis in perm)
        wide = [axis for axis in perm if shape[axis] != 1]
        if wide == sorted(wide):
            return self.view(index, target)
        if index in self._turned:
            source, first = self._turned[index]
            if tuple(first[axis] for axis in perm) == tuple(range(len(perm))):
                return source
        turned = self.emit("TRANSPOSE", [index, self.numbers(*perm)], "TransposeOptions", shape=target)
        self._turned[turned] = index, perm
        return turned

    def emit(
        self, name: str, inputs: list[int], options: str = "", *, shape: Shape | None = None,
        kind: Kind | None = None, **given: Any,
    ) -> int:  # fmt: skip
        """Write an op and its result: of the first input's shape and kind where none is given."""
        first = self.file.tensors[inputs[0]]
        target = self.file.tensor(
            name.lower(),
            first.shape if shape is None else shape,
            first.dtype if kind is None else kind,
        )
        return self.file.op(name, inputs, target, options, **given)

    def each(
        self, name: str, inputs: Sequence[int], options: str = "", *, kind: Kind | None = None, **given: Any
    ) -> int:
        """Write an elementwise op, its inputs being broadcast; what was turned alike, before it was turned (3)."""
        wide = [index for index in inputs if math.prod(self.shape(index)) > 1]
        orders = {self._turned[index][1] if index in self._turned else None for index in wide}
        if len(orders) == 1 and len({self.shape(index) for index in wide}) == 1 and (order := orders.pop()) is not None:
            before = [self._turned[index][0] if index in wide else index for index in inputs]
            return self.turned(self.each(name, before, options, kind=kind, **given), order)
        shape = broadcast(*map(self.shape, inputs))
        return self.emit(name, list(inputs), options, shape=shape, kind=kind, **given)

    def operands(self, op: Op) -> list[int]:
        """Return what an elementwise op reads, in shapes that can be broadcast (2)."""
        shapes = {self.plain(self.program.shapes[name]) for name in op.inputs}
        held = [self.now(name) for name in op.inputs]
        there = {self.shape(index) for index in held}
        if len(there) == 1 and len(shapes) == 1 and len(there.pop()) <= PLAIN_RANK:
            return held
        if max(map(len, shapes)) <= PLAIN_RANK:
            numbers = {name: self.at[name] for name in op.inputs if self._is_number(name)}
            if numbers and math.prod(self.program.shapes[op.output]) == 1:
                return [self.read(name, self.shape(next(iter(numbers.values())))) for name in op.inputs]
            return [numbers[name] if name in numbers else self.read(name) for name in op.inputs]
        return [self._row(op, name) for name in op.inputs]

    def _is_number(self, name: str) -> bool:
        """Say whether a computed tensor is a single number, which is broadcast in the shape that it is held in (2)."""
        shape = self.shape(self.at[name]) if name in self.at else ()
        return 1 <= len(shape) <= PLAIN_RANK and math.prod(shape) == 1

    def _row(self, op: Op, name: str) -> int:
        """Return an operand as one row, with a number for each of the result's."""
        whole, shape = self.program.shapes[op.output], self.program.shapes[name]
        row = (1, 1, 1, math.prod(whole))
        if math.prod(shape) == math.prod(whole):
            return self.read(name, row)
        if math.prod(shape) == 1:
            return self.read(name, (1, 1, 1, 1))
        if name in self.constants:
            content, kind = np.broadcast_to(self.constants[name], whole).reshape(row), self.program.types.get(name)
            return self.file.constant(
                f"{op.output}.{name}", content if kind is None else content.astype(kind.dtype), kind, name
            )
        if len(whole) > WIDEST:
            raise self.refusal(op, f"it broadcasts over {len(whole)} axes.")
        if grows(whole):
            raise self.refusal(op, "it broadcasts more than four axes along the source.")
        sizes = self.numbers(*whole)
        return self.view(
            self.emit("BROADCAST_TO", [self.read(name, shape), sizes], "BroadcastToOptions", shape=whole), row
        )

    def numbers(self, *content: int) -> int:
        """Return a constant list of whole numbers."""
        name = "numbers." + ".".join(map(str, content))
        return self.file.constant(name, np.array(content, np.int32), title="numbers")

    def scalar(self, value: float, dtype: str = "float32") -> int:
        """Return a constant number that is broadcast to anything."""
        return self.file.constant(f"{dtype}.{value!r}", np.full((1, 1, 1, 1), value, dtype), title="number")

    def array(self, op: Op, key: str, content: Array) -> int:
        """Return a constant that belongs to an op."""
        return self.file.constant(f"{op.output}.{key}", content)
