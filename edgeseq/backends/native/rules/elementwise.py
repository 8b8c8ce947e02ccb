"""One number to one number, or two to one, stretched as NumPy does."""

from __future__ import annotations

from functools import partial

import numpy as np

from edgeseq.backends.native.kernels import elementwise as kernels
from edgeseq.backends.native.plan import Array, Plan, address, collapsed
from edgeseq.backends.native.rules.rule import Given, Rule
from edgeseq.jit import Kernel

LOOPS = 3


def elementwise(plan: Plan, kernel: Kernel, dtype: type, *inputs: Array) -> Array:
    """Write one number of each input to one of the output."""
    parts = list(np.broadcast_arrays(*inputs))
    y = plan.buffer(parts[0].shape, dtype)
    shape, strides = collapsed(y, *parts)
    if len(shape) > LOOPS or any(s[-1] not in (0, a.itemsize) for s, a in zip(strides, (y, *parts), strict=True)):
        parts = [plan.solid(part) for part in parts]
        shape, strides = collapsed(y, *parts)
    fill = (0,) * (LOOPS - len(shape))
    values: list[int] = [*(1,) * len(fill), *shape, address(y), *fill, *(s // y.itemsize for s in strides[0])]
    # y has no gaps in the innermost loop, so its stride there is left out.
    values = values[:-1]
    for part, here in zip(parts, strides[1:], strict=True):
        values += [address(part), *fill, *(s // part.itemsize for s in here)]
    plan.row(kernel, 0, *values)
    return y


def _real(kernel: Kernel, plan: Plan, op: Given, *inputs: Array) -> Array:
    return elementwise(plan, kernel, np.float32, *inputs)


RULES: dict[str, Rule] = {
    "Add": partial(_real, kernels.add),
    "Sub": partial(_real, kernels.subtract),
    "Mul": partial(_real, kernels.multiply),
    "Sigmoid": partial(_real, kernels.sig),
    "Tanh": partial(_real, kernels.tan),
}
