"""Elementwise operations joined into one (fusing.py)."""

from __future__ import annotations

from functools import partial

import numpy as np

from edgeseq.backends.native.kernels import fused as kernels
from edgeseq.backends.native.plan import Array, Plan, address, collapsed
from edgeseq.backends.native.rules.rule import Given, Rule
from edgeseq.jit import Kernel


def _fused(kernel: Kernel, plan: Plan, _: Given, *inputs: Array) -> Array:
    parts = list(np.broadcast_arrays(*inputs))
    y = plan.buffer(parts[0].shape, np.float32)
    shape, strides = collapsed(y, *parts)
    if len(shape) > 2 or any(each[-1] != y.itemsize for each in strides):  # noqa: PLR2004 - rows and columns
        parts = [plan.solid(part) for part in parts]
        shape, strides = collapsed(y, *parts)
    values = [1, *shape] if len(shape) == 1 else [*shape]
    for part, here in zip((y, *parts), strides, strict=True):
        values += [address(part), here[0] // 4 if len(here) > 1 else 0]
    plan.row(kernel, *values)
    return y


RULES: dict[str, Rule] = {
    "SumSigmoid": partial(_fused, kernels.sum_sigmoid),
    "SumTanh": partial(_fused, kernels.sum_tanh),
    "GatedTanh": partial(_fused, kernels.gated_tanh),
    "Mixed": partial(_fused, kernels.mixed),
    "Carried": partial(_fused, kernels.carried),
    "Shown": partial(_fused, kernels.shown),
}
