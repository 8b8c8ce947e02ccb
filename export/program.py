"""The step as a short list of operations: what quantization decides on and every engine computes.

A Program is float when its `types` are empty; quantization fills them in and replaces the weights by integers. Shapes
are without the streams that may run side by side: an engine for several puts them on a first axis. They are fixed, but
for what grows with the source that a decoder holds, or that an encoder reads as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]


class Growing(int):
    """A length that grows with the source: the number is that of an example, `other` that of another one.

    Products and quotients with it grow as well, and it equals nothing that does not grow alike.
    """

    other: int

    def __new__(cls, size: int, other: int) -> Self:
        """Make one of both lengths."""
        made = super().__new__(cls, size)
        made.other = other
        return made

    def __eq__(self, other: object) -> bool:
        """Compare both lengths."""
        return isinstance(other, int) and int(self) == int(other) and self.other == _other(other)

    def __ne__(self, other: object) -> bool:
        """Compare both lengths; int has one of its own, which would look at the first alone."""
        return not self == other

    def __hash__(self) -> int:
        """Hash as the number."""
        return super().__hash__()

    def __mul__(self, factor: int) -> Growing:
        """Multiply both lengths."""
        return Growing(int(self) * int(factor), self.other * _other(factor))

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Growing:
        """Divide both lengths."""
        return Growing(int(self) // int(divisor), self.other // _other(divisor))


def _other(size: Any) -> Any:
    return size.other if isinstance(size, Growing) else size


def grows(shape: Shape) -> int:
    """Return how many of a shape's lengths grow."""
    return sum(isinstance(size, Growing) for size in shape)


_LIMITS = {name: (int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in ("int8", "int16")}


@dataclass(frozen=True)
class Type:
    """How a tensor is stored: real = scale * (stored - zero_point). rule: how its range was chosen, for the report."""

    dtype: Literal["int8", "int16"]
    scale: float
    zero_point: int = 0
    rule: str = field(default="", compare=False)

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest stored integer."""
        return _LIMITS[self.dtype]


@dataclass(frozen=True)
class Op:
    """One operation. node: the graph's node it came from, for messages.

    kind: ONNX's name of it, in ONNX's meaning, what is fixed being in `attributes` (operations.py has them all); or
    one of ours:
    Linear: output = activation(x @ weight.T + bias); x [rows, inputs], weight [outputs, inputs] and bias are `arrays`.
    Quantize, Requantize, Dequantize: between real values and integers. Dequantize: times `factor` plus `offset`, along
    the last axis, where `arrays` has them.
    Constant: its value is in `arrays`.
    """

    kind: str
    output: str
    inputs: tuple[str, ...] = ()
    node: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class ProgramInput:
    """An input of frames. shape: as it enters; columns: its part of a frame's numbers; dtype: float32, or int64."""

    name: str
    shape: Shape
    time_axis: int
    columns: slice
    dtype: str = "float32"

    def enter(self, x: Array) -> Array:
        """Bring float32[streams, frames, features] into [streams, *shape]."""
        rest, order = self._axes
        return x[..., self.columns].reshape(*x.shape[:2], *rest).transpose(order).astype(self.dtype)

    @cached_property
    def _axes(self) -> tuple[Shape, Shape]:
        """The shape without time, and where each axis of [streams, *shape] is in [streams, frames, *that]."""
        rest = [size for axis, size in enumerate(self.shape) if axis != self.time_axis]
        order = [0, *range(2, len(self.shape) + 1)]
        order.insert(self.time_axis + 1, 1)
        return tuple(rest), tuple(order)


@dataclass(frozen=True)
class ProgramState:
    """One state: the tensor it enters as, the tensor it leaves as, its real value at reset in its shape.

    held: what is held by this name is the value at reset instead. half: which of two float32 it is, where a state in
    float64 is their sum; both have its name.
    """

    name: str
    input: str
    output: str
    initial: Array
    held: str | None = None
    half: Literal["", "high", "low"] = ""

    @property
    def title(self) -> str:
        """What the tensors that it enters and leaves as are called in a file."""
        return f"{self.name}.{self.half}" if self.half else self.name


@dataclass
class Program:
    """A step. frames: how many it takes. dtypes: of the tensors that are not float32 (counts, places, conditions).

    held: the tensors that enter and stay the same from step to step; a Program with no other inputs runs once.
    """

    inputs: Sequence[ProgramInput]
    frames: int = 1
    outputs: list[str] = field(default_factory=list)
    states: list[ProgramState] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    types: dict[str, Type] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)

    def emit(self, op: Op, shape: Shape, dtype: str = "float32") -> str:
        """Append an op and return its output's name."""
        self.ops.append(op)
        self.shapes[op.output] = shape
        if dtype != "float32":
            self.dtypes[op.output] = dtype
        return op.output

    def dtype(self, name: str) -> str:
        """Return how a tensor is stored."""
        kind = self.types.get(name)
        return self.dtypes.get(name, "float32") if kind is None else kind.dtype

    def size(self, name: str) -> int:
        """Return how many numbers a tensor has, for the example's source where it grows."""
        return int(math.prod(self.shapes[name]))

    def new_name(self, base: str) -> str:
        """Return `base`, or `base` with a number where the name is taken."""
        if base not in self.shapes:
            return base
        return next(name for i in range(1, len(self.shapes) + 2) if (name := f"{base}.{i}") not in self.shapes)

    def readers(self) -> dict[str, list[Op]]:
        """Return the ops that read each tensor."""
        found: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in dict.fromkeys(op.inputs):
                found.setdefault(name, []).append(op)
        return found

    def constants(self) -> dict[str, Array]:
        """Return the tensors that never change."""
        return {op.output: op.arrays["value"] for op in self.ops if op.kind == "Constant"}

    def macs(self, op: Op) -> int:
        """Return the multiply-accumulates of an op in one step; 0 for what is no product."""
        if op.kind in {"Linear", "Conv"}:
            return self.size(op.output) * math.prod(op.arrays["weight"].shape[1:])
        return self.size(op.output) * self.shapes[op.inputs[0]][-1] if op.kind == "MatMul" else 0

    def precisions(self) -> dict[str, int]:
        """Return the multiply-accumulates of one step by what they are computed in: int8, int16 or float32."""
        found: dict[str, int] = {}
        for op in self.ops:
            if macs := self.macs(op):
                dtype = self.dtype(op.inputs[0])
                found[dtype] = found.get(dtype, 0) + macs
        return found

    def pruned(self) -> None:
        """Drop the ops that nothing reads."""
        needed = {*self.outputs, *(state.output for state in self.states)}
        kept: list[Op] = []
        for op in reversed(self.ops):
            if op.output in needed:
                needed.update(op.inputs)
                kept.append(op)
        self.ops = kept[::-1]
