"""Integers brought to a tensor's, at the ends of what 32 and 64 bits hold, against the reference interpreter."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_ops import SEEDS, applied, run

from edgeseq.backends.native.kernels import integers, scaling
from edgeseq.backends.native.plan import Plan
from edgeseq.backends.native.program import Tensor
from edgeseq.backends.native.rules.integers import RULES
from edgeseq.backends.native.rules.rule import Given
from edgeseq.jit import Kernel
from export.program import Op, Program, Type
from export.quantize.reference import plan

Array = np.ndarray[Any, Any]
ENDS = np.array([-32768, -32767, -16384, -1, 0, 1, 2, 16384, 32766, 32767], np.int16)
COUNTS = (1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100)
SCALES = st.tuples(*(st.floats(0.5, 1.0, exclude_max=True).map(float), st.integers(-34, 6)))
"""What a ratio of scales is made of: its bits and its power of two."""


def pairs(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Return two operands [1, count]: the ends in all pairs first, then any numbers."""
    rng = np.random.default_rng(seed)
    some = rng.integers(-32768, 32768, (2, max(count - len(ENDS) ** 2, 0))).astype(np.int16)
    ends = rng.permutation(np.array([*itertools.product(ENDS, ENDS)], np.int16)).T
    a, b = np.concatenate([ends, some], axis=1)[:, :count]
    return a[None], b[None]


def stored(types: dict[str, Type]) -> dict[str, Tensor]:
    return {n: Tensor(shape=[], dtype=t.dtype, scale=t.scale, zero_point=t.zero_point) for n, t in types.items()}


def gives_the_references(
    kind: str, types: dict[str, Type], inputs: dict[str, Array], arrays: dict[str, Array] | None = None, **extra: Any
) -> Array:
    """Compute an op of the inputs; the last of the types is its output's. Return its integers."""
    arrays, names = arrays or {}, tuple(inputs)
    op = Op(kind, "y", names, "", extra, arrays)
    told = stored(types)
    mine = Given(kind, extra, arrays, tuple(told[name] for name in names), told["y"])
    y = applied(RULES[kind], mine, list(inputs.values()))
    expected = plan(op, cast("Program", SimpleNamespace(types=types)))(*(x.astype(np.int64) for x in inputs.values()))
    np.testing.assert_array_equal(y, expected)
    return y


def chosen(kind: str, types: dict[str, Type]) -> int:
    """Return which kernel is chosen for two int16 tensors, by its address."""
    laid, told = Plan(), stored(types)
    inputs = [laid.buffer((1, 40), np.int16) for _ in range(2)]
    RULES[kind](laid, Given(kind, {}, {}, (told["a"], told["b"]), told["y"]), *inputs)
    return laid.rows[-1][0]


def of(a: float, b: float, y: float, zeros: tuple[int, int, int] = (0, 0, 0)) -> dict[str, Type]:
    return {name: Type("int16", s, z) for name, s, z in zip("aby", (a, b, y), zeros, strict=True)}


BELOW_ONE = 1 - 2.0**-22
SUMS: list[tuple[dict[str, Type], Kernel]] = [
    (of(1, 1, 1), scaling.weighted_sum),
    (of(0.5, 0.5, 1), scaling.weighted_sum),  # halves
    (of(2.0**-8, 2.0**-20, 1), scaling.weighted_sum),
    (of(0.7, 1e-9, 1), scaling.weighted_sum),
    (of(0.9, 0.3, 1, (-32768, 32767, 5)), scaling.weighted_sum),
    (of(2.0**-17, 2.0**-18, 1), scaling.weighted_sum),
    (of(2.0**14, 2.0**14, 1), scaling.weighted_sum),  # a shift of 16, the least
    (of(2.0**15, 3, 1), integers.wide_sum),
    (of(2.0**-18, 2.0**-18, 1), integers.wide_sum),  # a shift of 48, of which 32 remain
    (of(BELOW_ONE, BELOW_ONE, 1), integers.wide_sum),  # the upper half of m is 2^15
    (of(0.99, 0.99, 1, (32767, -32768, 0)), scaling.weighted_sum),
    (of(0.99, 0.99, 1, (32767, 32767, 0)), integers.wide_sum),  # the constant passes 32 bits
    (of(0.5, 0.1, 1, (0, 0, -32768)), scaling.weighted_sum),
    (of(0.9 * 2.0**-14, 0.3 * 2.0**-14, 1, (0, 0, -32768)), integers.wide_sum),
]
PRODUCTS: list[tuple[dict[str, Type], Kernel]] = [
    (of(2.0**-15, 2.0**-15, 2.0**-15), scaling.scaled_product),
    (of(2.0**-15, 0.3, 0.7, (0, 0, -32768)), scaling.scaled_product),
    (of(2.0**-16, 2.0**-15, 1, (0, 0, 32767)), scaling.scaled_product),
    (of(2.0**-20, 2.0**-30, 1), scaling.scaled_product),  # beyond a shift of 62
    (of(0.5 * BELOW_ONE, 0.5, 1), scaling.scaled_product),  # a shift of 33, the least
    (of(0.25, 2.0**-6, 1), scaling.scaled_product),
    (of(1, 1, 4), integers.wide_product),
    (of(3, 5, 1), integers.wide_product),
]


@pytest.mark.parametrize(("kind", "types", "kernel"), [
    *(("Add", *case) for case in SUMS), *(("Mul", *case) for case in PRODUCTS),
])  # fmt: skip
def test_pairs_at_the_ends_of_their_range(kind: str, types: dict[str, Type], kernel: Kernel) -> None:
    assert chosen(kind, types) == kernel.address
    for count, one in itertools.product((*COUNTS, 200), ("Add", "Sub") if kind == "Add" else ("Mul",)):
        a, b = pairs(count)
        gives_the_references(one, types, {"a": a, "b": b})


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(("Add", "Sub", "Mul")), st.tuples(SCALES, SCALES), st.sampled_from(COUNTS), SEEDS)
def test_pairs_of_any_scales(kind: str, scales: Any, count: int, seed: int) -> None:
    (a_bits, a_power), (b_bits, b_power) = scales
    # The rules take no others: a product's ratio is below one, and a sum's scales do not lie far apart.
    b_power = min(b_power, -a_power) if kind == "Mul" else a_power + b_power % 8 - 4
    types = of(a_bits * 2.0**a_power, b_bits * 2.0**b_power, 1)
    a, b = pairs(count + 100, seed)
    gives_the_references(kind, types, {"a": a[:, -count:], "b": b[:, -count:]})


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul"])
def test_a_stretched_operand(kind: str) -> None:
    types = of(0.3, 2.0**-6, 0.9)
    a, b = (x.reshape(1, 4, 40) for x in pairs(160))
    for one in (a[:, :, :1], a[:, :1], a[:, :1, :1]):
        gives_the_references(kind, types, {"a": one, "b": b})
        gives_the_references(kind, types, {"a": b, "b": one})
    gives_the_references(kind, types, {"a": a[:, :, :1], "b": b[:, :1]})


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("leaving", [Type("int8", 1.0, -7), Type("int16", 1.0), Type("int8", 1.0, 127)])
@pytest.mark.parametrize("entering", [Type("int8", 1.0, 3), Type("int16", 1.0)])
@pytest.mark.parametrize("outputs", COUNTS)
def test_sums_at_the_ends_of_their_range(outputs: int, entering: Type, leaving: Type, *, relu: bool) -> None:
    rng = np.random.default_rng(outputs)
    inputs, (low, high) = 5, entering.limits
    x = rng.choice([low, low + 1, -1, 0, 1, high], (40, 1, inputs)).astype(entering.dtype)
    weight = rng.choice([-127, -1, 0, 1, 127], (outputs, inputs)).astype(np.int8)
    least, greatest = 2.0**-40, 0.2499
    for bias, scales in itertools.product((0, 2**31 - 1 - 2**15 * 127 * inputs), ((least, greatest), (0.2, 0.5))):
        # As many outputs have exact halves as have any ratio.
        ratios = np.where(rng.random(outputs) < 0.5, 0.5 ** rng.integers(3, 24, outputs), rng.choice(scales, outputs))
        arrays = {
            "weight": weight, "scale": ratios, "bias": rng.choice([-bias, bias, -1], outputs).astype(np.int64),
        }  # fmt: skip
        gives_the_references("Linear", {"x": entering, "y": leaving}, {"x": x}, arrays, relu=relu)


@pytest.mark.parametrize(("ratios", "bias", "kernel"), [
    ((0.2499, 2.0**-40), 2**30, scaling.narrow16),
    ((0.2499, 0.25), 2**30, integers.wide16),  # a shift of 32, and no bit left to shift sums up
    ((0.2499, 0.25), 2**29, scaling.narrow16),
    ((0.9, 2.0**9), 2**18, scaling.narrow16),
    ((0.9, 2.0**10), 2**18, integers.wide16),
    ((2.0**10, 2.0**-20), 0, scaling.narrow16),
    ((2.0**10, 2.0**-42), 0, integers.wide16),  # the one is shifted up by as much as the other has no room for
])  # fmt: skip
@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_ratios_that_leave_low_shifts(kind: Any, ratios: tuple[float, float], bias: int, kernel: Kernel) -> None:
    rng, entering = np.random.default_rng(0), Type(kind, 1.0)
    arrays = {"weight": rng.integers(-1, 2, (33, 2)).astype(np.int8), "scale": rng.choice(ratios, 33)}
    arrays["bias"] = rng.choice([-bias, bias], 33)
    x = rng.integers(*entering.limits, (50, 1, 2)).astype(kind)
    for leaving in (Type("int16", 1.0), Type("int16", 1.0, 99), Type("int8", 1.0, -128)):
        gives_the_references("Linear", {"x": entering, "y": leaving}, {"x": x}, arrays)
    if kind == "int8":
        return
    laid, told = Plan(), Tensor(shape=[], dtype=kind, scale=1.0)
    RULES["Linear"](laid, Given("Linear", {}, arrays, (told,), told), laid.buffer((1, 2), np.int16))
    assert laid.rows[-1][0] == kernel.address


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["Add", "Mul", "Linear"])
def test_nothing_beyond_the_output_is_written(kind: str, count: int) -> None:
    laid, told = Plan(), Tensor(shape=[], dtype="int16", scale=2.0**-4)
    arrays = {"weight": np.ones((count, 3), np.int8), "scale": np.full(count, 0.01), "bias": np.full(count, 1000)}
    linear = kind == "Linear"
    inputs = [laid.buffer((1, 3 if linear else count), np.int16) for _ in range(1 if linear else 2)]
    for x in inputs:
        x[...] = 999
    y = RULES[kind](laid, Given(kind, {}, arrays if linear else {}, (told,) * len(inputs), told), *inputs)
    run(laid.table())
    assert y.all()
    whole = y
    while whole.base is not None:
        whole = whole.base
    assert not whole.view(np.uint8)[y.ctypes.data - whole.ctypes.data + y.nbytes :].any()
