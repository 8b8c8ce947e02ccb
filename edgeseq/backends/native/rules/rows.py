"""What is computed over axes: these come last, then it is rows."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from edgeseq.backends.native.kernels import rows as kernels
from edgeseq.backends.native.plan import Array, Plan, address
from edgeseq.backends.native.rules.elementwise import cast
from edgeseq.backends.native.rules.moving import reshaped
from edgeseq.backends.native.rules.rule import Given, Rule
from edgeseq.jit import Kernel


def _rows(plan: Plan, x: Array, axes: Sequence[int]) -> tuple[Array, list[int]]:
    """Return x as rows over some axes, [rows, numbers], side by side in a row; and the order that put them last."""
    order = [*(axis for axis in range(x.ndim) if axis not in axes), *axes]
    moved = x.transpose(order)
    numbers = int(np.prod(moved.shape[x.ndim - len(axes) :]))
    found = reshaped(plan, moved, (moved.size // numbers, numbers))
    return (found if found.strides[1] == found.itemsize or numbers == 1 else plan.solid(found)), order


def _row(plan: Plan, kernel: Kernel, y: Array, x: Array, *more: int) -> None:
    plan.row(kernel, *x.shape, address(y), y.strides[0], address(x), x.strides[0], *more)


def _like(plan: Plan, kernel: Kernel, x: Array, axes: Sequence[int], *more: int) -> Array:
    """Compute rows of as many numbers over some axes."""
    rows, order = _rows(plan, x, axes)
    y = plan.buffer(rows.shape, np.float32)
    _row(plan, kernel, y, rows, *more)
    return y.reshape([x.shape[axis] for axis in order]).transpose(np.argsort(order))


def _softmax(plan: Plan, op: Given, x: Array) -> Array:
    _real(x)
    kernel = kernels.softmax if op.kind == "Softmax" else kernels.log_softmax
    return _like(plan, kernel, x, [op.attributes["axis"] + 1])


def _layer_norm(plan: Plan, op: Given, x: Array) -> Array:
    _real(x)
    axes = range(op.attributes["axis"] + 1, x.ndim)
    scale, bias = (plan.stored(op.arrays[key].astype(np.float32)) for key in ("scale", "bias"))
    if scale.shape != x.shape[axes.start :] or bias.shape != scale.shape:
        raise ValueError(f"a scale {scale.shape} and a bias {bias.shape} do not go with {x.shape[1:]}")
    epsilon = struct.unpack("q", struct.pack("d", op.attributes["epsilon"]))[0]
    return _like(plan, kernels.layer_norm, x, axes, address(scale), address(bias), epsilon)


def _reduced(plan: Plan, op: Given, x: Array) -> Array:
    axes = [axis + 1 for axis in op.attributes["axes"]]
    wide = cast(plan, x, "int64") if x.dtype == np.int32 else x
    rows, _ = _rows(plan, wide, axes)
    y = plan.buffer((len(rows), 1), wide.dtype)
    _row(plan, kernels.REDUCED[op.kind, wide.dtype.name], y, rows)
    kept = y.reshape([1 if axis in axes else size for axis, size in enumerate(x.shape)])
    return kept if op.kind == "ReduceSum" else cast(plan, kept, x.dtype.name)


def _real(x: Array) -> None:
    if x.dtype != np.float32:
        raise ValueError(f"there is none of {x.dtype}")


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    "LayerNormalization": _layer_norm,
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"), _reduced),
}
