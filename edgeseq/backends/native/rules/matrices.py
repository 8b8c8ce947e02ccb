"""Products of two values, each a matrix or a stack of them."""

from __future__ import annotations

import numpy as np

from edgeseq.backends.native.kernels import matrices as kernels
from edgeseq.backends.native.kernels.vectors import LANES
from edgeseq.backends.native.plan import Array, Plan, address, collapsed
from edgeseq.backends.native.rules.rule import Given, Rule
from edgeseq.jit import Kernel

STACKS = 2


def _matmul(plan: Plan, _: Given, a: Array, b: Array) -> Array:
    if a.dtype != b.dtype or a.dtype.name not in {"float32", "float64"} or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"there is no product of {a.dtype}{a.shape[1:]} and {b.dtype}{b.shape[1:]}")
    stacks = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = plan.buffer((*stacks, a.shape[-2], b.shape[-1]), a.dtype)
    kernel = kernels.of_doubles
    if a.dtype == np.float32:
        a = a if a.strides[-1] == a.itemsize or a.shape[-1] == 1 else plan.solid(a)
        kernel = kernels.by_columns if b.strides[-1] == b.itemsize else kernels.by_inputs
        if kernel is kernels.by_inputs and b.strides[-2] != b.itemsize:
            b, kernel = plan.solid(b), kernels.by_columns
    zeros = plan.buffer((4 * LANES,), np.float32)
    _product(
        plan,
        kernel,
        y,
        np.broadcast_to(a, (*stacks, *a.shape[-2:])),
        np.broadcast_to(b, (*stacks, *b.shape[-2:])),
        zeros,
    )
    return y


def _product(  # noqa: PLR0917 - what a product is made of
    plan: Plan, kernel: Kernel, y: Array, a: Array, b: Array, zeros: Array
) -> None:
    """Write y = a @ b, all of them with the same stacks."""
    loops, strides = collapsed(*(array[..., 0, 0] for array in (y, a, b)))
    if len(loops) > STACKS:
        for here, left, right in zip(y, a, b, strict=True):
            _product(plan, kernel, here, left, right, zeros)
        return
    of_y, of_a, of_b = ([*(0,) * (STACKS - len(loops)), *each] for each in strides)
    plan.row(
        kernel, *(1,) * (STACKS - len(loops)), *loops, *a.shape[-2:], b.shape[-1], address(y), *of_y, y.strides[-2],
        address(a), *of_a, *a.strides[-2:], address(b), *of_b, *b.strides[-2:], address(zeros),
    )  # fmt: skip


RULES: dict[str, Rule] = {"MatMul": _matmul}
