"""Keras' layers in NumPy, straight from their documented equations: the original that an export is held against.

Independent of the ONNX graph: gates stay in Keras' order, kernels in Keras' shapes, convolutions are sums over taps.
Every function works in the type of its input, float32 or float64. Values are [1, time, features], or [1, features]
where time has ended. Source: keras.layers' and keras.activations' documentation (Keras 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.frontends.keras_model import Layers
from export.frontends.keras_reference_activations import Floats, elu, function, leaky, softmax
from export.frontends.keras_reference_attention import ATTENTION
from export.frontends.keras_reference_convolution import CONVOLUTIONS
from export.frontends.keras_reference_product import product
from export.frontends.keras_reference_recurrent import RECURRENT, Ran
from export.graph import Array

Config = Mapping[str, Any]
Weights = list[Floats]
EPSILON = 1e-7


class Reference:
    """The model in NumPy."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self._memories: dict[str, dict[np.dtype[Any], Ran]] = {}

    def run(self, x: Array, dtype: np.dtype[Any]) -> Floats:
        """Return the outputs for frames [1, time, ..] or tokens [1, time], in a float type."""
        values: dict[str, Any] = {self.layers.input: x if self.layers.tokens else x.astype(dtype)}
        for call in self.layers.calls:
            inputs = [values[entry] if isinstance(entry, str) else dtype.type(entry) for entry in call.inputs]
            weights = [weight.astype(dtype) for weight in call.weights]
            if call.kind in RECURRENT:
                memory = self._memories.setdefault(call.name, {})
                values[call.name] = RECURRENT[call.kind](call.config, weights, *inputs, memory)
            else:
                options = call.options if call.kind in ATTENTION else {}
                values[call.name] = FORWARD[call.kind](call.config, weights, *inputs, **options)
        return np.asarray(values[self.layers.output])


def _dense(config: Config, weights: Weights, x: Floats) -> Floats:
    y = product(x, weights[0]) + weights[1] if config["use_bias"] else product(x, weights[0])
    return function(config["activation"])(np.asarray(y))


def _relu(config: Config, _: Weights, x: Floats) -> Floats:
    slope, edge = config.get("negative_slope") or 0.0, config.get("threshold") or 0.0
    y = np.where(x >= edge, x, slope * (x - edge))
    most = config.get("max_value")
    return np.asarray(y if most is None else np.minimum(y, most), x.dtype)


def _layer_norm(config: Config, weights: Weights, x: Floats) -> Floats:
    y = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + config["epsilon"])
    return _scaled(config, weights, np.asarray(y))


def _batch_norm(config: Config, weights: Weights, x: Floats) -> Floats:
    mean, variance = weights[-2:]
    return _scaled(config, weights, np.asarray((x - mean) / np.sqrt(variance + config["epsilon"])))


def _scaled(config: Config, weights: Weights, x: Floats) -> Floats:
    left = list(weights)
    if config["scale"]:
        x = x * left.pop(0)
    return x + left.pop(0) if config["center"] else x


def _normalization(config: Config, weights: Weights, x: Floats) -> Floats:
    given = [config["mean"], config["variance"]] if config.get("mean") is not None else weights[:2]
    mean, variance = (np.ravel(np.asarray(value, np.float32)).astype(x.dtype) for value in given)
    deviation = np.maximum(np.sqrt(variance), EPSILON)
    return np.asarray(mean + x * deviation if config.get("invert") else (x - mean) / deviation, x.dtype)


def _rescaling(config: Config, _: Weights, x: Floats) -> Floats:
    return np.asarray(x * np.asarray(config["scale"], x.dtype) + np.asarray(config["offset"], x.dtype))


def _reshape(config: Config, _: Weights, x: Floats) -> Floats:
    # A number of time steps in the configuration is that of the window the model was built for.
    inner, size = config["target_shape"][1:], math.prod(x.shape[2:])
    known = math.prod(dim for dim in inner if dim != -1)
    timed = x.ndim > 2 and (known == size or (-1 in inner and size % known == 0))  # noqa: PLR2004
    target = [x.shape[1], *config["target_shape"][1:]] if timed else config["target_shape"]
    return x.reshape(1, *target)


def _embedding(_: Config, weights: Weights, x: NDArray[np.integer]) -> Floats:
    if x.min() < 0 or x.max() >= len(weights[0]):
        raise ExportError(f"there are the tokens from 0 to {len(weights[0]) - 1}; {x.min()} to {x.max()} were given.")
    return np.asarray(weights[0][x])


def _folded(operation: Callable[[Any, Any], Any]) -> Callable[..., Floats]:
    def run(_: Config, __: Weights, first: Floats, *others: Floats) -> Floats:
        result: Any = first
        for other in others:
            result = operation(result, other)
        return np.asarray(result)

    return run


FORWARD: dict[str, Callable[..., Floats]] = {
    **CONVOLUTIONS,
    **ATTENTION,
    "Dense": _dense,
    "Activation": lambda config, _, x: function(config["activation"])(x),
    "ReLU": _relu,
    "LeakyReLU": lambda config, _, x: leaky(x, config["negative_slope"]),
    "ELU": lambda config, _, x: elu(x, config["alpha"]),
    "PReLU": lambda _, weights, x: np.where(x >= 0, x, x * weights[0]),
    "Softmax": lambda _, __, x: softmax(x),
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "Add": _folded(np.add),
    "Subtract": _folded(np.subtract),
    "Multiply": _folded(np.multiply),
    "Divide": _folded(np.divide),
    "Maximum": _folded(np.maximum),
    "Minimum": _folded(np.minimum),
    "Average": lambda _, __, *values: np.mean(values, axis=0),
    "Concatenate": lambda _, __, *values: np.concatenate(values, axis=-1),
    "GetItem": lambda _, __, x: x[:, -1],
    "Embedding": _embedding,
    "Flatten": lambda _, __, x: x.reshape(1, -1),
    "Reshape": _reshape,
    "StepFlatten": lambda _, __, x: x.reshape(*x.shape[:2], -1),
    "StepReshape": lambda config, _, x: x.reshape(*x.shape[:2], *config["target_shape"]),
    **dict.fromkeys(
        ("Masking", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout",
         "AlphaDropout", "Identity", "ActivityRegularization"), lambda _, __, x: x,
    ),
}  # fmt: skip
