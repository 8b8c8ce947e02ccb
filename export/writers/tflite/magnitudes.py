"""How far real values can lie from zero, as far as the integers they come of tell: what is near need not be limited.

A magnitude is of the exact values: what float32 rounds is nothing beside the margin that its reader leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from export.operations import MOVING
from export.program import Array, Op, Program, Type

ONE = {"Softmax", "Sigmoid", "Tanh", "Erf", "Softsign", "HardSigmoid", "Sin", "Cos", "Sign"}
"""Ops whose results lie no further from zero than one."""
NO_FURTHER = {"Relu", "Gelu", "HardSwish", "Abs", "Neg", "Min", "Max", "ReduceMean", "ReduceMax", "ReduceMin", *MOVING}
"""Ops whose results lie no further from zero than what enters."""


def magnitudes(program: Program) -> dict[str, float]:
    """Return how far from zero each tensor's values can lie at most; infinity where nothing is known of them."""
    found: dict[str, float] = {}

    def given_by(name: str) -> float:
        kind = program.types.get(name)
        return found.get(name, math.inf) if kind is None else _farthest(kind)

    for op in program.ops:
        given = [given_by(name) for name in op.inputs]
        if op.kind in ONE:
            found[op.output] = 1.0
        elif op.kind in NO_FURTHER:
            found[op.output] = max(*given, abs(op.attributes.get("value", 0)))  # what a Pad puts beside
        else:
            found[op.output] = _RULES[op.kind](op, *given) if op.kind in _RULES and math.inf not in given else math.inf
    return found


def _farthest(kind: Type) -> float:
    return max(abs(end - kind.zero_point) for end in kind.limits) * kind.scale


def _size(array: Array) -> float:
    return float(np.abs(array).max(initial=0))


def _dequantize(op: Op, x: float) -> float:
    return x * _size(op.arrays.get("factor", np.ones(1))) + _size(op.arrays.get("offset", np.zeros(1)))


def _norm(op: Op, _: float) -> float:
    # A deviation of n numbers from their mean is at most √(n - 1) standard deviations.
    return math.sqrt(op.arrays["scale"].size) * _size(op.arrays["scale"]) + _size(op.arrays["bias"])


_RULES: Mapping[str, Callable[..., float]] = {
    "Constant": lambda op: _size(op.arrays["value"]),
    "Dequantize": _dequantize,
    "Add": lambda _, a, b: a + b,
    "Sub": lambda _, a, b: a + b,
    "Mul": lambda _, a, b: a * b,
    "LayerNormalization": _norm,
}
