"""Convolutions, poolings and padding over time. Keras keeps [batch, time, channels], ONNX [batch, channels, time].

Source: keras.layers' documentation; "same" padding puts the odd entry behind, as there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.frontends import keras_activations as activations
from export.frontends.keras_graph import Call, Graph, Value, over_time

Inputs = list[Value | float]
MAX_STEPS = 100_000
"""More than any window reaches; a file that claims more would only fill the memory."""


def convolution(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a Conv1D: kernel [width, channels / groups, filters]."""
    x = over_time(call, inputs)
    groups, filters = int(call.config["groups"]), int(call.config["filters"])
    width, channels = first(call.config["kernel_size"]), x.dims[0] // groups
    _expect(call, (width, channels, filters), filters)
    y = _conv(graph, call, x, call.weights[0].transpose(2, 1, 0), groups)
    return _finish(graph, call, y, filters)


def depthwise(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a DepthwiseConv1D: kernel [width, channels, multiplier], each channel by itself."""
    x = over_time(call, inputs)
    channels, multiplier = x.dims[0], int(call.config["depth_multiplier"])
    _expect(call, (first(call.config["kernel_size"]), channels, multiplier), channels * multiplier)
    y = _conv(graph, call, x, _apart(call.weights[0]), channels)
    return _finish(graph, call, y, channels * multiplier)


def separable(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a SeparableConv1D: a depthwise convolution without bias, then a pointwise one."""
    x = over_time(call, inputs)
    channels, multiplier = x.dims[0], int(call.config["depth_multiplier"])
    filters, wide = int(call.config["filters"]), channels * multiplier
    shape = (first(call.config["kernel_size"]), channels, multiplier)
    call.expect(shape, (1, wide, filters), *([(filters,)] if call.config["use_bias"] else []))
    y = _conv(graph, call, x, _apart(call.weights[0]), channels)
    weight = graph.constant(f"{call.name}.pointwise", call.weights[1].transpose(2, 1, 0))
    names = [y, weight]
    if call.config["use_bias"]:
        names.append(graph.constant(f"{call.name}.bias", call.weights[2]))
    y = graph.op("Conv", names, f"{call.name}.mixed")
    return _finish(graph, call, y, filters)


def pool(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a MaxPooling1D or AveragePooling1D. An average leaves padding out of its count."""
    x = over_time(call, inputs)
    width = first(call.config["pool_size"])
    stride = width if call.config["strides"] is None else first(call.config["strides"])
    pads = padding(call, width - 1, stride)
    op_type = "MaxPool" if call.kind == "MaxPooling1D" else "AveragePool"
    source = _channels_first(graph, call, x.name)
    y = graph.op(op_type, [source], call.name, kernel_shape=[width], strides=[stride], pads=pads)
    return Value(_channels_last(graph, call, y), x.dims, timed=True)


def reduce(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a mean or maximum over all of time; whether that can stream is the rewrite's to say."""
    x = over_time(call, inputs)
    _check_format(call)
    if call.config.get("keepdims"):
        raise call.error("keepdims is not supported.")
    op_type = "ReduceMean" if call.kind == "GlobalAveragePooling1D" else "ReduceMax"
    axis = graph.constant(f"{call.name}.axis", np.array([1], np.int64))
    return Value(graph.op(op_type, [x.name, axis], call.name, keepdims=0), x.dims, timed=False)


def pad(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append zeros before and behind."""
    x = over_time(call, inputs)
    _check_format(call)
    before, after = pair(call.config["padding"])
    amounts = graph.constant(f"{call.name}.pads", np.array([0, before, 0, 0, after, 0], np.int64))
    return Value(graph.op("Pad", [x.name, amounts], call.name), x.dims, timed=True)


def crop(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Cut steps off at the start and the end."""
    x = over_time(call, inputs)
    before, after = pair(call.config["cropping"])
    bounds = [before, -after if after else np.iinfo(np.int64).max, 1]
    names = [graph.constant(f"{call.name}.at", np.array([bound], np.int64)) for bound in bounds]
    return Value(graph.op("Slice", [x.name, *names], call.name), x.dims, timed=True)


def padding(call: Call, span: int, stride: int) -> list[int]:
    """Return [before, after] along time for a window that looks at `span` entries beyond its first."""
    _check_format(call)
    how = call.config["padding"]
    if how == "valid":
        return [0, 0]
    if how == "causal":
        return [span, 0]
    if how != "same":
        raise call.error(f"the padding {how!r} is not known here; 'causal', 'same' and 'valid' are.")
    if stride != 1:
        raise call.error(
            "padding='same' with a stride above 1 pads by how long the sequence is, which a stream does not know. "
            "Use padding='causal' or 'valid'."
        )
    return [span // 2, span - span // 2]


def first(value: int | list[int]) -> int:
    """Return the one entry that Keras writes as a number or as a list of one."""
    number = int(value[0] if isinstance(value, list) else value)
    if not 0 < number <= MAX_STEPS:
        raise ValueError(f"{number} is not from 1 to {MAX_STEPS:,}")
    return number


def pair(value: int | list[int]) -> tuple[int, int]:
    """Return two amounts that Keras writes as one number or as a list of two."""
    before, after = (value, value) if isinstance(value, int) else value
    if min(before, after) < 0 or max(before, after) > MAX_STEPS:
        raise ValueError(f"{value} is not from 0 to {MAX_STEPS:,}")
    return int(before), int(after)


def _apart(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring [width, channels, multiplier] to ONNX's [channels * multiplier, 1, width]."""
    width, channels, multiplier = kernel.shape
    return kernel.transpose(1, 2, 0).reshape(channels * multiplier, 1, width)


def _conv(graph: Graph, call: Call, x: Value, weight: NDArray[np.float32], groups: int) -> str:
    stride, dilation = first(call.config["strides"]), first(call.config["dilation_rate"])
    names = [_channels_first(graph, call, x.name), graph.constant(f"{call.name}.kernel", weight)]
    if call.config["use_bias"] and call.kind != "SeparableConv1D":
        names.append(graph.constant(f"{call.name}.bias", call.weights[1]))
    pads = padding(call, (weight.shape[2] - 1) * dilation, stride)
    attributes = {"strides": [stride], "dilations": [dilation], "pads": pads}
    return graph.op("Conv", names, call.name, group=groups, **attributes)


def _finish(graph: Graph, call: Call, y: str, filters: int) -> Value:
    value = Value(_channels_last(graph, call, y), (filters,), timed=True)
    return activations.apply(graph, call, value, call.config["activation"])


def _expect(call: Call, kernel: tuple[int, ...], filters: int) -> None:
    call.expect(kernel, *([(filters,)] if call.config["use_bias"] else []))


def _check_format(call: Call) -> None:
    if call.config.get("data_format", "channels_last") != "channels_last":
        raise call.error("data_format='channels_first' is not supported; [batch, time, features] is expected.")


def _channels_first(graph: Graph, call: Call, x: str) -> str:
    return graph.op("Transpose", [x], f"{call.name}.channels_first", perm=[0, 2, 1])


def _channels_last(graph: Graph, call: Call, y: str) -> str:
    return graph.op("Transpose", [y], f"{call.name}.channels_last", perm=[0, 2, 1])
