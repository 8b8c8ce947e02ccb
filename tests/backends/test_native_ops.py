"""The native engine's operations, one by one, against the plain reference in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from native_ops import (
    COMPARED,
    EPSILON,
    EXACT,
    MOVED,
    NONE,
    REDUCED,
    SEEDS,
    SOME,
    STREAMS,
    TYPES,
    UNARY,
    WHOLE,
    Array,
    absolute,
    computed,
    holds,
    laid,
    made,
    numbers,
    reference,
    relative,
    run,
    stretched,
)

from edgeseq.backends.native.plan import Plan
from edgeseq.backends.native.program import Tensor
from edgeseq.backends.native.rules import REAL
from edgeseq.backends.native.rules.rule import Given
from export.operations import FLOAT


def test_no_kind_is_missing() -> None:
    assert set(FLOAT) - {"Constant"} <= set(REAL)  # a constant is no rule
    here = {*EXACT, "Pow", *UNARY, *COMPARED, "And", "Or", "Not", "Cast", *REDUCED, *MOVED}
    here |= {"Softmax", "LogSoftmax", "LayerNormalization", "MatMul", "Conv", "Linear", "Constant"}
    assert set(FLOAT) - {"Shape", "Range"} == here  # those are in test_native_sizes.py


# ---- number by number


@pytest.mark.parametrize("kind", [*EXACT, *COMPARED])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(shapes=stretched(2), seed=SEEDS)
@SOME
def test_two_real_numbers(kind: str, dtype: str, shapes: Any, seed: int) -> None:
    inputs = made(np.random.default_rng(seed), dtype, shapes)
    for attributes in [{"fmod": 0}, {"fmod": 1}] if kind == "Mod" else NONE:
        holds(kind, inputs, attributes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(shapes=stretched(2), seed=SEEDS)
@SOME
def test_powers(dtype: str, shapes: Any, seed: int) -> None:
    a, b = made(np.random.default_rng(seed), dtype, shapes)
    holds("Pow", [a, np.clip(b, -3, 3)], limit=relative(EPSILON if dtype == "float32" else 1e-15))


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("dtype", ["int64", "int32"])
@given(shapes=stretched(2), seed=SEEDS)
@SOME
def test_two_whole_numbers(kind: str, dtype: str, shapes: Any, seed: int) -> None:
    inputs = made(np.random.default_rng(seed), dtype, shapes)
    with np.errstate(all="ignore"):
        for attributes in [{"fmod": 0}, {"fmod": 1}] if kind == "Mod" else NONE:
            holds(kind, inputs, attributes)


@pytest.mark.parametrize("kind", ["Neg", "Abs", "Sign", "Relu"])
def test_one_whole_number(kind: str) -> None:
    for dtype in ("int64", "int32"):
        holds(kind, [numbers(np.random.default_rng(0), dtype, (STREAMS, 3, 7))])


def test_the_least_whole_number_is_no_trap() -> None:
    a, b = np.array([[-(2**63), -(2**63), 7]]), np.array([[-1, 0, 0]])
    for kind, fmod in (("Div", 0), ("Mod", 0), ("Mod", 1)):
        computed(kind, [a, b], {"fmod": fmod}, {})


FUNCTIONS: dict[str, Callable[[Array], Any]] = {
    "Exp": relative(3e-7),
    "Log": relative(EPSILON),
    "Sin": absolute(EPSILON),
    "Cos": absolute(EPSILON),
    "Erf": absolute(4e-7),
    "Sigmoid": absolute(2e-7),
    "Tanh": absolute(4e-7),
    "Softplus": relative(4e-7),
    "Elu": relative(4e-7),
    "HardSigmoid": absolute(2 * EPSILON),
    "Reciprocal": relative(EPSILON),
}


@pytest.mark.parametrize("kind", UNARY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(shapes=stretched(1), seed=SEEDS)
@SOME
def test_functions_of_one_number(kind: str, dtype: str, shapes: Any, seed: int) -> None:
    (x,) = made(np.random.default_rng(seed), dtype, shapes)
    for attributes in UNARY[kind]:
        limit = FUNCTIONS.get(kind, relative(2 * EPSILON))
        if kind == "Gelu":  # half of x times what is within an absolute error
            size = np.nan_to_num(np.abs(x.astype(np.float64)), posinf=0)
            limit = lambda _, size=size: 4e-7 * size + 1e-30  # noqa: E731
        if kind == "HardSwish":
            size = np.nan_to_num(np.abs(x.astype(np.float64)), posinf=0)
            limit = lambda _, size=size: 2 * EPSILON * size + 1e-30  # noqa: E731
        if kind in {"Sin", "Cos"}:
            x = np.where(np.abs(x) < 1e6, x, np.nan).astype(dtype)
        if kind == "Exp" and dtype == "float32":  # between what float32 has in full and infinity
            x = np.where(x < -87, -np.inf, x).astype(dtype)
        holds(kind, [x], attributes, limit=limit)


CURVES: list[tuple[str, float, float, Callable[[Array], Array], float, bool]] = [
    ("Tanh", -12, 12, np.tanh, 4e-7, True),
    ("Sigmoid", -87, 40, lambda x: 1 / (1 + np.exp(-x)), 2e-7, True),
    ("Erf", -6, 6, np.vectorize(math.erf), 4e-7, True),
    ("Exp", -87, 88.7, np.exp, 2e-7, True),
    ("Elu", -40, 5, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), 2e-7, True),
    ("Softplus", -80, 80, lambda x: np.logaddexp(x, 0), 3e-7, True),
]


@pytest.mark.parametrize(("kind", "low", "high", "true", "limit", "of_size"), CURVES)
def test_curves_are_as_near_as_they_say(
    kind: str, low: float, high: float, true: Callable[[Array], Array], limit: float, *, of_size: bool
) -> None:
    x = np.concatenate([np.linspace(low, high, 300_001), np.geomspace(1e-30, 1, 30_001)]).astype(np.float32)[None]
    y, expected = computed(kind, [x], {"alpha": 1.0}, {}), true(x.astype(np.float64))
    error = np.abs(y - expected) / (np.abs(expected) if of_size else 1)
    assert error.max() <= limit, (error.max(), x.flat[int(error.argmax())])


def test_a_gate_near_one_is_not_off_to_one_side() -> None:
    """A slow unit takes each of its steps at about the same place of the curve."""
    x = np.linspace(-8, 8, 320_000, dtype=np.float32)[None]
    error = computed("Sigmoid", [x], {}, {}) - 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(error.reshape(32, -1).mean(axis=1)).max() < 3e-9


def test_what_saturates_is_exact() -> None:
    x = np.array([[9, 20, np.inf, -9, -20, -np.inf]], np.float32)
    for kind in ("Tanh", "Erf"):
        np.testing.assert_array_equal(computed(kind, [x], {}, {}), np.sign(x))
    np.testing.assert_array_equal(computed("Sigmoid", [10 * x], {}, {}), np.sign(x) > 0)
    np.testing.assert_array_equal(
        computed("Exp", [np.float32([[-np.inf, -200, np.inf, 89]])], {}, {}), [[0, 0, np.inf, np.inf]]
    )


@pytest.mark.parametrize("kind", ["And", "Or", "Equal"])
@given(shapes=stretched(2), seed=SEEDS)
@SOME
def test_conditions(kind: str, shapes: Any, seed: int) -> None:
    a, b = made(np.random.default_rng(seed), "bool", shapes)
    holds(kind, [a, b])
    holds("Not", [a])


@pytest.mark.parametrize("dtype", [*TYPES, "int8", "int16"])
@given(shapes=stretched(3), seed=SEEDS)
@SOME
def test_what_a_condition_chooses(dtype: str, shapes: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    holds("Where", [*made(rng, "bool", shapes[:1]), *made(rng, dtype, shapes[1:])])


@pytest.mark.parametrize("before", TYPES)
@pytest.mark.parametrize("after", TYPES)
@given(shapes=stretched(1), seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_casts(before: str, after: str, shapes: Any, seed: int) -> None:
    (x,) = made(np.random.default_rng(seed), before, shapes)
    if before[0] == "f" and after[0] == "i":
        x = np.clip(np.nan_to_num(x), -1e9, 1e9).astype(before)  # beyond, whole numbers are no one's promise
    holds("Cast", [x], {"to": after})


# ---- over rows


def real(rng: np.random.Generator, shape: tuple[int, ...], order: list[int]) -> Array:
    return laid((rng.normal(size=shape) * 3).astype(np.float32), order)


@given(shapes=stretched(1), seed=SEEDS, data=st.data())
@SOME
def test_softmax(shapes: Any, seed: int, data: st.DataObject) -> None:
    ((shape, order),) = shapes
    rng, axis = np.random.default_rng(seed), data.draw(st.integers(0, len(shape) - 2))
    x = real(rng, shape, order)
    holds("LogSoftmax", [x], {"axis": axis}, limit=lambda y: 4 * EPSILON * (1 + np.abs(y)))
    x[rng.random(shape) < 0.2] = -np.inf
    y = holds("Softmax", [x], {"axis": axis}, limit=relative(50 * EPSILON))
    shut = np.isneginf(x).all(axis=axis + 1, keepdims=True)
    assert np.isnan(y[np.broadcast_to(shut, y.shape)]).all()
    x.flat[0] = np.nan
    holds("Softmax", [x], {"axis": axis}, limit=relative(50 * EPSILON))


@given(shapes=stretched(1), seed=SEEDS, data=st.data())
@SOME
def test_layer_norm(shapes: Any, seed: int, data: st.DataObject) -> None:
    ((shape, order),) = shapes
    rng, axis = np.random.default_rng(seed), data.draw(st.integers(0, len(shape) - 2))
    x = real(rng, shape, order)
    scale, bias = rng.normal(size=(2, *shape[axis + 1 :])).astype(np.float32)
    axes = tuple(range(axis + 1, len(shape)))
    factor = 1 / np.sqrt(x.astype(np.float64).var(axis=axes, keepdims=True) + 1e-3)
    reach = 8 * EPSILON * (np.abs(x).max(axis=axes, keepdims=True) * factor * np.abs(scale) + np.abs(bias))
    holds(
        "LayerNormalization", [x], {"axis": axis, "epsilon": 1e-3}, {"scale": scale, "bias": bias},
        limit=lambda y: reach + 8 * EPSILON * np.abs(y),
    )  # fmt: skip


@pytest.mark.parametrize("kind", REDUCED)
@given(shapes=stretched(1), seed=SEEDS, data=st.data())
@SOME
def test_reductions(kind: str, shapes: Any, seed: int, data: st.DataObject) -> None:
    ((shape, order),) = shapes
    rng = np.random.default_rng(seed)
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 2), min_size=1))))
    over = tuple(axis + 1 for axis in axes)
    x = real(rng, shape, order)
    size = np.abs(x).sum(axis=over, keepdims=True) / (x[:, ...].size / len(x) if kind == "ReduceMean" else 1)
    extremes = kind in {"ReduceMax", "ReduceMin"}
    holds(kind, [x], {"axes": axes}, limit=None if extremes else lambda _: 8 * EPSILON * size + 1e-6)
    holds(kind, [x.astype(np.float64)], {"axes": axes}, limit=lambda _: 1e-12)
    if kind != "ReduceMean":
        holds(kind, [(9 * x).astype(np.int64)], {"axes": axes})
    if extremes:
        holds(kind, [laid(numbers(rng, "float32", shape), order)], {"axes": axes})
        holds(kind, [(9 * x).astype(np.int32)], {"axes": axes})


# ---- products


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(
    stacks=npst.mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=3, max_side=3),
    sizes=st.tuples(st.sampled_from((1, 3)), st.sampled_from((1, 4, 9, 64)), st.sampled_from((1, 5, 16, 33, 70))),
    turned=st.tuples(st.booleans(), st.booleans()), seed=SEEDS,
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_products_of_matrices(dtype: str, stacks: Any, sizes: Any, turned: tuple[bool, bool], seed: int) -> None:
    rng, (rows, inputs, columns) = np.random.default_rng(seed), sizes
    axes = max(map(len, stacks.input_shapes))
    left, right = ((1,) * (axes - len(shape)) + shape for shape in stacks.input_shapes)
    a = rng.normal(size=(STREAMS, *left, rows, inputs)).astype(dtype)
    b = rng.normal(size=(int(rng.choice((1, STREAMS))), *right, inputs, columns)).astype(dtype)
    last = [*range(axes + 1), axes + 2, axes + 1]
    a, b = (laid(x, last) if turn else x for x, turn in zip((a, b), turned, strict=True))
    epsilon = EPSILON if dtype == "float32" else float(np.finfo(dtype).eps)
    holds("MatMul", [a, b], limit=lambda _: 2 * inputs * epsilon * (np.abs(a) @ np.abs(b)))


def test_a_product_is_the_same_with_any_number_of_rows() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(1, 2, 9, 40)).astype(np.float32), rng.normal(size=(1, 2, 40, 70)).astype(np.float32)
    whole = computed("MatMul", [a, b], {}, {})
    for row in range(9):
        assert computed("MatMul", [a[:, :, row : row + 1], b], {}, {}).tobytes() == whole[:, :, row : row + 1].tobytes()


@given(
    rows=st.integers(1, 9), sizes=st.tuples(st.integers(1, 40), st.integers(1, 70)), relu=st.booleans(), seed=SEEDS,
    turned=st.booleans(),
)  # fmt: skip
@SOME
def test_products_with_weights(*, rows: int, sizes: tuple[int, int], relu: bool, turned: bool, seed: int) -> None:
    rng, (inputs, outputs) = np.random.default_rng(seed), sizes
    x = rng.normal(size=(STREAMS, rows, inputs)).astype(np.float32)
    weight, bias = rng.normal(size=(outputs, inputs)).astype(np.float32), rng.normal(size=outputs).astype(np.float32)
    size = np.abs(x) @ np.abs(weight.T) + np.abs(bias)
    holds(
        "Linear", [laid(x, [2, 0, 1]) if turned else x], {"relu": int(relu)}, {"weight": weight, "bias": bias},
        limit=lambda _: 2 * (inputs + 1) * EPSILON * size,
    )  # fmt: skip


@given(data=st.data(), axes=st.sampled_from((1, 2)), relu=st.booleans(), turned=st.booleans(), seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_convolutions(data: st.DataObject, axes: int, *, relu: bool, turned: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels = data.draw(st.sampled_from((1, 4, 6, 20)))
    groups = data.draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    outputs = groups * data.draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(axes))

    kernel, strides, dilations = each(1, 3), each(1, 2), each(1, 3)
    pads = (*each(0, 2), *each(0, 2))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    space = tuple(r + data.draw(st.integers(0, 4)) for r in reach)
    x = rng.normal(size=(STREAMS, data.draw(st.integers(1, 2)), channels, *space)).astype(np.float32)
    x = laid(x, [0, 1, *range(3, 3 + axes), 2]) if turned else x
    weight = rng.normal(size=(outputs, channels // groups, *kernel)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    attributes = {
        "kernel": kernel, "strides": strides, "dilations": dilations, "pads": pads, "group": groups, "relu": int(relu),
    }  # fmt: skip
    size = reference(
        "Conv", [np.abs(x)], attributes | {"relu": 0}, {"weight": abs(weight), "bias": abs(bias)}, wide=True
    )
    holds(
        "Conv", [x], attributes, {"weight": weight, "bias": bias},
        limit=lambda _: 2 * (weight[0].size + 1) * EPSILON * size,
    )  # fmt: skip


# ---- what moves numbers


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "int8", "int16"])
@given(shapes=stretched(2), seed=SEEDS, data=st.data())
@SOME
def test_what_moves_numbers(dtype: str, shapes: Any, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    (shape, order), (_, other) = shapes
    x = laid(numbers(rng, dtype, shape), order)
    axes = len(shape) - 1
    axis = data.draw(st.integers(0, axes - 1))
    holds("Transpose", [x], {"perm": tuple(data.draw(st.permutations(range(axes))))})
    holds("Reshape", [x], {"shape": (int(np.prod(shape[1:])), 1)})
    holds("Reshape", [x], {"shape": (1, *shape[1:])})
    holds("Unsqueeze", [x], {"axes": (axis,)})
    holds("Squeeze", [x], {"axes": tuple(a for a in range(axes) if shape[a + 1] == 1)})
    holds("Expand", [x], {"shape": tuple(3 if size == 1 else size for size in shape[1:])})
    pads = tuple(data.draw(st.integers(0, 2)) for _ in range(2 * axes))
    holds("Pad", [x], {"pads": pads, "value": 1})
    steps = tuple(data.draw(st.sampled_from((1, 2, -1))) for _ in range(axes))
    starts = tuple(0 if step > 0 else size - 1 for step, size in zip(steps, shape[1:], strict=True))
    ends = tuple(size if step > 0 else -size - 1 for step, size in zip(steps, shape[1:], strict=True))
    holds("Slice", [x], {"starts": starts, "ends": ends, "steps": steps})
    beside = numbers(rng, dtype, (STREAMS, *shape[1:]))
    holds("Concat", [x, laid(beside, other), x], {"axis": axis})


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "int8", "int16"])
@given(shapes=stretched(1), seed=SEEDS, data=st.data())
@SOME
def test_gather(dtype: str, shapes: Any, seed: int, data: st.DataObject) -> None:
    rng, ((shape, order),) = np.random.default_rng(seed), shapes
    x = laid(numbers(rng, dtype, shape), order)
    axis = data.draw(st.integers(0, len(shape) - 2))
    named = data.draw(npst.array_shapes(min_dims=0, max_dims=2, max_side=4))
    size = shape[axis + 1]
    for streams in (1, STREAMS):
        holds("Gather", [x, rng.integers(-size, size, (streams, *named))], {"axis": axis})
    holds("Gather", [x, rng.integers(-size, size, (1, *named)).astype(np.int32)], {"axis": axis})


@pytest.mark.parametrize("places", [0, -1, [1], [0, 1, 2], [2, 1, 0], [-1, -2], [1, 1], [2, 0, 1], [[0, 1], [2, 1]]])
def test_gather_with_constant_indices(places: Any) -> None:
    x = np.arange(STREAMS * 24, dtype=np.float32).reshape(STREAMS, 3, 8)
    plan = Plan()
    stored = plan.buffer(x.shape, x.dtype)
    stored[...] = x
    indices = np.array(places)
    told = (Tensor(shape=[3, 8]), Tensor(shape=list(indices.shape), dtype="int64"))
    y = REAL["Gather"](
        plan, Given("Gather", {"axis": 0}, {}, told, Tensor(shape=[])), stored, plan.stored(indices[None])
    )
    rows = plan.rows
    run(plan.table())
    np.testing.assert_array_equal(y, np.take(x, indices, axis=1))
    assert bool(rows) == (places in ([1, 1], [2, 0, 1], [[0, 1], [2, 1]]))


def test_an_index_that_names_nothing_stays_inside() -> None:
    x = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    y = computed("Gather", [x, np.array([[99, -99, 2**62, -(2**62)]])], {"axis": 0}, {})
    np.testing.assert_array_equal(y, x[:, [2, 0, 2, 0]])
