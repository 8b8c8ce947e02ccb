"""Keras' activations in NumPy, each in the type of its input. Source: keras.activations' documentation (Keras 3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Function = Callable[[Floats], Floats]
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, which never overflows."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)


def _softplus(x: Floats) -> Floats:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def elu(x: Floats, alpha: float = 1.0) -> Floats:
    """Return x above 0, alpha * (exp(x) - 1) below."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def softmax(x: Floats) -> Floats:
    """Return exp(x), shared out along the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _log_softmax(x: Floats) -> Floats:
    moved = x - x.max(axis=-1, keepdims=True)
    return np.asarray(moved - np.log(np.exp(moved).sum(axis=-1, keepdims=True)))


def _gelu(x: Floats) -> Floats:
    erf = np.array([math.erf(value / math.sqrt(2)) for value in x.ravel().tolist()], x.dtype)
    return np.asarray(0.5 * x * (1 + erf.reshape(x.shape)))


def _glu(x: Floats) -> Floats:
    kept, gate = np.split(x, 2, axis=-1)
    return np.asarray(kept * sigmoid(gate))


def leaky(x: Floats, slope: float) -> Floats:
    """Return x above 0, slope * x below."""
    return np.where(x >= 0, x, x * slope)


FUNCTIONS: dict[str, Function] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: leaky(x, 0.2),
    "elu": elu,
    "celu": elu,
    "selu": lambda x: SELU_SCALE * elu(x, SELU_ALPHA),
    "gelu": _gelu,
    "glu": _glu,
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "silu": lambda x: x * sigmoid(x),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softmax": softmax,
    "log_softmax": _log_softmax,
    "log_sigmoid": lambda x: -_softplus(-x),
    "squareplus": lambda x: (x + np.sqrt(x * x + 4)) / 2,
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x)),
    "sparse_sigmoid": lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) / 2, 1)),
    "exponential": np.exp,
    "tanh": np.tanh,
    "tanh_shrink": lambda x: x - np.tanh(x),
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "hard_shrink": lambda x: np.where(np.abs(x) > 0.5, x, 0),  # noqa: PLR2004 - Keras' default threshold
    "soft_shrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
}


def function(given: Any) -> Function:
    """Return an activation by what the configuration says of it."""
    name = given["config"] if isinstance(given, dict) else given or "linear"
    known = FUNCTIONS[{"swish": "silu", "hard_swish": "hard_silu"}.get(name, name)]

    def typed(x: Floats) -> Floats:
        return np.asarray(known(x), x.dtype)

    return typed
