"""TimeDistributed: the layer it holds, on every time step by itself.

1. Layers on the last axis are the same with or without it.
2. Flatten and Reshape of a step leave time where it is.
3. One-dimensional convolutions and poolings along a step's features are two-dimensional ones of width 1 over time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.frontends.keras_layers import PER_STEP

Config = Mapping[str, Any]
Weights = tuple[NDArray[np.float32], ...]
STEPS = {"Flatten": "StepFlatten", "Reshape": "StepReshape"}
ALONG = ("Conv1D", "DepthwiseConv1D", "SeparableConv1D", "MaxPooling1D", "AveragePooling1D")
WIDTHS = ("kernel_size", "pool_size", "strides", "dilation_rate")
KERNEL = 3
"""Axes of a kernel, [width, channels, filters]."""


def check(layer: Config, name: str, *, known: bool) -> None:
    """Raise ExportError for layers that have no meaning on a step here. known: it is one of Keras' own."""
    kind = str(layer["class_name"])
    if not known or kind not in (*PER_STEP, *STEPS, *ALONG):
        raise ExportError(
            f"layer '{name}' (TimeDistributed): it holds a '{kind}'; only layers on single time steps are streamed in "
            f"it: {', '.join(sorted((*PER_STEP, *STEPS, *ALONG)))}."
        )


def on_steps(layer: Config, weights: Weights, name: str) -> tuple[str, Config, Weights]:
    """Return the kind, configuration and weights of the layer that does the same and keeps time."""
    kind, config = str(layer["class_name"]), layer["config"]
    if kind in STEPS:
        return STEPS[kind], config, weights
    if kind not in ALONG:
        return kind, config, weights
    if config["padding"] == "causal":
        raise ExportError(f"layer '{name}' ({kind}): padding='causal' along features is not supported.")
    wide = {key: [1, *_one(config[key])] for key in WIDTHS if config.get(key) is not None}
    kernels = tuple(weight[None] if weight.ndim == KERNEL else weight for weight in weights)
    return kind.replace("1D", "2D"), {**config, **wide}, kernels


def _one(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value]
