"""Keras' layers in NumPy, straight from their documented equations: the original that an export is held against.

Independent of the ONNX graph: gates stay in Keras' order, kernels in Keras' shapes, convolutions are sums over taps.
Every function works in the type of its input, float32 or float64. Values are [1, time, features], or [1, features]
where time has ended. Source: keras.layers' and keras.activations' documentation (Keras 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.frontends.keras_model import Layers
from export.graph import Array

Floats = NDArray[np.floating]
Function = Callable[[Floats], Floats]
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
EPSILON = 1e-7
BLOCK = 64


class Reference:
    """The model in NumPy."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self._memories: dict[str, dict[np.dtype[Any], _Ran]] = {}

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
                values[call.name] = FORWARD[call.kind](call.config, weights, *inputs)
        return np.asarray(values[self.layers.output])


def _sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, which never overflows."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)


def _softplus(x: Floats) -> Floats:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _elu(x: Floats, alpha: float = 1.0) -> Floats:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _softmax(x: Floats) -> Floats:
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
    return np.asarray(kept * _sigmoid(gate))


def _leaky(x: Floats, slope: float) -> Floats:
    return np.where(x >= 0, x, x * slope)


FUNCTIONS: dict[str, Function] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: _leaky(x, 0.2),
    "elu": _elu,
    "celu": _elu,
    "selu": lambda x: SELU_SCALE * _elu(x, SELU_ALPHA),
    "gelu": _gelu,
    "glu": _glu,
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "silu": lambda x: x * _sigmoid(x),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "log_sigmoid": lambda x: -_softplus(-x),
    "squareplus": lambda x: (x + np.sqrt(x * x + 4)) / 2,
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x)),
    "sparse_sigmoid": lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) / 2, 1)),
    "exponential": np.exp,
    "tanh": np.tanh,
    "tanh_shrink": lambda x: x - np.tanh(x),
    "sigmoid": _sigmoid,
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


Config = Mapping[str, Any]
Weights = list[Floats]
Step = Callable[..., list[Floats]]


@dataclass
class _Ran:
    """A recurrent layer's last run: what it read, the states after it, and what it gave."""

    read: Floats
    state: list[Floats]
    outputs: list[Floats]


def _recurrent(step: Step, states: int) -> Callable[..., Floats]:
    def run(config: Config, weights: Weights, x: Floats, memory: dict[np.dtype[Any], _Ran]) -> Floats:
        kernel, recurrent = weights[:2]
        bias = weights[2] if config["use_bias"] else np.zeros(kernel.shape[1], x.dtype)
        inner, gate = function(config["activation"]), function(config.get("recurrent_activation"))
        # Where the reset gate works on what comes out of the recurrent kernel, that has a bias of its own.
        own = bias[1] if bias.ndim == 2 else None  # noqa: PLR2004 - [input's, recurrent]
        # A stream is held against prefixes of one sequence, each longer than the last: go on where that one ended.
        ran = memory.get(x.dtype)
        if ran is None or len(ran.read[0]) > len(x[0]) or not np.array_equal(ran.read, x[:, : len(ran.read[0])]):
            ran = _Ran(x[:, :0], [np.zeros((1, config["units"]), x.dtype)] * states, [])
        state, outputs = ran.state, list(ran.outputs)
        entering = x[:, len(outputs) :] @ kernel + (bias if own is None else bias[0])
        for t in range(entering.shape[1]):
            state = step(entering[:, t], state, recurrent, own, inner, gate, after=bool(config.get("reset_after")))
            outputs.append(state[0])
        memory[x.dtype] = _Ran(x, state, outputs)
        return np.stack(outputs, axis=1) if config["return_sequences"] else outputs[-1]

    return run


def _rnn_step(
    x: Floats, state: list[Floats], kernel: Floats, _: Floats | None, inner: Function, __: Function, *, after: bool
) -> list[Floats]:
    """Return h = f(x W + h U + b)."""
    del after
    return [inner(x + state[0] @ kernel)]


def _gru_step(  # noqa: PLR0917 - what a cell is made of
    x: Floats, state: list[Floats], kernel: Floats, bias: Floats | None, inner: Function, gate: Function, *, after: bool
) -> list[Floats]:
    """Return h = z h + (1 - z) f(x Wh + r (h Uh + bh)); without reset_after f(x Wh + (r h) Uh)."""
    (h,) = state
    n = h.shape[1]
    if after:
        inside = h @ kernel if bias is None else h @ kernel + bias
        both = gate(x[:, : 2 * n] + inside[:, : 2 * n])
        z, r = both[:, :n], both[:, n:]
        new = inner(x[:, 2 * n :] + r * inside[:, 2 * n :])
    else:
        both = gate(x[:, : 2 * n] + h @ kernel[:, : 2 * n])
        z, r = both[:, :n], both[:, n:]
        new = inner(x[:, 2 * n :] + (r * h) @ kernel[:, 2 * n :])
    return [z * h + (1 - z) * new]


def _lstm_step(
    x: Floats, state: list[Floats], kernel: Floats, _: Floats | None, inner: Function, gate: Function, *, after: bool
) -> list[Floats]:
    """Return h = o f(c) and c = f c + i f(x Wc + h Uc + bc). Gates stand in the order i, f, c, o."""
    del after
    h, c = state
    n = h.shape[1]
    total = x + h @ kernel
    both = gate(total[:, : 2 * n])
    c = both[:, n:] * c + both[:, :n] * inner(total[:, 2 * n : 3 * n])
    return [gate(total[:, 3 * n :]) * inner(c), c]


def _product(x: Floats, kernel: Floats) -> Floats:
    """Return x @ kernel, in blocks of one size: a step's last bits then do not depend on how many steps there are.

    A recurrent layer behind it thus sees that a longer sequence begins as the one before it.
    """
    if x.ndim != 3:  # noqa: PLR2004 - [1, time, features]
        return np.asarray(x @ kernel)
    steps = x.shape[1]
    blocks = np.pad(x, ((0, 0), (0, -steps % BLOCK), (0, 0))).reshape(-1, BLOCK, x.shape[2])
    return np.asarray((blocks @ kernel).reshape(1, -1, kernel.shape[1])[:, :steps])


def _dense(config: Config, weights: Weights, x: Floats) -> Floats:
    y = _product(x, weights[0]) + weights[1] if config["use_bias"] else _product(x, weights[0])
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


def _reshape(config: Config, _: Weights, x: Floats) -> Floats:
    # A number of time steps in the configuration is that of the window the model was built for.
    timed = x.ndim > 2 and math.prod(config["target_shape"][1:]) in (-1, math.prod(x.shape[2:]))  # noqa: PLR2004
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


RECURRENT: dict[str, Callable[..., Floats]] = {
    "SimpleRNN": _recurrent(_rnn_step, 1),
    "GRU": _recurrent(_gru_step, 1),
    "LSTM": _recurrent(_lstm_step, 2),
}

FORWARD: dict[str, Callable[..., Floats]] = {
    "Dense": _dense,
    "Activation": lambda config, _, x: function(config["activation"])(x),
    "ReLU": _relu,
    "LeakyReLU": lambda config, _, x: _leaky(x, config["negative_slope"]),
    "ELU": lambda config, _, x: _elu(x, config["alpha"]),
    "PReLU": lambda _, weights, x: np.where(x >= 0, x, x * weights[0]),
    "Softmax": lambda _, __, x: _softmax(x),
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "Conv1D": _convolution,
    "DepthwiseConv1D": _depthwise,
    "SeparableConv1D": _separable,
    "MaxPooling1D": _pool(np.nanmax),
    "AveragePooling1D": _pool(np.nanmean),
    "GlobalAveragePooling1D": lambda _, __, x: x.mean(axis=1),
    "GlobalMaxPooling1D": lambda _, __, x: x.max(axis=1),
    "ZeroPadding1D": _pad,
    "Cropping1D": _crop,
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
    **dict.fromkeys(
        ("Masking", "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "Identity",
         "ActivityRegularization"), lambda _, __, x: x,
    ),
}  # fmt: skip
