"""The step as a short list of operations on vectors: what quantization decides on and every engine computes.

A Program is float when its `types` are empty; quantization fills them in and replaces the weights by integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating]
Kind = Literal[
    "linear", "add", "sub", "mul", "sigmoid", "tanh", "relu", "slice", "concat", "constant",
    "quantize", "requantize", "dequantize",
]  # fmt: skip


@dataclass(frozen=True)
class Type:
    """How a tensor is stored: real = scale * (stored - zero_point)."""

    dtype: Literal["int8", "int16"]
    scale: float
    zero_point: int = 0

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest stored integer."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)


@dataclass(frozen=True)
class Op:
    """One operation. node: the graph's node it came from, for messages.

    linear: output = activation(weight @ x + bias); weight [outputs, inputs], bias [outputs] are in `arrays`.
    dequantize: times `factor` plus `offset`, [outputs], where `arrays` has them. slice: start and stop are in `ints`.
    constant: its value is in `arrays`.
    """

    kind: Kind
    output: str
    inputs: tuple[str, ...] = ()
    node: str = ""
    ints: Mapping[str, int] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ProgramState:
    """One state vector: the tensor it enters as, the tensor it leaves as, its real value at reset."""

    name: str
    input: str
    output: str
    initial: NDArray[np.float32]


@dataclass
class Program:
    """A step: float32[features] and states in, float32[outputs] and states out."""

    input: str
    output: str
    states: list[ProgramState]
    sizes: dict[str, int]
    ops: list[Op] = field(default_factory=list)
    types: dict[str, Type] = field(default_factory=dict)

    def emit(self, op: Op, size: int) -> str:
        """Append an op and return its output's name."""
        self.ops.append(op)
        self.sizes[op.output] = size
        return op.output

    def new_name(self, base: str) -> str:
        """Return `base`, or `base` with a number where the name is taken."""
        if base not in self.sizes:
            return base
        return next(name for i in range(1, len(self.sizes) + 2) if (name := f"{base}.{i}") not in self.sizes)

    def readers(self, name: str) -> list[Op]:
        """Return the ops that read a tensor."""
        return [op for op in self.ops if name in op.inputs]

    def macs(self) -> int:
        """Return the multiply-accumulates of the linear ops in one step."""
        return sum(int(op.arrays["weight"].size) for op in self.ops if op.kind == "linear")


def sigmoid(x: Vector) -> Vector:
    """1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (np.tanh(0.5 * x) + 1.0))


def _linear(op: Op, x: Vector) -> Vector:
    y = x @ op.arrays["weight"].T + op.arrays["bias"]
    return np.asarray(np.maximum(y, 0) if op.ints.get("relu") else y)


FLOAT: Mapping[str, Callable[..., Vector]] = {
    "linear": _linear,
    "add": lambda _, a, b: a + b,
    "sub": lambda _, a, b: a - b,
    "mul": lambda _, a, b: a * b,
    "sigmoid": lambda _, a: sigmoid(a),
    "tanh": lambda _, a: np.tanh(a),
    "relu": lambda _, a: np.maximum(a, 0),
    "slice": lambda op, a: a[..., op.ints["start"] : op.ints["stop"]],
    "concat": lambda _, *parts: np.concatenate(parts, axis=-1),
    "constant": lambda op: op.arrays["value"],
}
"""The plain reference of every float op, on [..., size]."""


def float_step(program: Program, x: Vector, state: Mapping[str, Vector]) -> tuple[dict[str, Vector], dict[str, Vector]]:
    """Run one float step on x [streams, features]; return all tensors by name and the next state by state name."""
    values: dict[str, Vector] = {program.input: x}
    for entry in program.states:
        values[entry.input] = state[entry.name]
    for op in program.ops:
        values[op.output] = FLOAT[op.kind](op, *(values[name] for name in op.inputs))
    return values, {entry.name: values[entry.output] for entry in program.states}


def initial_state(program: Program, streams: int) -> dict[str, Vector]:
    """Return the float state at reset for so many streams: float32[streams, size] by name."""
    return {entry.name: np.repeat(entry.initial[None], streams, axis=0) for entry in program.states}
