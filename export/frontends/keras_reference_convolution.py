"""Keras' convolutions, poolings and padding in NumPy: sums over taps, kernels in Keras' shapes.

Source: keras.layers' documentation (Keras 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from export.errors import ExportError
from export.frontends.keras_reference_activations import Floats, function

Config = Mapping[str, Any]
Weights = list[Floats]


def _windows(  # noqa: PLR0917 - two calls, below
    config: Config, x: Floats, width: int, dilation: int, stride: int, fill: float = 0.0
) -> Floats:
    """Return [taps, 1, entries, features]: what each tap of a window sees, after padding."""
    span = (width - 1) * dilation
    before = {"valid": 0, "causal": span, "same": span // 2}[config["padding"]]
    after = span - before if config["padding"] == "same" else 0
    x = np.pad(x, ((0, 0), (before, after), (0, 0)), constant_values=fill)
    count = (x.shape[1] - span - 1) // stride + 1
    if count < 1:
        raise ExportError(f"a window of {span + 1} steps does not fit into the {x.shape[1]} there are at that place.")
    return np.stack([x[:, tap * dilation :][:, : (count - 1) * stride + 1 : stride] for tap in range(width)])


def _number(value: Any) -> int:
    return int(np.ravel(value)[0])


def _taps(config: Config, x: Floats, width: int) -> Floats:
    return _windows(config, x, width, _number(config["dilation_rate"]), _number(config["strides"]))


def _convolution(config: Config, weights: Weights, x: Floats) -> Floats:
    groups, kernel = config["groups"], weights[0]
    parts = zip(np.split(x, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True)
    y = np.concatenate([np.einsum("kbtc,kcf->btf", _taps(config, a, len(k)), k) for a, k in parts], axis=-1)
    return function(config["activation"])(y + weights[1] if config["use_bias"] else y)


def _each_channel(config: Config, kernel: Floats, x: Floats) -> Floats:
    y = np.einsum("kbtc,kcm->btcm", _taps(config, x, len(kernel)), kernel)
    return np.asarray(y.reshape(*y.shape[:2], -1))


def _depthwise(config: Config, weights: Weights, x: Floats) -> Floats:
    y = _each_channel(config, weights[0], x)
    return function(config["activation"])(y + weights[1] if config["use_bias"] else y)


def _separable(config: Config, weights: Weights, x: Floats) -> Floats:
    y = _each_channel(config, weights[0], x) @ weights[1][0]
    return function(config["activation"])(y + weights[2] if config["use_bias"] else y)


def _pool(reduce: Callable[..., Floats]) -> Callable[[Config, Weights, Floats], Floats]:
    def run(config: Config, _: Weights, x: Floats) -> Floats:
        width = _number(config["pool_size"])
        stride = width if config["strides"] is None else _number(config["strides"])
        # NaN stands for padding, which no maximum takes and no average counts.
        return np.asarray(reduce(_windows(config, x, width, 1, stride, np.nan), axis=0))

    return run


def _pad(config: Config, _: Weights, x: Floats) -> Floats:
    amounts = config["padding"]
    return np.pad(x, ((0, 0), (amounts, amounts) if isinstance(amounts, int) else tuple(amounts), (0, 0)))


def _crop(config: Config, _: Weights, x: Floats) -> Floats:
    before, after = (config["cropping"],) * 2 if isinstance(config["cropping"], int) else config["cropping"]
    return x[:, before : x.shape[1] - after]


CONVOLUTIONS: dict[str, Callable[..., Floats]] = {
    "Conv1D": _convolution,
    "DepthwiseConv1D": _depthwise,
    "SeparableConv1D": _separable,
    "MaxPooling1D": _pool(np.nanmax),
    "AveragePooling1D": _pool(np.nanmean),
    "GlobalAveragePooling1D": lambda _, __, x: x.mean(axis=1),
    "GlobalMaxPooling1D": lambda _, __, x: x.max(axis=1),
    "ZeroPadding1D": _pad,
    "Cropping1D": _crop,
}
