"""Convolutions: what their kernels cover is a view of the padded input, copied to rows for products."""

from __future__ import annotations

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


def _conv(plan: Plan, op: Given, x: Array) -> Array:
    weight, bias = op.arrays["weight"], op.arrays["bias"]
    groups, axes = op.attributes["group"], len(op.attributes["kernel"])
    windows = taps(plan, op, x)
    streams, batch, channels = windows.shape[:3]
    places = windows.shape[3 : 3 + axes]
    if weight.shape != (len(weight), channels // groups, *op.attributes["kernel"]) or len(weight) % groups:
        raise ValueError(f"weights {weight.shape} do not go with {channels} channels in {groups} groups")
    # [groups, streams, batch, *places, channels of a group, *kernel]: a row is one place of one stream.
    split = windows.reshape(streams, batch, groups, channels // groups, *windows.shape[3:])
    order = (2, 0, 1, *range(4, 4 + axes), 3, *range(4 + axes, 4 + 2 * axes))
    split = split.transpose(order)
    inputs, outputs = weight[0].size, len(weight) // groups
    rows = plan.buffer(split.shape, np.float32)
    plan.copy(rows, split)
    y = plan.buffer((groups, streams * batch * int(np.prod(places)), outputs), np.float32)
    for group in range(groups):
        part = slice(group * outputs, (group + 1) * outputs)
        linear(
            plan, y[group], rows[group].reshape(-1, inputs), weight[part].reshape(outputs, -1), bias[part],
            relu=bool(op.attributes.get("relu")),
        )  # fmt: skip
    # From [groups, streams, batch, *places, outputs] to [streams, batch, channels, *places].
    back = y.reshape(groups, streams, batch, *places, outputs)
    turned = back.transpose(1, 2, 0, 3 + axes, *range(3, 3 + axes))
    if groups == 1:
        return turned[:, :, 0]
    made = plan.buffer(turned.shape, np.float32)
    plan.copy(made, turned)
    return made.reshape(streams, batch, len(weight), *places)


RULES: dict[str, Rule] = {"Conv": _conv}
