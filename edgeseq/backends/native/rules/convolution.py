"""Convolutions: what their kernels cover is a view of the padded input, copied to rows for products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edgeseq.backends.native.plan import Array, Plan
from edgeseq.backends.native.rules.moving import padded
from edgeseq.backends.native.rules.products import linear
from edgeseq.backends.native.rules.rule import Given, Rule


def taps(plan: Plan, op: Given, x: Array, fill: float = 0) -> Array:
    """Return what a convolution multiplies, as a view: [streams, batch, channels, *places, *kernel]."""
    kernel, strides, dilations, pads = (op.attributes[key] for key in ("kernel", "strides", "dilations", "pads"))
    axes = len(kernel)
    if any(pads):
        x = padded(plan, x, [0, 0, *pads[:axes], 0, 0, *pads[axes:]], fill)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    windows = sliding_window_view(x, reach, axis=tuple(range(3, 3 + axes)))
    every: tuple[Any, ...] = tuple(slice(None, None, step) for step in (*strides, *dilations))
    return windows[(..., *every)]


def rows_of(plan: Plan, op: Given, x: Array, fill: float = 0) -> tuple[Array, tuple[int, ...]]:
    """Return the taps as rows for products, [groups, rows, inputs], a row a place; and [streams, batch, *places]."""
    weight, groups, axes = op.arrays["weight"], op.attributes["group"], len(op.attributes["kernel"])
    windows = taps(plan, op, x, fill)
    streams, batch, channels = windows.shape[:3]
    if weight.shape[1:] != (channels // groups, *op.attributes["kernel"]) or len(weight) % groups:
        raise ValueError(f"weights {weight.shape} do not go with {channels} channels in {groups} groups")
    split = windows.reshape(streams, batch, groups, channels // groups, *windows.shape[3:])
    # To [groups, streams, batch, *places, channels of a group, *kernel].
    turned = split.transpose(2, 0, 1, *range(4, 4 + axes), 3, *range(4 + axes, 4 + 2 * axes))
    places = (streams, batch, *windows.shape[3 : 3 + axes])
    return plan.solid(turned).reshape(groups, math.prod(places), weight[0].size), places


def channels_of(plan: Plan, y: Array, places: tuple[int, ...]) -> Array:
    """Return what products gave, [groups, rows, outputs], as [streams, batch, channels, *places]."""
    groups, _, outputs = y.shape
    axes = len(places) - 2
    turned = y.reshape(groups, *places, outputs).transpose(1, 2, 0, 3 + axes, *range(3, 3 + axes))
    if groups == 1:
        return turned[:, :, 0]
    return plan.solid(turned).reshape(*places[:2], groups * outputs, *places[2:])


def _conv(plan: Plan, op: Given, x: Array) -> Array:
    weight, bias = op.arrays["weight"], op.arrays["bias"]
    rows, places = rows_of(plan, op, x)
    outputs = len(weight) // len(rows)
    y = plan.buffer((*rows.shape[:2], outputs), np.float32)
    for group, (here, entering) in enumerate(zip(y, rows, strict=True)):
        part = slice(group * outputs, (group + 1) * outputs)
        relu = bool(op.attributes.get("relu"))
        linear(plan, here, entering, weight[part].reshape(outputs, -1), bias[part], relu=relu)
    return channels_of(plan, y, places)


RULES: dict[str, Rule] = {"Conv": _conv}
