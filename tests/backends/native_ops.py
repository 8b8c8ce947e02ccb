"""Holds one operation of the native engine against NumPy: what it computes, of which numbers, how near."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from edgeseq.backends.native.engine import WIDTH
from edgeseq.backends.native.plan import Plan
from edgeseq.backends.native.program import Tensor
from edgeseq.backends.native.rules import REAL
from edgeseq.backends.native.rules.rule import Given, Rule
from export.operations import FLOAT
from export.program import Op

Array = np.ndarray[Any, Any]
EPSILON = float(np.finfo(np.float32).eps)
STREAMS = 3
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 88.0, -104.0, 1e-30, 3e38], np.float32)

NONE: list[dict[str, Any]] = [{}]
EXACT = ("Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu", "Mod")
"""What float32 has one result for; Pow and the rest are near the true one."""
UNARY: dict[str, list[dict[str, Any]]] = {
    **dict.fromkeys(("Neg", "Abs", "Sign", "Floor", "Ceil", "Sqrt", "Reciprocal", "Relu", "Softsign"), NONE),
    **dict.fromkeys(("Exp", "Log", "Sin", "Cos", "Erf", "Sigmoid", "Tanh", "Softplus", "HardSwish"), NONE),
    "Gelu": [{"approximate": "none"}, {"approximate": "tanh"}],
    "Elu": [{"alpha": 1.0}, {"alpha": 0.3}],
    "LeakyRelu": [{"alpha": 0.1}],
    "HardSigmoid": [{"alpha": 0.2, "beta": 0.5}],
}
COMPARED = ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")
WHOLE = ("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", *COMPARED)
REDUCED = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
MOVED = ("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Concat", "Gather", "Expand", "Pad", "Where")
TYPES = ("float32", "float64", "int64", "int32", "bool")
SOME = settings(max_examples=30, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def computed(kind: str, inputs: list[Array], attributes: dict[str, Any], arrays: dict[str, Array]) -> Array:
    """Compute one operation on real values, whole numbers or conditions."""
    told = tuple(Tensor(shape=list(x.shape[1:]), dtype=x.dtype.name) for x in inputs)
    return applied(REAL[kind], Given(kind, attributes, arrays, told, Tensor(shape=[])), inputs)


def applied(rule: Rule, given: Given, inputs: list[Array]) -> Array:
    """Lay one operation out and run its rows. The inputs keep their strides."""
    plan = Plan()
    held = []
    for x in inputs:
        order = sorted(range(x.ndim), key=lambda axis: (-x.strides[axis], axis))
        stored = plan.buffer([x.shape[axis] for axis in order], x.dtype).transpose(np.argsort(order))
        stored[...] = x
        held.append(stored)
    y = rule(plan, given, *held)
    run(plan.table())
    return np.array(y)


def run(table: Array) -> None:
    """Run the rows of a plan's table."""
    for row in table:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(int(row[0]))(row.ctypes.data)
    assert table.shape[1] == WIDTH


def reference(
    kind: str, inputs: list[Array], attributes: dict[str, Any], arrays: dict[str, Array], *, wide: bool
) -> Array:
    """Compute the same in NumPy, in float64 where it is wanted wide."""
    if wide:
        inputs = [x.astype(np.float64) if x.dtype == np.float32 else x for x in inputs]
        arrays = {key: array.astype(np.float64) for key, array in arrays.items()}
    with np.errstate(all="ignore"):
        return np.asarray(FLOAT[kind](Op(kind, "y", (), "", attributes, arrays), *inputs))


def holds(
    kind: str,
    inputs: list[Array],
    attributes: dict[str, Any] | None = None,
    arrays: dict[str, Array] | None = None,
    *,
    limit: Callable[[Array], Array | float] | None = None,
) -> Array:
    """Hold an operation against the reference: equal, or within `limit(expected)`; and streams against each other."""
    attributes, arrays = attributes or {}, arrays or {}
    y = computed(kind, inputs, attributes, arrays)
    expected = reference(kind, inputs, attributes, arrays, wide=limit is not None)
    assert y.shape == expected.shape
    if limit is None:
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y, expected)
    else:
        with np.errstate(all="ignore"):
            rounded = expected.astype(y.dtype)
            finite = np.isfinite(rounded)
            np.testing.assert_array_equal(y[~finite], rounded[~finite])
            allowed = np.broadcast_to(limit(expected), y.shape)
            assert (np.abs(y - expected)[finite] <= allowed[finite]).all(), (y[finite], expected[finite])
    for stream in range(len(y) if len(y) > 1 else 0):
        own = [x[stream : stream + 1] if len(x) > 1 else x for x in inputs]
        alone = computed(kind, own, attributes, arrays)
        assert alone.tobytes() == np.ascontiguousarray(y[stream : stream + 1]).tobytes()
    return y


def relative(limit: float) -> Callable[[Array], Array]:
    """Within so much of its size, or what float32 rounds beside it; below what float32 has in full, absolutely."""
    return lambda expected: np.maximum(limit * np.abs(expected), 1.2e-38)


def absolute(limit: float) -> Callable[[Array], float]:
    return lambda _: limit


def numbers(rng: np.random.Generator, dtype: str, shape: tuple[int, ...], *, special: bool = True) -> Array:
    """Return numbers of all sizes of a type."""
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype[0] == "i":
        wide = {"int8": 7, "int16": 14}.get(dtype, 30)
        x = rng.integers(-(2**wide), 2**wide, shape)
        return np.where(rng.random(shape) < 0.3, x % 5 - 2, x).astype(dtype)
    x = (rng.normal(size=shape) * 10.0 ** rng.integers(-2, 2)).astype(dtype)
    if special:
        x = np.where(rng.random(shape) < 0.15, rng.choice(SPECIAL, shape), x).astype(dtype)
    return x


@st.composite
def stretched(draw: st.DrawFn, count: int) -> list[tuple[tuple[int, ...], list[int]]]:
    """Draw shapes that fit each other, [streams or 1, ...], each with an order in which its axes lie."""
    axes = draw(st.integers(1, 5))
    sizes = [draw(st.integers(1, 4)) for _ in range(axes - 1)] + [draw(st.sampled_from((1, 2, 5, 16, 17, 33)))]
    found = []
    for _ in range(count):
        shape = tuple(1 if draw(st.integers(0, 3)) == 0 else size for size in sizes)
        streams = draw(st.sampled_from((1, STREAMS, STREAMS)))
        order = draw(st.permutations(range(axes + 1))) if draw(st.booleans()) else list(range(axes + 1))
        found.append(((streams, *shape), order))
    return found


def laid(x: Array, order: list[int]) -> Array:
    """Return the same numbers with their axes in another order in memory."""
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


def made(rng: np.random.Generator, dtype: str, shapes: list[tuple[tuple[int, ...], list[int]]]) -> list[Array]:
    return [laid(numbers(rng, dtype, shape), order) for shape, order in shapes]
