"""What hangs on the source's length alone: a constant of the layout for that length."""

from __future__ import annotations

import numpy as np

from edgeseq.backends.native.plan import Array, Plan
from edgeseq.backends.native.rules.rule import Given, Rule

MOST = 1 << 28
"""Beyond that no honest program counts."""


def _shape(plan: Plan, op: Given, x: Array) -> Array:
    sizes = x.shape[1:][op.attributes["start"] : op.attributes["end"]]
    return plan.stored(np.array([sizes], np.int64))


def _range(plan: Plan, _: Given, *bounds: Array) -> Array:
    if len(bounds) != 3 or not all(plan.constant(bound) and bound.size == 1 for bound in bounds):  # noqa: PLR2004
        raise ValueError("counts between numbers that are not known before it runs")
    first, last, step = (bound.item() for bound in bounds)
    if (last - first) / step > MOST:
        raise ValueError(f"counts from {first} to {last}")
    return plan.stored(np.arange(first, last, step, dtype=bounds[0].dtype)[None])


RULES: dict[str, Rule] = {"Shape": _shape, "Range": _range}
