"""Random sequence models of all families, as ONNX graphs made node by node: seeded, small, quick to make.

Blocks are drawn one behind another until the model is deep enough; each takes and gives [1, time, channels].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES = 5
OPSET = 17


class Builder:
    """An ONNX graph in the making."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.stride = 1
        self.recurrent = False

    def constant(self, array: Any) -> str:
        array = np.asarray(array)
        name = f"c{len(self.tensors)}"
        kept = array.astype(np.float32) if array.dtype.kind == "f" else array
        self.tensors.append(numpy_helper.from_array(kept, name))
        return name

    def op(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self.nodes)}_{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, *shape: int, gain: float = 1.5) -> str:
        return self.constant(self.rng.normal(size=shape) * gain / np.sqrt(max(int(np.prod(shape[1:])), 1)))

    def one_of(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, odds: float = 0.5) -> bool:
        return bool(self.rng.random() < odds)

    # ---- parts that work on each step by itself

    def dense(self, x: str, entering: int, leaving: int) -> str:
        weight = self.constant(self.rng.normal(size=(entering, leaving)) * 1.3 / np.sqrt(entering))
        return self.op("Add", self.op("MatMul", x, weight), self.weight(leaving, gain=0.3))

    def activation(self, x: str) -> str:
        kind = self.one_of(
            "Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "HardSwish", "Softplus", "gelu", "swish", "Selu"
        )
        if kind == "gelu":
            erf = self.op("Erf", self.op("Mul", x, self.constant(np.float32(np.sqrt(0.5)))))
            return self.op("Mul", x, self.op("Mul", self.op("Add", erf, self.constant(1.0)), self.constant(0.5)))
        if kind == "swish":
            return self.op("Mul", x, self.op("Sigmoid", x))
        return self.op(kind, x)

    def norm(self, x: str, channels: int) -> str:
        scale, bias = self.constant(self.rng.uniform(0.5, 1.5, channels)), self.weight(channels, gain=0.3)
        if self.chance():
            return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)
        axes = {"axes": [-1]}
        centred = self.op("Sub", x, self.op("ReduceMean", x, **axes))
        spread = self.op("ReduceMean", self.op("Mul", centred, centred), **axes)
        root = self.op("Sqrt", self.op("Add", spread, self.constant(1e-5)))
        return self.op("Add", self.op("Mul", self.op("Div", centred, root), scale), bias)

    # ---- blocks: x [1, time, channels] -> (y, channels)

    def pointwise(self, x: str, channels: int) -> tuple[str, int]:
        leaving = int(self.rng.integers(3, 9))
        return self.activation(self.dense(x, channels, leaving)), leaving

    def shifted(self, x: str, channels: int) -> tuple[str, int]:
        """Each step sees the step before, the first one zeros."""
        padded = self.op("Pad", x, self.constant([0, 1, 0, 0, 0, 0]))
        if channels > 2 and self.chance(0.4):  # and the first of its features goes in the same cut
            bounds = [self.constant(given) for given in ([0, 1], [-1, 99], [1, 2])]
            return self.op("Slice", padded, *bounds), channels - 1
        return self.op("Slice", padded, self.constant([0]), self.constant([-1]), self.constant([1])), channels

    def normalized(self, x: str, channels: int) -> tuple[str, int]:
        return self.norm(x, channels), channels

    def cell(self, x: str, channels: int) -> tuple[str, int]:
        self.recurrent = True
        kind, hidden = self.one_of("RNN", "GRU", "LSTM"), int(self.rng.integers(3, 9))
        gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
        w, r = self.weight(1, gates * hidden, channels), self.weight(1, gates * hidden, hidden)
        inputs = [self.op("Transpose", x, perm=[1, 0, 2]), w, r]
        if self.chance(0.8):
            inputs.append(self.weight(1, 2 * gates * hidden, gain=0.3))
        attributes: dict[str, Any] = {"hidden_size": hidden}
        if kind == "GRU":
            attributes["linear_before_reset"] = int(self.rng.integers(2))
        if kind == "RNN" and self.chance():
            attributes["activations"] = ["Relu"]
        y = self.op(kind, *inputs, **attributes)
        if self.chance():
            return self.op("Transpose", self.op("Squeeze", y, self.constant([1])), perm=[1, 0, 2]), hidden
        turned = self.op("Transpose", y, perm=[2, 0, 1, 3])
        return self.op("Reshape", turned, self.constant([1, -1, hidden])), hidden

    def convolution(self, x: str, channels: int) -> tuple[str, int]:
        """1-D over time: causal or looking ahead, dilated, in groups or depthwise and pointwise, with a stride."""
        stride = self.one_of(1, 1, 2) if self.stride < 4 else 1
        kernel, dilation = int(self.rng.integers(1, 5)), self.one_of(1, 1, 2, 3)
        span = (kernel - 1) * dilation
        ahead = int(self.rng.integers(0, span + 1)) if self.chance(0.4) else 0
        groups = self.one_of(1, channels)
        leaving = channels * self.one_of(1, 2) if groups > 1 else int(self.rng.integers(3, 9))
        turned = self.op("Transpose", x, perm=[0, 2, 1])
        weight, bias = self.weight(leaving, channels // groups, kernel), self.weight(leaving, gain=0.3)
        attributes: dict[str, Any] = {"dilations": [dilation], "group": groups, "strides": [stride]}
        if self.chance():
            y = self.op("Conv", turned, weight, bias, pads=[span - ahead, ahead], **attributes)
        else:
            pads = self.constant([0, 0, span - ahead, 0, 0, ahead])
            padded = self.op("Pad", turned, pads, self.constant(0.0), mode=self.one_of("constant", "constant", "edge"))
            y = self.op("Conv", padded, weight, bias, **attributes)
        if groups > 1:
            y, leaving = self.op("Conv", y, self.weight(4, leaving, 1), self.weight(4, gain=0.3)), 4
        if self.chance(0.3):
            statistics = [self.constant(self.rng.uniform(0.5, 1.5, leaving)) for _ in range(4)]
            y = self.op("BatchNormalization", y, *statistics)
        self.stride *= stride
        return self.op("Transpose", self.activation(y), perm=[0, 2, 1]), leaving

    def chomped(self, x: str, channels: int) -> tuple[str, int]:
        """A convolution padded on both sides whose end is cut off, as TCNs are often written."""
        kernel, dilation = int(self.rng.integers(2, 4)), self.one_of(1, 2, 4)
        span = (kernel - 1) * dilation
        turned = self.op("Transpose", x, perm=[0, 2, 1])
        y = self.op("Conv", turned, self.weight(channels, channels, kernel), pads=[span, span], dilations=[dilation])
        y = self.op("Slice", y, self.constant([0]), self.constant([-span]), self.constant([2]))
        return self.op("Transpose", self.activation(y), perm=[0, 2, 1]), channels

    def pool(self, x: str, channels: int) -> tuple[str, int]:
        stride = self.one_of(1, 2) if self.stride < 4 else 1
        kind, kernel = self.one_of("MaxPool", "AveragePool"), int(self.rng.integers(max(2, stride), 4))
        turned = self.op("Transpose", x, perm=[0, 2, 1])
        attributes: dict[str, Any] = {"kernel_shape": [kernel], "strides": [stride]}
        if self.chance():
            attributes["pads"] = [kernel - 1, 0]
            if kind == "AveragePool":
                attributes["count_include_pad"] = 1
        self.stride *= stride
        return self.op("Transpose", self.op(kind, turned, **attributes), perm=[0, 2, 1]), channels

    def image(self, x: str, channels: int) -> tuple[str, int]:
        """2-D over time and features, then flat again."""
        planes, (high, wide) = int(self.rng.integers(2, 4)), (int(self.rng.integers(1, 4)), min(3, channels))
        ahead = int(self.rng.integers(0, high)) if self.chance(0.3) else 0
        plane = self.op("Unsqueeze", x, self.constant([1]))
        y = self.op(
            "Conv", plane, self.weight(planes, 1, high, wide), self.weight(planes, gain=0.3),
            pads=[high - 1 - ahead, 0, ahead, 0],
        )  # fmt: skip
        left = channels - wide + 1
        if left >= 2 and self.chance():
            y, left = self.op("MaxPool", y, kernel_shape=[1, 2], strides=[1, 2]), left // 2
        y = self.op("Transpose", self.activation(y), perm=[0, 2, 1, 3])
        return self.op("Reshape", y, self.constant([0, 0, planes * left])), planes * left

    def residual(self, x: str, channels: int) -> tuple[str, int]:
        """Two branches that meet again; what one of them delays, the other waits for."""
        before = self.stride
        y, leaving = self.one_of(self.unstrided, self.chomped, self.pointwise, self.cell)(x, channels)
        assert self.stride == before
        other = x if leaving == channels else self.dense(x, channels, leaving)
        if self.chance(0.3):
            return self.op("Concat", y, other, axis=-1), 2 * leaving
        return self.op("Add", *((y, other) if self.chance() else (other, y))), leaving

    def unstrided(self, x: str, channels: int) -> tuple[str, int]:
        kept, self.stride = self.stride, 4
        try:
            return self.convolution(x, channels)
        finally:
            self.stride = kept

    def gated(self, x: str, channels: int) -> tuple[str, int]:
        """WaveNet's: the product of two halves."""
        y = self.dense(x, channels, 8)
        left, right = self.op("Split", y, self.constant([4, 4]), outputs=2, axis=-1)
        return self.op("Mul", self.op("Tanh", left), self.op("Sigmoid", right)), 4

    def attention(self, x: str, channels: int) -> tuple[str, int]:
        """Causal attention under a band, its mask written in one of three ways."""
        heads, size, band = self.one_of(1, 2), 4, int(self.rng.integers(2, 20))
        q, k, v = (self._heads(self.dense(x, channels, heads * size), heads, size) for _ in range(3))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.op("Mul", scores, self.constant(1 / np.sqrt(size)))
        count = self.op("Gather", self.op("Shape", x), self.constant(np.array(1)), axis=0)
        steps = self.op("Range", self.constant(np.array(0)), count, self.constant(np.array(1)))
        rows, columns = (self.op("Unsqueeze", steps, self.constant([axis])) for axis in (1, 0))
        age = self.op("Sub", rows, columns)
        late = self.op("Less", age, self.constant(np.array(0)))
        outside = self.op("Or", late, self.op("Greater", age, self.constant(np.array(band - 1))))
        written = self.one_of("where", "add", "both")
        if written == "where":
            scores = self.op("Where", outside, self.constant(-1e9), scores)
        else:
            shut = self.constant(-np.inf if written == "both" else -1e9)
            scores = self.op("Add", scores, self.op("Where", outside, shut, self.constant(0.0)))
        y = self.op("MatMul", self.op("Softmax", scores, axis=-1), v)
        y = self.op("Reshape", self.op("Transpose", y, perm=[0, 2, 1, 3]), self.constant([0, 0, heads * size]))
        return self.dense(y, heads * size, channels), channels

    def _heads(self, x: str, heads: int, size: int) -> str:
        return self.op("Transpose", self.op("Reshape", x, self.constant([0, 0, heads, size])), perm=[0, 2, 1, 3])

    def transformer(self, x: str, channels: int) -> tuple[str, int]:
        first = self.chance()
        y, _ = self.attention(self.norm(x, channels) if first else x, channels)
        x = self.op("Add", x, y)
        x = x if first else self.norm(x, channels)
        y = self.dense(self.activation(self.dense(x, channels, 8)), 8, channels)
        return self.op("Add", x, y), channels


FAMILIES: dict[str, tuple[str, ...]] = {
    "recurrent": ("cell", "cell", "pointwise", "normalized", "residual", "gated", "shifted"),
    "convolutional": ("convolution", "chomped", "pool", "residual", "pointwise", "image", "gated"),
    "attention": ("transformer", "attention", "pointwise", "normalized", "shifted"),
    "mixed": ("cell", "convolution", "transformer", "pool", "residual", "image", "normalized", "gated", "shifted"),
}


def random_graph(family: str, seed: int) -> onnx.ModelProto:
    """Return a model of a family: x float32[1, time, FEATURES] → y float32[1, steps, 2]."""
    builder = Builder(seed)
    x, channels = "x", FEATURES
    if builder.chance(0.7):
        x, channels = builder.pointwise(x, channels)
    for _ in range(int(builder.rng.integers(2, 6))):
        block: Callable[[str, int], tuple[str, int]] = getattr(builder, builder.one_of(*FAMILIES[family]))
        x, channels = block(x, channels)
    y = builder.dense(x, channels, 2)
    builder.nodes.append(helper.make_node("Identity", [y], ["y"], "last"))
    graph = helper.make_graph(
        builder.nodes, "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "time", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "steps", 2])],
        builder.tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model
