"""Keras' layers as ONNX nodes, one function a kind of layer. What has none here is refused by the layer's name.

Shapes are Keras' [batch, time, features]; the batch is 1. The reference that these are held against, written anew from
Keras' documentation, is keras_reference.py.
Source: keras.layers' documentation (Keras 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.frontends import keras_activations as activations
from export.frontends.keras_arguments import WITH_HEADS
from export.frontends.keras_attention import additive, attention, multi_head
from export.frontends.keras_convolution import convolution, crop, depthwise, pad, pool, reduce, separable
from export.frontends.keras_graph import Call, Graph, Value, one
from export.frontends.keras_recurrent import recurrent
from export.frontends.keras_refused import reason_against

Inputs = list[Value | float]
Build = Callable[[Graph, Call, Inputs], Value]
EPSILON = 1e-7
"""keras.config.epsilon(), the least that Normalization divides by."""


def _same(_: Graph, call: Call, inputs: Inputs) -> Value:
    """Dropout and noise do nothing outside training."""
    return one(call, inputs)


def _masking(_: Graph, call: Call, inputs: Inputs) -> Value:
    """Zeroes frames that are all mask_value: with 0, and nobody reading the mask, nothing happens."""
    if call.config["mask_value"] != 0:
        raise call.error(reason_against("Masking"))
    return one(call, inputs)


def _dense(graph: Graph, call: Call, inputs: Inputs) -> Value:
    x, units = one(call, inputs), int(call.config["units"])
    biased = bool(call.config["use_bias"])
    call.expect((x.dims[-1], units), *([(units,)] if biased else []))
    y = graph.op("MatMul", [x.name, graph.constant(f"{call.name}.kernel", call.weights[0])], call.name)
    if biased:
        y = graph.op("Add", [y, graph.constant(f"{call.name}.bias", call.weights[1])], f"{call.name}.add")
    return activations.apply(graph, call, Value(y, (*x.dims[:-1], units), x.timed), call.config["activation"])


def _activation(graph: Graph, call: Call, inputs: Inputs) -> Value:
    return activations.apply(graph, call, one(call, inputs), call.config["activation"])


def _relu(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Slope * (x - threshold) below the threshold, x from there on, at most max_value."""
    x = one(call, inputs)
    slope, threshold = (float(call.config.get(key) or 0.0) for key in ("negative_slope", "threshold"))
    most = call.config.get("max_value")
    if threshold == 0.0:
        y = graph.op("LeakyRelu", [x.name], call.name, alpha=slope) if slope else graph.op("Relu", [x.name], call.name)
    else:
        edge = graph.constant(f"{call.name}.threshold", threshold)
        below = graph.op("Sub", [x.name, edge], f"{call.name}.below")
        below = graph.op("Mul", [below, graph.constant(f"{call.name}.slope", slope)], f"{call.name}.sloped")
        above = graph.op("GreaterOrEqual", [x.name, edge], f"{call.name}.above")
        y = graph.op("Where", [above, x.name, below], call.name)
    if most is not None:
        y = graph.op("Min", [y, graph.constant(f"{call.name}.max", float(most))], f"{call.name}.min")
    return Value(y, x.dims, x.timed)


def _leaky_relu(graph: Graph, call: Call, inputs: Inputs) -> Value:
    x = one(call, inputs)
    alpha = float(call.config["negative_slope"])
    return Value(graph.op("LeakyRelu", [x.name], call.name, alpha=alpha), x.dims, x.timed)


def _elu(graph: Graph, call: Call, inputs: Inputs) -> Value:
    x = one(call, inputs)
    return Value(graph.op("Elu", [x.name], call.name, alpha=float(call.config["alpha"])), x.dims, x.timed)


def _prelu(graph: Graph, call: Call, inputs: Inputs) -> Value:
    x = one(call, inputs)
    shared = call.config.get("shared_axes") or []
    if x.timed and 1 not in shared:
        raise call.error("it learned a slope for each time step of a window; use shared_axes=[1], and train it again.")
    first = [1] if x.timed else []
    start = len(first) + 1
    call.expect((*first, *(1 if start + place in shared else dim for place, dim in enumerate(x.dims))))
    slope = graph.constant(f"{call.name}.alpha", call.weights[0])
    return Value(graph.op("PRelu", [x.name, slope], call.name), x.dims, x.timed)


def _softmax(graph: Graph, call: Call, inputs: Inputs) -> Value:
    x = one(call, inputs)
    only_last(call, x)
    return Value(graph.op("Softmax", [x.name], call.name, axis=-1), x.dims, x.timed)


def only_last(call: Call, x: Value) -> None:
    """Refuse a layer that works along another axis than the last."""
    given = call.config.get("axis", -1)
    axes = given if isinstance(given, list) else [given]
    if [axis % (x.last_axis + 1) for axis in axes] != [x.last_axis]:
        reason = "it works over time" if x.timed and 1 in axes else f"it works along axis {given}"
        raise call.error(f"{reason}; only the last axis, the features', is streamed.")


def _layer_norm(graph: Graph, call: Call, inputs: Inputs) -> Value:
    x = one(call, inputs)
    only_last(call, x)
    if call.config.get("rms_scaling"):
        raise call.error("rms_scaling is not supported.")
    wanted = [bool(call.config[key]) for key in ("scale", "center")]
    size = x.dims[-1]
    call.expect(*[(size,)] * sum(wanted))
    left = list(call.weights)
    scale = left.pop(0) if wanted[0] else np.ones(size, np.float32)
    names = [x.name, graph.constant(f"{call.name}.gamma", scale)]
    if wanted[1]:
        names.append(graph.constant(f"{call.name}.beta", left.pop(0)))
    y = graph.op("LayerNormalization", names, call.name, axis=-1, epsilon=float(call.config["epsilon"]))
    return Value(y, x.dims, x.timed)


def _batch_norm(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Fold its fixed statistics into a factor and an offset."""
    x = one(call, inputs)
    only_last(call, x)
    wanted = [bool(call.config[key]) for key in ("scale", "center")]
    size = x.dims[-1]
    call.expect(*[(size,)] * (sum(wanted) + 2))
    left = [weight.astype(np.float64) for weight in call.weights]
    gamma = left.pop(0) if wanted[0] else np.ones(size)
    beta = left.pop(0) if wanted[1] else np.zeros(size)
    mean, variance = left
    factor = gamma / np.sqrt(variance + float(call.config["epsilon"]))
    return _affine(graph, call, x, factor, beta - mean * factor)


def _normalization(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """(x - mean) / max(sqrt(variance), epsilon), or back."""
    x = one(call, inputs)
    mean, variance = statistics(call, x.dims[-1])
    only_last(call, x)
    deviation = np.maximum(np.sqrt(variance), EPSILON)
    if call.config.get("invert"):
        return _affine(graph, call, x, deviation, mean)
    return _affine(graph, call, x, 1 / deviation, -mean / deviation)


def statistics(call: Call, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a Normalization's mean and variance: adapted ones are weights, given ones stand in the configuration."""
    if call.config.get("mean") is not None:
        given = (call.config["mean"], call.config["variance"])
        # Given numbers are kept in float32 by Keras.
        mean, variance = (np.broadcast_to(np.float32(np.ravel(value)), (size,)).astype(np.float64) for value in given)
        return mean, variance
    call.expect((size,), (size,), ())
    return call.weights[0].astype(np.float64), call.weights[1].astype(np.float64)


def _rescaling(graph: Graph, call: Call, inputs: Inputs) -> Value:
    x = one(call, inputs)
    scale, offset = (np.ravel(call.config[key]).astype(np.float64) for key in ("scale", "offset"))
    return _affine(graph, call, x, *(np.broadcast_to(value, (x.dims[-1],)) for value in (scale, offset)))


def _affine(graph: Graph, call: Call, x: Value, factor: NDArray[np.float64], offset: NDArray[np.float64]) -> Value:
    y = graph.op("Mul", [x.name, graph.constant(f"{call.name}.factor", factor)], call.name)
    y = graph.op("Add", [y, graph.constant(f"{call.name}.offset", offset)], f"{call.name}.add")
    return Value(y, x.dims, x.timed)


def _merge(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Add, Multiply and the like of values that all have a time axis, or all have none; numbers fit anywhere."""
    op_type = MERGES[call.kind]
    values = [entry for entry in inputs if isinstance(entry, Value)]
    if not values or len({value.timed for value in values}) > 1:
        raise call.error("it merges something with a time axis and something without.")
    names = [
        entry.name if isinstance(entry, Value) else graph.constant(f"{call.name}.number", entry) for entry in inputs
    ]
    y = names[0]
    for place, name in enumerate(names[1:], start=2):
        y = graph.op(op_type, [y, name], call.name if place == len(names) else f"{call.name}.{place}")
    if call.kind == "Average":
        count = graph.constant(f"{call.name}.share", 1 / len(names))
        y = graph.op("Mul", [y, count], f"{call.name}.mean")
    return Value(y, np.broadcast_shapes(*(value.dims for value in values)), values[0].timed)


def _concatenate(graph: Graph, call: Call, inputs: Inputs) -> Value:
    values = [entry for entry in inputs if isinstance(entry, Value)]
    if len({(value.timed, value.dims[:-1]) for value in values}) != 1:
        raise call.error("it joins values of different shapes, or something without a time axis.")
    only_last(call, values[0])
    y = graph.op("Concat", [value.name for value in values], call.name, axis=-1)
    return Value(y, (*values[0].dims[:-1], sum(value.dims[-1] for value in values)), values[0].timed)


def _flatten(graph: Graph, call: Call, inputs: Inputs) -> Value:
    x = one(call, inputs)
    if x.timed:
        raise call.error(
            "it makes features out of time steps, so what follows needs exactly the window it was trained on. "
            "A last step (return_sequences=False) or convolutions in its place would stream."
        )
    return _reshaped(graph, call, x, (math.prod(x.dims),))


def _reshape(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Reshape the features; the time axis must stay where it is."""
    x = one(call, inputs)
    target = [int(dim) for dim in call.config["target_shape"]]
    dims, size = (target[1:] if x.timed else target), math.prod(x.dims)
    if x.timed and -1 in dims and graph.steps(x) != target[0]:
        raise call.error(f"it reshapes time and features together (to {target}), which is not streamed.")
    known = math.prod(dim for dim in dims if dim != -1)
    if -1 in dims and known and not (x.timed and target[0] == -1):
        dims = [size // known if dim == -1 else dim for dim in dims]
    if not dims or math.prod(dims) != size:
        raise call.error(f"it reshapes time and features together (to {target}), which is not streamed.")
    return _reshaped(graph, call, x, tuple(dims))


def _each_step(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a Flatten or Reshape of each step's features by themselves, as TimeDistributed has them."""
    x = one(call, inputs)
    size = math.prod(x.dims)
    dims = [int(dim) for dim in call.config["target_shape"]] if call.kind == "StepReshape" else [size]
    known = math.prod(dim for dim in dims if dim != -1)
    dims = [size // known if dim == -1 else dim for dim in dims]
    if not x.timed or math.prod(dims) != size:
        raise call.error(f"it does not fit its input of {size} numbers a step, or that has no time axis.")
    return _reshaped(graph, call, x, tuple(dims))


def _reshaped(graph: Graph, call: Call, x: Value, dims: tuple[int, ...]) -> Value:
    shape = [0, *([-1] if x.timed else []), *dims]  # 0: as many as come in
    y = graph.op("Reshape", [x.name, graph.constant(f"{call.name}.shape", np.array(shape, np.int64))], call.name)
    return Value(y, dims, x.timed)


def _embedding(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Rows of a table, by tokens."""
    x, size = one(call, inputs), (int(call.config["input_dim"]), int(call.config["output_dim"]))
    call.expect(size)
    table = graph.constant(f"{call.name}.embeddings", call.weights[0])
    return Value(graph.op("Gather", [table, x.name], call.name, axis=0), (*x.dims, size[1]), x.timed)


def _get_item(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """x[:, -1], the last step, is the one reading of single entries that streams."""
    x = one(call, inputs)
    given = call.options["key"]
    key: list[Any] = given if isinstance(given, list) else [given]
    whole = all(
        isinstance(part, dict) and not any((part.get("config") or {}).values()) for part in [*key[:1], *key[2:]]
    )
    if not (x.timed and whole and len(key) > 1 and key[1] == -1):
        raise call.error("of reading parts of a tensor only x[:, -1], the last time step, is streamed.")
    index = graph.constant(f"{call.name}.last", np.array(-1, np.int64))
    return Value(graph.op("Gather", [x.name, index], call.name, axis=1), x.dims, timed=False)


MERGES = {
    "Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Divide": "Div", "Average": "Add", "Maximum": "Max",
    "Minimum": "Min",
}  # fmt: skip
IDENTITIES = (
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "Identity",
    "ActivityRegularization",
)  # fmt: skip
PER_STEP: dict[str, Build] = {
    "Dense": _dense,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "Rescaling": _rescaling,
    **dict.fromkeys(IDENTITIES, _same),
}
"""Layers on single time steps, which TimeDistributed may hold."""

CONVOLUTIONS: dict[str, Build] = {
    "Conv": convolution,
    "DepthwiseConv": depthwise,
    "SeparableConv": separable,
    **dict.fromkeys(("MaxPooling", "AveragePooling"), pool),
    **dict.fromkeys(("GlobalAveragePooling", "GlobalMaxPooling"), reduce),
    "ZeroPadding": pad,
    "Cropping": crop,
}

LAYERS: dict[str, Build] = {
    **PER_STEP,
    **dict.fromkeys(("SimpleRNN", "GRU", "LSTM"), recurrent),
    **dict.fromkeys(MERGES, _merge),
    "Concatenate": _concatenate,
    **{f"{kind}{axes}D": build for kind, build in CONVOLUTIONS.items() for axes in (1, 2)},
    "Masking": _masking,
    "Normalization": _normalization,
    "PReLU": _prelu,
    "Flatten": _flatten,
    "Reshape": _reshape,
    **dict.fromkeys(("StepFlatten", "StepReshape"), _each_step),
    "GetItem": _get_item,
    **dict.fromkeys(WITH_HEADS, multi_head),
    "Attention": attention,
    "AdditiveAttention": additive,
    "Embedding": _embedding,
}
