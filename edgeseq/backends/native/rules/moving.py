"""What moves numbers about: a view where there is one, else a copy."""

from __future__ import annotations

import numpy as np

from edgeseq.backends.native.plan import Array, Plan
from edgeseq.backends.native.rules.rule import Given, Rule


def reshaped(plan: Plan, x: Array, shape: tuple[int, ...]) -> Array:
    """Return a view of another shape; of a copy without gaps where the array has none."""
    view = x.view()
    try:
        view.shape = shape
    except AttributeError:
        return plan.solid(x).reshape(shape)
    return view


def _reshape(plan: Plan, op: Given, x: Array) -> Array:
    return reshaped(plan, x, (len(x), *op.attributes["shape"]))


def _squeeze(_: Plan, op: Given, x: Array) -> Array:
    return x.squeeze(tuple(axis + 1 for axis in op.attributes["axes"]))


def _unsqueeze(_: Plan, op: Given, x: Array) -> Array:
    return np.expand_dims(x, tuple(axis + 1 for axis in op.attributes["axes"]))


def _transpose(_: Plan, op: Given, x: Array) -> Array:
    return x.transpose(0, *(axis + 1 for axis in op.attributes["perm"]))


def _slice(_: Plan, op: Given, x: Array) -> Array:
    parts = zip(*(op.attributes[key] for key in ("starts", "ends", "steps")), strict=True)
    return x[(slice(None), *(slice(*part) for part in parts))]


def _expand(_: Plan, op: Given, x: Array) -> Array:
    return np.broadcast_to(x, (len(x), *op.attributes["shape"]))


def _concat(plan: Plan, op: Given, *parts: Array) -> Array:
    axis = op.attributes["axis"] + 1
    streams = max(map(len, parts))
    shape = list(parts[0].shape)
    shape[0], shape[axis] = streams, sum(part.shape[axis] for part in parts)
    made, start = plan.buffer(shape, parts[0].dtype), 0
    for part in parts:
        index = [slice(None)] * len(shape)
        index[axis] = slice(start, start + part.shape[axis])
        plan.copy(made[tuple(index)], part)
        start += part.shape[axis]
    return made


def _pad(plan: Plan, op: Given, x: Array) -> Array:
    return padded(plan, x, op.attributes["pads"], op.attributes["value"])


def padded(plan: Plan, x: Array, pads: list[int], value: float) -> Array:
    """Return x [streams, ...] with borders that hold a value; pads: all starts, then all ends."""
    half = len(pads) // 2
    ends = [start + size for start, size in zip(pads, x.shape[1:], strict=False)]
    made = plan.buffer((len(x), *(end + more for end, more in zip(ends, pads[half:], strict=True))), x.dtype)
    # Only the middle is written in a step; the borders stay what they are.
    made[...] = value
    plan.copy(made[(slice(None), *(slice(start, end) for start, end in zip(pads, ends, strict=False)))], x)
    return made


RULES: dict[str, Rule] = {
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Slice": _slice,
    "Expand": _expand,
    "Concat": _concat,
    "Pad": _pad,
}
