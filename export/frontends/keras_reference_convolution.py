"""Keras' convolutions, poolings and padding in NumPy: sums over taps, kernels in Keras' shapes.

A window runs along all axes between the batch and the channels: time, and the features of images.
Source: keras.layers' documentation (Keras 3).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from export.errors import ExportError
from export.frontends.keras_reference_activations import Floats, function
from export.frontends.keras_reference_product import product

Config = Mapping[str, Any]
Weights = list[Floats]
TIME = 1


def _numbers(value: Any, axes: int) -> list[int]:
    return [int(number) for number in (value if isinstance(value, list) else [value] * axes)]


def _taps(config: Config, x: Floats, width: list[int], fill: float = 0.0) -> Iterator[tuple[tuple[int, ...], Floats]]:
    """Yield each tap of a window: its place, and what it sees of x, after padding, [1, entries, .., channels]."""
    axes = x.ndim - 2
    strides = _numbers(width if config["strides"] is None else config["strides"], axes)
    dilations = _numbers(config.get("dilation_rate", 1), axes)
    pads, counts = [], []
    for axis, stride in enumerate(strides):
        size, span = x.shape[1 + axis], (width[axis] - 1) * dilations[axis]
        total = {"valid": 0, "causal": span}.get(
            config["padding"], max((-(-size // stride) - 1) * stride + span + 1 - size, 0)
        )
        before = total // 2 if config["padding"] == "same" else total
        pads.append((before, total - before))
        counts.append((size + total - span - 1) // stride + 1)
        if size + total <= span:
            raise ExportError(f"a window of {span + 1} steps does not fit into the {size} there are at that place.")
    x = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    for place in itertools.product(*map(range, width)):
        starts = [tap * dilation for tap, dilation in zip(place, dilations, strict=True)]
        cuts = [
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(starts, counts, strides, strict=True)
        ]
        yield place, x[:, *cuts]


def _convolution(config: Config, weights: Weights, x: Floats) -> Floats:
    kernel, width = weights[0], list(weights[0].shape[:-2])
    parts = zip(*(np.split(each, config["groups"], axis=-1) for each in (x, kernel)), strict=True)
    sums = [_summed(product(seen, k[place]) for place, seen in _taps(config, a, width)) for a, k in parts]
    return _finished(config, weights[1:], np.concatenate(sums, axis=-1))


def _each_channel(config: Config, kernel: Floats, x: Floats) -> Floats:
    taps = _taps(config, x, list(kernel.shape[:-2]))
    y = _summed(np.asarray(seen[..., None] * kernel[place]) for place, seen in taps)
    return np.asarray(y.reshape(*y.shape[:-2], -1))


def _summed(parts: Iterator[Floats]) -> Floats:
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def _finished(config: Config, bias: Weights, y: Floats) -> Floats:
    return function(config["activation"])(y + bias[0] if config["use_bias"] else y)


def _depthwise(config: Config, weights: Weights, x: Floats) -> Floats:
    return _finished(config, weights[1:], _each_channel(config, weights[0], x))


def _separable(config: Config, weights: Weights, x: Floats) -> Floats:
    kernel = weights[1].reshape(weights[1].shape[-2:])
    return _finished(config, weights[2:], product(_each_channel(config, weights[0], x), kernel))


def _largest(config: Config, _: Weights, x: Floats) -> Floats:
    taps = [seen for _, seen in _taps(config, x, _numbers(config["pool_size"], x.ndim - 2), -np.inf)]
    return np.asarray(np.max(taps, axis=0))


def _average(config: Config, _: Weights, x: Floats) -> Floats:
    # NaN stands for padding, which is not counted.
    taps = [seen for _, seen in _taps(config, x, _numbers(config["pool_size"], x.ndim - 2), np.nan)]
    return np.asarray(np.nanmean(taps, axis=0))


def _pairs(value: Any, axes: int) -> list[tuple[int, int]]:
    pairs = value if axes > 1 and isinstance(value, list) else [value]
    return [(each, each) if isinstance(each, int) else tuple(each) for each in pairs]


def _pad(config: Config, _: Weights, x: Floats) -> Floats:
    return np.pad(x, ((0, 0), *_pairs(config["padding"], x.ndim - 2), (0, 0)))


def _crop(config: Config, _: Weights, x: Floats) -> Floats:
    pairs = _pairs(config["cropping"], x.ndim - 2)
    return x[:, *(slice(before, size - after) for (before, after), size in zip(pairs, x.shape[1:-1], strict=True))]


def _of_all(reduce: Callable[..., Floats]) -> Callable[[Config, Weights, Floats], Floats]:
    return lambda _, __, x: reduce(x, axis=tuple(range(TIME, x.ndim - 1)))


CONVOLUTIONS: dict[str, Callable[..., Floats]] = {
    f"{kind}{axes}D": run
    for axes in (1, 2)
    for kind, run in (
        ("Conv", _convolution),
        ("DepthwiseConv", _depthwise),
        ("SeparableConv", _separable),
        ("MaxPooling", _largest),
        ("AveragePooling", _average),
        ("GlobalAveragePooling", _of_all(np.mean)),
        ("GlobalMaxPooling", _of_all(np.max)),
        ("ZeroPadding", _pad),
        ("Cropping", _crop),
    )
}
