"""Weights and biases as integers, for a type under which the product's input enters.

Weights that several products share (the steps of a recurrent layer in a window) are rounded once, for all their inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.operations import taps
from export.program import Array, Op, Type
from export.quantize.rounding import round_weights

BIAS_LIMIT = 2.0**30
MAX_ROWS = 8192
"""Rows of inputs that weights are rounded for, at most."""
Matrix = NDArray[np.float64]
STORED = {"int8": np.int8, "int16": np.int16}


@dataclass(frozen=True)
class Rounded:
    """weight: int8, of the float weight's shape. scale: one an output. lost: what the mean output lost by rounding."""

    weight: NDArray[np.int8]
    scale: NDArray[np.float64]
    lost: NDArray[np.float64]


def rounded(op: Op, sharing: Sequence[tuple[Op, Type, Array]]) -> Rounded:
    """Round a product's weights. sharing: all that use them, each with its input's type and sample [rows, *shape]."""
    weight = op.arrays["weight"].astype(np.float64)
    flat = weight.reshape(len(weight), -1)
    # A row of tiny weights under a great bias takes the scale at which the bias still fits its integer.
    least = np.maximum.reduce([np.abs(o.arrays["bias"]) / (kind.scale * BIAS_LIMIT) for o, kind, _ in sharing])
    least = np.maximum(least, np.finfo(np.float32).tiny)
    scale = np.maximum(np.abs(flat).max(axis=1) / 127, least).astype(np.float32).astype(np.float64)
    groups = op.attributes.get("group", 1)
    real = [_inputs(o, sample.astype(np.float64)) for o, _, sample in sharing]
    held = [_inputs(o, as_stored(sample.astype(np.float64), kind)) for o, kind, sample in sharing]
    stored, lost = np.empty(flat.shape, np.int8), np.empty(len(flat))
    for group in range(groups):
        rows = slice(group * len(flat) // groups, (group + 1) * len(flat) // groups)
        x, y = (_thinned(np.concatenate([part[group] for part in parts])) for parts in (real, held))
        stored[rows], lost[rows] = round_weights(flat[rows], scale[rows], x, y)
    return Rounded(stored.reshape(weight.shape), scale, lost)


def arrays(op: Op, found: Rounded, entering: Type) -> dict[str, Array]:
    """Return a product's integers: weight, scale, and bias (int32; int64 beside 16-bit inputs)."""
    wide: type[np.signedinteger[Any]] = np.int32 if entering.dtype == "int8" else np.int64
    bias = np.rint((op.arrays["bias"].astype(np.float64) + found.lost) / (found.scale * entering.scale)).astype(wide)
    return {"weight": found.weight, "scale": found.scale, "bias": bias}


def as_stored(values: Array, kind: Type) -> Array:
    """Return real values as they are after storing them under a type."""
    stored = np.clip(np.rint(values / kind.scale) + kind.zero_point, *kind.limits)
    return np.asarray((stored - kind.zero_point) * kind.scale)


def _inputs(op: Op, sample: Array) -> list[Matrix]:
    """Return what each group of a product's outputs is computed of: [rows, inputs]."""
    if op.kind == "Linear":
        return [sample.reshape(-1, sample.shape[-1])]
    windows = taps(op, sample)
    places = tuple(range(3, 3 + len(op.attributes["kernel"])))
    # [streams, batch, channels, places, kernel] -> [streams, batch, places, channels, kernel]
    windows = np.moveaxis(windows, 2, 2 + len(places))
    groups = np.split(windows, op.attributes["group"], axis=2 + len(places))
    width = op.arrays["weight"][0].size
    return [np.ascontiguousarray(part).reshape(-1, width) for part in groups]


def _thinned(rows: Matrix) -> Matrix:
    return rows[:: -(-len(rows) // MAX_ROWS)] if len(rows) > MAX_ROWS else rows


def table(content: Array, looked_up: int, leaving: int, kind: Type) -> tuple[Array, NDArray[np.float32]]:
    """Return a table of constants in a type of scale 1, and the factor of what is looked up along an axis of it.

    leaving: how many axes that has. One factor an entry of the last axis that is not looked up; of a table of one axis,
    one for the whole. Whole numbers that fit stay what they are.
    """
    column = max((axis for axis in range(content.ndim) if axis != looked_up), default=None)
    others = tuple(axis for axis in range(content.ndim) if axis != column)
    greatest = np.abs(content).max(axis=others, keepdims=True)
    factor = np.where(greatest > 0, greatest / kind.limits[1], 1).astype(np.float32)
    if greatest.max() <= kind.limits[1] and (content == np.rint(content)).all():
        factor = np.ones_like(factor)
    stored = np.rint(content / factor).astype(STORED[kind.dtype])
    if column is None:
        return stored, factor.reshape(())
    # Where the axis looked up stands behind, the axes of the places come out in its place.
    behind = content.ndim - 1 - column if column > looked_up else leaving - 1 - column
    return stored, factor.reshape(-1, *(1,) * behind)
