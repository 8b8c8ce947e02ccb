"""Convolutions, poolings and padding over time, and over time and features of images.

Keras keeps [batch, time, channels] and [batch, time, features, channels], ONNX the channels on axis 1. Time is the
first axis that a window runs along; the features behind it have a fixed number.
Source: keras.layers' documentation; "same" padding puts the odd entry behind, as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.frontends import keras_activations as activations
from export.frontends.keras_graph import Call, Graph, Value, one

Inputs = list[Value | float]
MAX_STEPS = 100_000
"""More than any window reaches; a file that claims more would only fill the memory."""


def convolution(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a convolution: kernel [*width, channels / groups, filters]."""
    x = _entering(call, inputs)
    groups, filters = int(call.config["groups"]), int(call.config["filters"])
    _expect(call, (*_numbers(call, "kernel_size", x), x.dims[-1] // groups, filters), filters)
    return _finish(graph, call, _conv(graph, call, x, _outward(call.weights[0]), groups))


def depthwise(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a depthwise convolution: kernel [*width, channels, multiplier], each channel by itself."""
    x = _entering(call, inputs)
    channels, multiplier = x.dims[-1], int(call.config["depth_multiplier"])
    _expect(call, (*_numbers(call, "kernel_size", x), channels, multiplier), channels * multiplier)
    return _finish(graph, call, _conv(graph, call, x, _apart(call.weights[0]), channels))


def separable(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a separable convolution: a depthwise one without bias, then a pointwise one."""
    x = _entering(call, inputs)
    channels, multiplier = x.dims[-1], int(call.config["depth_multiplier"])
    filters, wide = int(call.config["filters"]), channels * multiplier
    width = _numbers(call, "kernel_size", x)
    call.expect(
        (*width, channels, multiplier),
        (*[1] * len(width), wide, filters),
        *([(filters,)] if call.config["use_bias"] else []),
    )
    y = _conv(graph, call, x, _apart(call.weights[0]), channels)
    names = [y.name, graph.constant(f"{call.name}.pointwise", _outward(call.weights[1]))]
    if call.config["use_bias"]:
        names.append(graph.constant(f"{call.name}.bias", call.weights[2]))
    mixed = graph.op("Conv", names, f"{call.name}.mixed")
    return _finish(graph, call, Value(mixed, (*y.dims[:-1], filters), timed=True))


def pool(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a maximum or average over windows. An average leaves padding out of its count."""
    x = _entering(call, inputs)
    width = _numbers(call, "pool_size", x)
    strides = width if call.config["strides"] is None else _numbers(call, "strides", x)
    pads, sizes = _padding(call, x, [each - 1 for each in width], strides)
    op_type = "MaxPool" if call.kind.startswith("Max") else "AveragePool"
    source = _channels_first(graph, call, x)
    y = graph.op(op_type, [source], call.name, kernel_shape=width, strides=strides, pads=pads)
    return _channels_last(graph, call, Value(y, (*sizes, x.dims[-1]), timed=True))


def reduce(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a mean or maximum over all of time, features before; whether it can stream is the rewrite's to say."""
    x = _entering(call, inputs)
    if call.config.get("keepdims"):
        raise call.error("keepdims is not supported.")
    op_type = "ReduceMean" if call.kind.startswith("GlobalAverage") else "ReduceMax"
    y = x.name
    if len(x.dims) > 1:
        over = graph.constant(f"{call.name}.features", np.array([2], np.int64))
        y = graph.op(op_type, [y, over], f"{call.name}.inner", keepdims=0)
    axis = graph.constant(f"{call.name}.axis", np.array([1], np.int64))
    return Value(graph.op(op_type, [y, axis], call.name, keepdims=0), x.dims[-1:], timed=False)


def pad(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append zeros before and behind."""
    x = _entering(call, inputs)
    pairs = _pairs(call.config["padding"], x)
    before, after = ([0, *(pair[side] for pair in pairs), 0] for side in (0, 1))
    amounts = graph.constant(f"{call.name}.pads", np.array([*before, *after], np.int64))
    sizes = [size + sum(pair) for size, pair in zip(x.dims[:-1], pairs[1:], strict=True)]
    return Value(graph.op("Pad", [x.name, amounts], call.name), (*sizes, x.dims[-1]), timed=True)


def crop(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Cut steps, or features, off at the start and the end."""
    x = _entering(call, inputs)
    pairs = _pairs(call.config["cropping"], x)
    sizes = [size - sum(pair) for size, pair in zip(x.dims[:-1], pairs[1:], strict=True)]
    if sizes and min(sizes) < 1:
        raise call.error("it leaves no features.")
    y, cut = x.name, [(axis, pair) for axis, pair in enumerate(pairs, start=1) if any(pair)]
    for axis, (before, after) in cut:
        bounds = [before, -after if after else np.iinfo(np.int64).max, axis]
        names = [graph.constant(f"{call.name}.at", np.array([bound], np.int64)) for bound in bounds]
        y = graph.op("Slice", [y, *names], call.name)
    return Value(y, (*sizes, x.dims[-1]), timed=True)


def first(value: int | list[int]) -> int:
    """Return the one entry that Keras writes as a number or as a list of one."""
    number = int(value[0] if isinstance(value, list) else value)
    if not 0 < number <= MAX_STEPS:
        raise ValueError(f"{number} is not from 1 to {MAX_STEPS:,}")
    return number


def _entering(call: Call, inputs: Inputs) -> Value:
    """Return the only input, which has as many axes as the layer's windows run along."""
    x, axes = one(call, inputs), int(call.kind[-2])
    if not x.timed or len(x.dims) != axes:
        wanted = "[batch, time, features]" if axes == 1 else "[batch, time, features, channels]"
        raise call.error(f"it does not run over the time axis: its input is not {wanted}.")
    if call.config.get("data_format", "channels_last") != "channels_last":
        raise call.error("data_format='channels_first' is not supported; [batch, time, features] is expected.")
    return x


def _numbers(call: Call, key: str, x: Value) -> list[int]:
    """Return one number for each axis of a window."""
    value, axes = call.config[key], len(x.dims)
    numbers = value if isinstance(value, list) else [value] * axes
    if len(numbers) != axes:
        raise ValueError(f"{key} is {value}, for {axes} axes")
    return [first(number) for number in numbers]


def _pairs(value: Any, x: Value) -> list[tuple[int, int]]:
    """Return before and after for each axis, which Keras writes as one number, a pair, or pairs."""
    axes = len(x.dims)
    pairs = value if axes > 1 and isinstance(value, list) else [value]
    if len(pairs) != axes:
        raise ValueError(f"{value} is not for {axes} axes")
    return [_pair(each) for each in pairs]


def _pair(value: Any) -> tuple[int, int]:
    before, after = (value, value) if isinstance(value, int) else value
    if min(before, after) < 0 or max(before, after) > MAX_STEPS:
        raise ValueError(f"{value} is not from 0 to {MAX_STEPS:,}")
    return int(before), int(after)


def _padding(call: Call, x: Value, spans: list[int], strides: list[int]) -> tuple[list[int], list[int]]:
    """Return ONNX's pads, and the number of features that are left, for windows reaching `spans` beyond their first."""
    pairs = [_over_time(call, spans[0], strides[0])]
    sizes = []
    for size, span, stride in zip(x.dims[:-1], spans[1:], strides[1:], strict=True):
        total = 0
        if call.config["padding"] == "same":
            total = max((-(-size // stride) - 1) * stride + span + 1 - size, 0)
        pairs.append((total // 2, total - total // 2))
        sizes.append((size + total - span - 1) // stride + 1)
    if sizes and min(sizes) < 1:
        raise call.error(f"its window is wider than the {list(x.dims[:-1])} features there are.")
    return [before for before, _ in pairs] + [after for _, after in pairs], sizes


def _over_time(call: Call, span: int, stride: int) -> tuple[int, int]:
    how = call.config["padding"]
    if how == "valid":
        return 0, 0
    if how == "causal":
        return span, 0
    if how != "same":
        raise call.error(f"the padding {how!r} is not known here; 'causal', 'same' and 'valid' are.")
    if stride != 1:
        raise call.error(
            "padding='same' with a stride above 1 pads by how long the sequence is, which a stream does not know. "
            "Use padding='causal' or 'valid'."
        )
    return span // 2, span - span // 2


def _outward(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring [*width, channels, filters] to ONNX's [filters, channels, *width]."""
    axes = kernel.ndim - 2
    return kernel.transpose(axes + 1, axes, *range(axes))


def _apart(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring [*width, channels, multiplier] to ONNX's [channels * multiplier, 1, *width]."""
    *width, channels, multiplier = kernel.shape
    axes = len(width)
    return kernel.transpose(axes, axes + 1, *range(axes)).reshape(channels * multiplier, 1, *width)


def _conv(graph: Graph, call: Call, x: Value, weight: NDArray[np.float32], groups: int) -> Value:
    """Append Conv; its output still has ONNX's order."""
    strides, dilations = _numbers(call, "strides", x), _numbers(call, "dilation_rate", x)
    names = [_channels_first(graph, call, x), graph.constant(f"{call.name}.kernel", weight)]
    if call.config["use_bias"] and not call.kind.startswith("Separable"):
        names.append(graph.constant(f"{call.name}.bias", call.weights[1]))
    spans = [(width - 1) * dilation for width, dilation in zip(weight.shape[2:], dilations, strict=True)]
    pads, sizes = _padding(call, x, spans, strides)
    y = graph.op("Conv", names, call.name, group=groups, strides=strides, dilations=dilations, pads=pads)
    return Value(y, (*sizes, len(weight)), timed=True)


def _finish(graph: Graph, call: Call, y: Value) -> Value:
    return activations.apply(graph, call, _channels_last(graph, call, y), call.config["activation"])


def _expect(call: Call, kernel: tuple[int, ...], filters: int) -> None:
    call.expect(kernel, *([(filters,)] if call.config["use_bias"] else []))


def _channels_first(graph: Graph, call: Call, x: Value) -> str:
    axes = len(x.dims)
    return graph.op("Transpose", [x.name], f"{call.name}.channels_first", perm=[0, axes + 1, *range(1, axes + 1)])


def _channels_last(graph: Graph, call: Call, y: Value) -> Value:
    order = [0, *range(2, len(y.dims) + 2), 1]
    return Value(graph.op("Transpose", [y.name], f"{call.name}.channels_last", perm=order), y.dims, timed=True)
