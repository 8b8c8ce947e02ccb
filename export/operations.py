"""Every operation of a float Program in NumPy, as ONNX's operator specification defines it.

Each takes the op and its inputs, [streams, *shape] (a constant: [1, *shape]), and gives [streams, *shape]. Attributes
count axes without that of the streams. Inputs of elementwise ops have equally many axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from export.program import Array, Growing, Op, Program, ProgramState, Shape

Floats = NDArray[np.floating[Any]]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (np.tanh(0.5 * x) + 1.0))


def erf(x: Array) -> Array:
    """Return the error function, as exact as the input's type."""
    return np.asarray(_erf(x).astype(x.dtype) if x.size else x)


def linear(op: Op, x: Array) -> Array:
    """Rows of inputs to rows of outputs."""
    y = x @ op.arrays["weight"].T + op.arrays["bias"]
    return np.asarray(np.maximum(y, 0) if op.attributes.get("relu") else y)


def taps(op: Op, x: Array, fill: float = 0) -> Array:
    """Return what a convolution multiplies: [streams, batch, channels, *places, *kernel].

    attributes: kernel, strides, dilations, pads (as ONNX has them: all starts, then all ends), one an axis of space.
    """
    kernel, strides, dilations = (op.attributes[key] for key in ("kernel", "strides", "dilations"))
    axes, pads = len(kernel), op.attributes["pads"]
    if any(pads):
        x = np.pad(x, [(0, 0)] * 3 + list(zip(pads[:axes], pads[axes:], strict=True)), constant_values=fill)
    sizes, steps = x.shape[3:], x.strides[3:]
    places = [
        (size - (k - 1) * d - 1) // stride + 1
        for size, k, d, stride in zip(sizes, kernel, dilations, strides, strict=True)
    ]
    between = [step * stride for step, stride in zip(steps, strides, strict=True)]
    within = [step * d for step, d in zip(steps, dilations, strict=True)]
    # A view: sliding_window_view gives the same and takes longer than the products.
    return as_strided(x, (*x.shape[:3], *places, *kernel), (*x.strides[:3], *between, *within), writeable=False)


def correlate(op: Op, windows: Array, weight: Array) -> Array:
    """Multiply a convolution's taps with its weight [outputs, channels / groups, *kernel]."""
    groups, axes = op.attributes["group"], len(op.attributes["kernel"])
    streams, batch = windows.shape[:2]
    places = windows.shape[3 : 3 + axes]
    # To [groups, rows, inputs] times [groups, inputs, outputs]: a row is one place of one stream.
    split = windows.reshape(streams * batch, groups, -1, math.prod(places), math.prod(op.attributes["kernel"]))
    rows = split.transpose(1, 0, 3, 2, 4).reshape(groups, streams * batch * math.prod(places), -1)
    product = rows @ weight.reshape(groups, len(weight) // groups, -1).transpose(0, 2, 1)
    split = product.reshape(groups, streams, batch, math.prod(places), -1).transpose(1, 2, 0, 4, 3)
    return split.reshape(streams, batch, len(weight), *places)


def convolution(op: Op, x: Array) -> Array:
    """[batch, channels, *space]."""
    y = correlate(op, taps(op, x), op.arrays["weight"])
    y = y + op.arrays["bias"].reshape(-1, *(1,) * len(op.attributes["kernel"]))
    return np.asarray(np.maximum(y, 0) if op.attributes.get("relu") else y)


def slices(op: Op, x: Array) -> Array:
    """attributes: starts, ends, steps, one an axis."""
    of = op.attributes
    return x[(slice(None), *map(slice, of["starts"], of["ends"], of["steps"]))]


def gather(op: Op, data: Array, indices: Array) -> Array:
    """Entries of data along `axis`; the indices may differ from stream to stream."""
    axis = op.attributes["axis"]
    if len(indices) == 1:
        return np.asarray(np.take(data, indices[0], axis=axis + 1))
    rows = np.broadcast_to(data, (len(indices), *data.shape[1:]))
    return np.stack([np.take(row, index, axis=axis) for row, index in zip(rows, indices, strict=True)])


def expand(op: Op, x: Array) -> Array:
    """attributes: shape, with as many axes as x."""
    return np.broadcast_to(x, (len(x), *op.attributes["shape"]))


def pad(op: Op, x: Array) -> Array:
    """attributes: pads (all starts, then all ends), value."""
    pads = op.attributes["pads"]
    half = len(pads) // 2
    pairs = [(0, 0), *zip(pads[:half], pads[half:], strict=True)]
    return np.asarray(np.pad(x, pairs, constant_values=op.attributes["value"]))


def softmax(op: Op, x: Array) -> Array:
    """Along `axis`."""
    axis = op.attributes["axis"] + 1
    risen = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(risen / risen.sum(axis=axis, keepdims=True))


def layer_norm(op: Op, x: Array) -> Array:
    """Over the axes from `axis` on; scale and bias, of their shape, are `arrays`."""
    axes = tuple(range(op.attributes["axis"] + 1, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + x.dtype.type(op.attributes["epsilon"]))
    return np.asarray(centred / spread * op.arrays["scale"] + op.arrays["bias"])


def _reduce(function: Callable[..., Any]) -> Callable[..., Array]:
    """Over `axes`, all of which stay with one entry."""
    return lambda op, x: function(x, axis=tuple(axis + 1 for axis in op.attributes["axes"]), keepdims=True)


def gelu(op: Op, x: Array) -> Array:
    """approximate: "none" or "tanh"."""
    if op.attributes["approximate"] == "tanh":
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1 + erf(x * x.dtype.type(math.sqrt(0.5)))))


def divide(_: Op, a: Array, b: Array) -> Array:
    """Whole numbers are divided towards zero, exactly; by zero they give zero."""
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.maximum(np.abs(b), 1)))


PRODUCTS = ("Linear", "Conv", "MatMul")
MOVING: Mapping[str, Callable[..., Array]] = {
    "Reshape": lambda op, x: x.reshape(len(x), *op.attributes["shape"]),
    "Squeeze": lambda op, x: x.squeeze(tuple(axis + 1 for axis in op.attributes["axes"])),
    "Unsqueeze": lambda op, x: np.expand_dims(x, tuple(axis + 1 for axis in op.attributes["axes"])),
    "Transpose": lambda op, x: x.transpose(0, *(axis + 1 for axis in op.attributes["perm"])),
    "Slice": slices,
    "Concat": lambda op, *parts: np.concatenate(_aligned(parts), axis=op.attributes["axis"] + 1),
    "Gather": gather,
    "Expand": expand,
    "Pad": pad,
    "Where": lambda _, condition, a, b: np.asarray(np.where(condition, a, b)),
}
"""What moves numbers about and changes none."""
ARITHMETIC: Mapping[str, Callable[..., Array]] = {
    "Add": lambda _, a, b: a + b,
    "Sub": lambda _, a, b: a - b,
    "Mul": lambda _, a, b: a * b,
    "Sigmoid": lambda _, x: sigmoid(x),
    "Tanh": lambda _, x: np.tanh(x),
    "Relu": lambda _, x: np.maximum(x, 0),
}
"""What quantization has integers for, beside products."""
REAL: Mapping[str, Callable[..., Array]] = {
    "Div": divide,
    "Mod": lambda op, a, b: np.fmod(a, b) if op.attributes["fmod"] else np.mod(a, b),
    "Pow": lambda _, a, b: np.power(a, b),
    "Min": lambda _, a, b: np.minimum(a, b),
    "Max": lambda _, a, b: np.maximum(a, b),
    "Neg": lambda _, x: -x,
    "Abs": lambda _, x: np.abs(x),
    "Sign": lambda _, x: np.sign(x),
    "Floor": lambda _, x: np.floor(x),
    "Ceil": lambda _, x: np.ceil(x),
    "Exp": lambda _, x: np.exp(x),
    "Log": lambda _, x: np.log(x),
    "Sqrt": lambda _, x: np.sqrt(x),
    "Reciprocal": lambda _, x: np.reciprocal(x),
    "Sin": lambda _, x: np.sin(x),
    "Cos": lambda _, x: np.cos(x),
    "Erf": lambda _, x: erf(x),
    "Gelu": gelu,
    "Elu": lambda op, x: np.where(x > 0, x, op.attributes["alpha"] * np.expm1(np.minimum(x, 0))).astype(x.dtype),
    "LeakyRelu": lambda op, x: np.where(x > 0, x, x.dtype.type(op.attributes["alpha"]) * x),
    "PRelu": lambda _, x, slope: np.where(x > 0, x, slope * x),
    "Softplus": lambda _, x: np.logaddexp(x, x.dtype.type(0)),
    "Softsign": lambda _, x: x / (1 + np.abs(x)),
    "HardSigmoid": lambda op, x: np.clip(x * op.attributes["alpha"] + op.attributes["beta"], 0, 1).astype(x.dtype),
    "HardSwish": lambda _, x: x * np.clip(x / 6 + x.dtype.type(0.5), 0, 1),
    "Softmax": softmax,
    "LogSoftmax": lambda op, x: np.log(softmax(op, x)),
    "LayerNormalization": layer_norm,
    "ReduceMean": _reduce(np.mean),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "Cast": lambda op, x: x.astype(op.attributes["to"]),
    "Less": lambda _, a, b: a < b,
    "LessOrEqual": lambda _, a, b: a <= b,
    "Greater": lambda _, a, b: a > b,
    "GreaterOrEqual": lambda _, a, b: a >= b,
    "Equal": lambda _, a, b: a == b,
    "And": lambda _, a, b: a & b,
    "Or": lambda _, a, b: a | b,
    "Not": lambda _, x: ~x,
}
"""What is computed as it is, in float32 or in whole numbers, in every variant."""
LENGTHS: Mapping[str, Callable[..., Array]] = {
    "Shape": lambda op, x: np.array([x.shape[1:][op.attributes["start"] : op.attributes["end"]]], np.int64),
    "Range": lambda _, start, limit, delta: np.arange(*(x.item() for x in (start, limit, delta)), dtype=start.dtype)[
        None
    ],
}
"""What is computed of the source's length."""
FLOAT: Mapping[str, Callable[..., Array]] = {
    "Linear": linear,
    "Conv": convolution,
    "MatMul": lambda _, a, b: a @ b,
    "Constant": lambda op: op.arrays["value"][None],
    **MOVING,
    **ARITHMETIC,
    **REAL,
    **LENGTHS,
}
"""The plain reference of every float op."""


def _aligned(parts: tuple[Array, ...]) -> list[Array]:
    """Repeat constants for all streams."""
    streams = max(map(len, parts))
    return [repeated(part, streams) for part in parts]


def repeated(value: Array, streams: int) -> Array:
    """Return [streams, *shape]; what is constant is [1, *shape]."""
    # Looked at first: broadcasting what is as long takes longer than most ops.
    return value if len(value) == streams else np.broadcast_to(value, (streams, *value.shape[1:]))


NOTHING: Mapping[str, Array] = MappingProxyType({})


def float_step(
    program: Program, x: Array, state: Mapping[str, Array], held: Mapping[str, Array] = NOTHING
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Run one float step on x, float32[streams, frames, features]; held: by name, [streams, *shape].

    Returns all tensors by name and the next state by state name, each [streams, *shape].
    """
    values: dict[str, Array] = {entry.name: entry.enter(x) for entry in program.inputs} | dict(held)
    for entry in program.states:
        values[entry.input] = state[entry.name]
    for op in program.ops:
        values[op.output] = FLOAT[op.kind](op, *[values[name] for name in op.inputs])
    return values, {entry.name: leaving(values, entry, len(x)) for entry in program.states}


def leaving(values: Mapping[str, Array], entry: ProgramState, streams: int) -> Array:
    """Return what a state leaves with; a constant leaves for every stream."""
    return repeated(values[entry.output], streams)


def joined(values: Mapping[str, Array], program: Program, streams: int) -> Array:
    """Return a step's outputs side by side: [streams, outputs]."""
    flat = [values[name].reshape(len(values[name]), -1) for name in program.outputs]
    return np.concatenate([repeated(part, streams) for part in flat], axis=1)


def initial_state(program: Program, streams: int, held: Mapping[str, Array] = NOTHING) -> dict[str, Array]:
    """Return the float state at reset for so many streams: [streams, *shape] by name."""
    return {
        entry.name: np.repeat(entry.initial[None], streams, axis=0)
        if entry.held is None or entry.held not in held
        else held[entry.held].reshape(streams, *entry.initial.shape)
        for entry in program.states
    }


def by_rows(value: Array, shape: Shape) -> Array:
    """Bring [streams, *shape] into as many rows as there are entries along what grows; those axes stay with one."""
    axes = [axis + 1 for axis, size in enumerate(shape) if isinstance(size, Growing)]
    if not axes:
        return value
    moved = np.moveaxis(value, axes, range(1, len(axes) + 1))
    return moved.reshape(-1, *(1 if isinstance(size, Growing) else size for size in shape))
