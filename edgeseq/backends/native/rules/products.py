"""Products: rows with constant weights."""

from __future__ import annotations

import numpy as np

from edgeseq.backends.native.kernels import products as kernels
from edgeseq.backends.native.kernels.vectors import LANES
from edgeseq.backends.native.plan import Array, Plan, address
from edgeseq.backends.native.rules.rule import Given, Rule


def _linear(plan: Plan, op: Given, x: Array) -> Array:
    weight, bias = op.arrays["weight"], op.arrays["bias"]
    y = plan.buffer((*x.shape[:-1], len(weight)), np.float32)
    linear(
        plan,
        y.reshape(-1, len(weight)),
        plan.solid(x).reshape(-1, x.shape[-1]),
        weight,
        bias,
        relu=bool(op.attributes.get("relu")),
    )
    return y


def linear(plan: Plan, y: Array, x: Array, weight: Array, bias: Array, *, relu: bool) -> None:
    """Write y [rows, outputs] = x [rows, inputs] @ weight.T + bias; the last axes have no gaps."""
    if x.ndim != 2 or x.shape[1:] != weight.shape[1:] or bias.shape != weight.shape[:1] or x.dtype != np.float32:  # noqa: PLR2004
        raise ValueError(f"{x.dtype}{x.shape} does not go with weights {weight.shape} and a bias {bias.shape}")
    for size, count, first in kernels.panels(len(weight), 4 * weight.shape[1]):
        panels, offsets = kernels.packed(weight, bias, size, count, first)
        panels, offsets = plan.stored(panels), plan.stored(offsets)
        width = min(count * size * LANES, len(weight) - first)
        plan.row(
            kernels.LINEAR[size], len(x), address(x), x.strides[0], address(panels), address(offsets), count,
            x.shape[1], address(y) + 4 * first, y.strides[0], width, int(relu),
        )  # fmt: skip


RULES: dict[str, Rule] = {"Linear": _linear}
