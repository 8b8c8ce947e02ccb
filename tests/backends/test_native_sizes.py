"""What the native engine computes of lengths alone: known when it is laid out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_ops import computed, holds

from edgeseq.backends.native.plan import Plan
from edgeseq.backends.native.program import Tensor
from edgeseq.backends.native.rules import REAL
from edgeseq.backends.native.rules.rule import Given


def ruled(kind: str, *inputs: Any, constant: bool = True, **attributes: Any) -> np.ndarray:
    """Apply a rule to inputs without streams; return what it gives, which has to be a constant."""
    plan, arrays = Plan(), [np.asarray(x)[None] for x in inputs]
    told = tuple(Tensor(shape=list(x.shape[1:]), dtype=x.dtype.name) for x in arrays)
    held = [plan.stored(x) if constant else plan.buffer(x.shape, x.dtype) for x in arrays]
    y = REAL[kind](plan, Given(kind, attributes, {}, told, Tensor(shape=[])), *held)
    assert plan.constant(y)
    assert not plan.rows
    return y[0]


@pytest.mark.parametrize(("start", "end"), [(0, 3), (1, 2), (-1, 3), (0, -1), (2, 2)])
def test_a_shape_is_that_of_a_stream(start: int, end: int) -> None:
    x = np.zeros((3, 4, 1, 6), np.float32)
    y = computed("Shape", [x], {"start": start, "end": end}, {})
    np.testing.assert_array_equal(y, [x.shape[1:][start:end]])
    assert y.dtype == np.int64


@pytest.mark.parametrize("bounds", [(0, 7, 1), (3, -4, -2), (5, 5, 1), (5, 0, 1), (0.0, 1.0, 0.25)])
def test_a_range_is_numpys(bounds: tuple[float, float, float]) -> None:
    wanted = np.int64 if isinstance(bounds[0], int) else np.float32
    y = ruled("Range", *(wanted(bound) for bound in bounds))
    np.testing.assert_array_equal(y, np.arange(*bounds, dtype=wanted))
    assert y.dtype == wanted


def test_a_range_of_a_shape_is_one_too() -> None:
    plan, told = Plan(), Tensor(shape=[])
    x = plan.buffer((1, 5, 2), np.float32)
    (length,) = REAL["Shape"](plan, Given("Shape", {"start": 0, "end": 1}, {}, (told,), told), x)
    bounds = (plan.stored(np.zeros(1, np.int64)), length, plan.stored(np.ones(1, np.int64)))
    y = REAL["Range"](plan, Given("Range", {}, {}, (told,) * 3, told), *bounds)
    np.testing.assert_array_equal(y, [np.arange(5)])


def test_what_is_not_known_before_it_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="not known before it runs"):
        ruled("Range", np.int64(0), np.int64(3), np.int64(1), constant=False)
    with pytest.raises(ValueError, match="not known before it runs"):
        ruled("Range", np.int64(0), np.int64(3))
    with pytest.raises(ValueError, match="counts from 0 to 4611686018427387904"):
        ruled("Range", np.int64(0), np.int64(2**62), np.int64(1))
    with pytest.raises(ZeroDivisionError):
        ruled("Range", np.int64(0), np.int64(1), np.int64(0))


@pytest.mark.parametrize("places", [[0, 3], [-4, 0], [[1], [9]]])
def test_a_known_place_that_a_table_does_not_have_is_refused(places: Any) -> None:
    """Unlike one from data, which stays inside."""
    plan, x = Plan(), np.zeros((1, 3, 2), np.float32)
    indices = np.array(places)
    told = (Tensor(shape=[3, 2]), Tensor(shape=list(indices.shape), dtype="int64"))
    with pytest.raises(ValueError, match=r"takes entries -?\d to \d of 3"):
        REAL["Gather"](plan, Given("Gather", {"axis": 0}, {}, told, Tensor(shape=[])), x, plan.stored(indices[None]))


@pytest.mark.parametrize("shape", [(-1, 4), (2, -1), (1, -1, 2)])
def test_a_view_infers_a_length(shape: tuple[int, ...]) -> None:
    for order in (np.arange(24), np.arange(24)[::-1]):
        x = order.astype(np.float32).reshape(3, 4, 2)
        holds("Reshape", [x], {"shape": shape})
        holds("Reshape", [np.ascontiguousarray(x.transpose(0, 2, 1)).transpose(0, 2, 1)], {"shape": shape})


def test_a_cut_counts_from_an_end_that_it_does_not_know() -> None:
    x = np.arange(24, dtype=np.float32).reshape(1, 12, 2)
    y = holds("Slice", [x], {"starts": (-3, 0), "ends": (2**63 - 1, 2), "steps": (1, 1)})
    np.testing.assert_array_equal(y, x[:, -3:])
