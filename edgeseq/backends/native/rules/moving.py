"""What moves numbers about: a view where there is one, else a copy."""

from __future__ import annotations

import numpy as np

from edgeseq.backends.native.kernels import moving as kernels
from edgeseq.backends.native.plan import Array, Plan, address
from edgeseq.backends.native.rules.elementwise import cast
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


def _gather(plan: Plan, op: Given, data: Array, indices: Array) -> Array:
    axis = op.attributes["axis"] + 1
    if plan.constant(indices):
        if np.any((indices < -data.shape[axis]) | (indices >= data.shape[axis])):
            raise ValueError(f"takes entries {indices.min()} to {indices.max()} of {data.shape[axis]}")
        found = _evenly(data, indices[0], axis)
        if found is not None:
            return found
    return _gathered(plan, data, indices, axis)


def _evenly(data: Array, indices: Array, axis: int) -> Array | None:
    """Return constant indices that lie evenly as a view; None where they do not."""
    size = data.shape[axis]
    flat = [int(index) % size for index in indices.reshape(-1)]
    step = flat[1] - flat[0] if len(flat) > 1 else 1
    if not flat or step == 0 or flat != list(range(flat[0], flat[0] + step * len(flat), step)):
        return None
    end = flat[-1] + (1 if step > 0 else -1)
    part = data[(slice(None),) * axis + (slice(flat[0], None if end < 0 else end, step),)]
    if indices.ndim == 1:
        return part
    return part.squeeze(axis) if indices.ndim == 0 else None


def _gathered(plan: Plan, data: Array, indices: Array, axis: int) -> Array:
    """Copy the entries that indices name, which may differ from stream to stream and from step to step."""
    if not data.shape[axis]:
        raise ValueError("gathers from nothing")
    streams = max(len(data), len(indices))
    before, after = data.shape[1:axis], data.shape[axis + 1 :]
    made = plan.buffer((streams, *before, *indices.shape[1:], *after), data.dtype)
    outer, block = int(np.prod(before)), int(np.prod(after))
    source = reshaped(plan, data, (len(data), outer, data.shape[axis], block))
    if source.strides[3] != source.itemsize and block > 1:
        source = plan.solid(source)
    places = plan.solid(cast(plan, indices, "int64")).reshape(len(indices), -1)
    by_stream = [array.strides[0] if len(array) > 1 else 0 for array in (source, places)]
    plan.row(
        kernels.GATHER[data.itemsize], streams, outer, places.shape[1], data.shape[axis], block, address(made),
        address(source), by_stream[0], *source.strides[1:3], address(places), by_stream[1],
    )  # fmt: skip
    return made


RULES: dict[str, Rule] = {
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Slice": _slice,
    "Expand": _expand,
    "Concat": _concat,
    "Gather": _gather,
    "Pad": _pad,
}
