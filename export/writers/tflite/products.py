"""Products. Measured on ai-edge-litert 2.3 and tflite-runtime 2.14, both within one step of the reference:

1. A float linear is FULLY_CONNECTED. A quantized one is a 1×1 CONV_2D: per-channel FULLY_CONNECTED is wrong or refused
   in tflite-runtime. Beside 16-bit activations its bias has 64 bits.
2. A convolution has its channels last. What its padding holds is put there by PAD, which takes the zero point for zero.
   One of a single axis has height 1. With as many groups as channels it is DEPTHWISE_CONV_2D; other groups are
   CONV_2D's own, which both runtimes have in float32, int8 and int16.
3. A product of two values, or with a constant, is BATCH_MATMUL: int8 and int16 are integers in both runtimes, with any
   zero points, and one side may be broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from export.program import Array, Op, Shape, Type
from export.writers.tflite.stored import weight as weight_of
from export.writers.tflite.versions import PLAIN_RANK
from export.writers.tflite.writer import Form, Writer

VALID = 1
"""The schema's padding that adds nothing."""
HEIGHT, WIDTH = 1, 2
"""Axes of space that a convolution may have."""


def _linear(writer: Writer, op: Op) -> int:
    *rest, inputs = writer.program.shapes[op.inputs[0]]
    rows = math.prod(rest)
    x, weight, stored = writer.read(op.inputs[0], (1, 1, rows, inputs)), op.arrays["weight"], writer.kind(op.output)
    shape = (1, 1, rows, len(weight))
    entering = writer.program.types.get(op.inputs[0])
    if entering is None:
        given = [x, weight_of(writer, writer.weight_name(op), weight), writer.array(op, "bias", op.arrays["bias"])]
        return writer.emit(
            "FULLY_CONNECTED",
            given,
            "FullyConnectedOptions",
            shape=shape,
            keepNumDims=True,
            fusedActivationFunction=_relu(op),
        )  # 1
    given = [x, *_weights(writer, op, weight.reshape(len(weight), 1, 1, -1), entering)]
    return writer.emit("CONV_2D", given, "Conv2DOptions", shape=shape, kind=stored, **_places(op, (1, 1), (1, 1)))


def _relu(op: Op) -> int:
    """Return the activation fused into a product: RELU is 1 among them, NONE is 0."""
    return int(op.attributes.get("relu", 0))


def _places(op: Op, strides: tuple[int, int], dilations: tuple[int, int]) -> dict[str, Any]:
    return {
        "padding": VALID, "strideH": strides[0], "strideW": strides[1], "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1], "fusedActivationFunction": _relu(op),
    }  # fmt: skip


def _weights(writer: Writer, op: Op, kernel: Array, entering: Type | None, axis: int = 0) -> list[int]:
    """Return a convolution's weight, its outputs along an axis, and its bias."""
    if entering is None:
        return [weight_of(writer, writer.weight_name(op), kernel, axis), writer.array(op, "bias", op.arrays["bias"])]
    name, scale = writer.weight_name(op), op.arrays["scale"]
    return [
        writer.file.weight(name, kernel, scale, axis, title=name),
        writer.file.weight(f"{op.output}.bias", op.arrays["bias"], scale * entering.scale),
    ]


def _conv(writer: Writer, op: Op) -> int:
    kernel, weight, name = op.attributes["kernel"], op.arrays["weight"], op.inputs[0]
    if len(kernel) > WIDTH:
        raise writer.refusal(op, f"TFLite convolves over two axes, not over {len(kernel)}.")
    group, pads = op.attributes["group"], op.attributes["pads"]
    if len(kernel) == HEIGHT:
        # [batch, channels, places] is held as [1, batch, channels, places].
        order, back = (1, 0, 3, 2), (1, 0, 3, 2)
        sizes = [(1, *op.attributes[key]) for key in ("strides", "dilations")]
        around = (0, 0), (pads[0], pads[1])
        weight = weight[:, :, None]
    else:
        order, back = (0, 2, 3, 1), (0, 3, 1, 2)
        sizes = [tuple(op.attributes[key]) for key in ("strides", "dilations")]
        around = (pads[0], pads[2]), (pads[1], pads[3])
    x = writer.turned(writer.read(name), order)
    if any(pads):
        x = _padded(writer, x, around)  # 2
    channels, entering = writer.shape(x)[-1], writer.program.types.get(name)
    deep = group == channels > 1
    if deep:
        given, title = _weights(writer, op, weight.transpose(1, 2, 3, 0), entering, 3), "DEPTHWISE_CONV_2D"
        options, more = "DepthwiseConv2DOptions", {"depthMultiplier": len(weight) // channels}
    else:
        given, title = _weights(writer, op, weight.transpose(0, 2, 3, 1), entering), "CONV_2D"
        options, more = "Conv2DOptions", {}
    plain = writer.plain(writer.program.shapes[op.output])
    shape = tuple(plain[axis] for axis in order)
    settings = _places(op, *sizes) | more
    return writer.turned(
        writer.emit(title, [x, *given], options, shape=shape, kind=writer.kind(op.output), **settings), back
    )


def _padded(writer: Writer, x: int, around: tuple[tuple[int, int], tuple[int, int]]) -> int:
    sides = np.array([(0, 0), *around, (0, 0)], np.int32)
    shape = tuple(size + sum(side) for size, side in zip(writer.shape(x), sides.tolist(), strict=True))
    constant = writer.file.constant("pads." + ".".join(map(str, sides.reshape(-1).tolist())), sides, title="pads")
    return writer.emit("PAD", [x, constant], "PadOptions", shape=shape)


def _matmul(writer: Writer, op: Op) -> int:
    shapes = [writer.program.shapes[name] for name in op.inputs]
    result = writer.program.shapes[op.output]
    stacks = {shape[:-2] for shape in shapes if math.prod(shape[:-2]) > 1}
    if max(len(writer.plain(shape)) for shape in (*shapes, result)) <= PLAIN_RANK:
        pair, whole = [writer.read(name) for name in op.inputs], writer.plain(result)
    elif len(stacks) == 1:
        pair = [writer.read(name, _stacked(shape)) for name, shape in zip(op.inputs, shapes, strict=True)]
        whole = _stacked(result)
    else:
        raise writer.refusal(op, f"TFLite broadcasts products of four axes, not of {len(result)}.")
    return writer.emit("BATCH_MATMUL", pair, "BatchMatMulOptions", shape=whole, kind=writer.kind(op.output))  # 3


def _stacked(shape: Shape) -> Shape:
    """Return a shape with all axes but the last two in one."""
    return (1, math.prod(shape[:-2]), *shape[-2:])


FORMS: Mapping[str, Form] = {"Linear": _linear, "Conv": _conv, "MatMul": _matmul}
