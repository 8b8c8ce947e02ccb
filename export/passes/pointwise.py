"""What no other file claims must be pointwise in time: each output step made from the same step of its inputs alone.

1. Elementwise ops, time axes aligned by broadcasting; batch norm with fixed statistics; quantizing with fixed scales.
2. MatMul, Gemm, Einsum and their integer forms that do not contract over time; where both factors vary over time, it is
   one of the axes along which they are multiplied entry by entry.
3. Ops along axes (softmax, norms, reductions, concat, split, slice, gather, pad …) that are not time; convolutions and
   poolings that have time in the place of the batch.
4. Ops that move axes (transpose, reshape, squeeze …) without reordering time.
5. Resizing that leaves time as long as it was.
Anything else is refused by name: an op that mixes time needs a pass of its own before this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, Timing, constant_of, integer, ints, sizes

ELEMENTWISE = set(
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu "  # noqa: SIM905
    "Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN "
    "LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink "
    "Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor Expand Tile".split()
)
NORMS = {"LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization", "LpNormalization",
         "MeanVarianceNormalization"}  # fmt: skip
PRODUCTS = {"MatMul": (0, 1), "Gemm": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}
"""Ops that multiply, and which of their inputs they do."""
MOVING = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}
SPATIAL = {"Conv", "MaxPool", "AveragePool", "LpPool", "QLinearConv", "ConvInteger", "ConvTranspose"}
UNKNOWN = "it is not known here to work on each time step by itself."
COUNTED = "how much it gives depends on what the data are, so its steps have no times of their own."
MIXING = (
    "it mixes time by a matrix that depends on no data, a weight for each two steps. A sum or mean of all steps so far "
    "streams as a cumulative sum (CumSum; divided by the count of steps), weights that fade as a causal convolution."
)
RANDOM = "it draws random numbers, which no step could be held against; make the noise an input of the model."
REASONS = {
    "ReverseSequence": "it turns time around: its first step is the last one, which has not come yet.",
    **dict.fromkeys(("NonZero", "Compress", "Unique", "NonMaxSuppression"), COUNTED),
    **dict.fromkeys(("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"), RANDOM),
    "DynamicQuantizeLinear": "its scale is taken from all steps of the sequence together; quantize with fixed scales "
    "(onnxruntime: quantize_static), or export the float model, of which --variants makes int8 here.",
    "If": "which branch it takes depends on what the data are.",
    "Loop": "how often it runs, or on what, is not known before the data are there.",
    "STFT": "it cuts frames of its own out of time; give the model frames, and make them by features.",
    "ScatterND": "it writes at places that are not known to be of the same step; use Concat.",
    "ConvTranspose": "it makes several steps out of one; upsampling is not streamed.",
    "Slice": "it cuts a part out of the time axis.",
}
"""Why some ops cannot stream, where more can be said than that they are not known."""


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the output's timing: the latest input sets the pace. Raises ExportError for a node that mixes time."""
    reason = _mixes(stream, node)
    if reason:
        raise node_error(str(node.name), node.op_type, reason)
    entering = [stream.timing[value] for value in node.inputs if value is not None and value in stream.timing]
    if len({timing.stride for timing in entering}) > 1:
        raise node_error(str(node.name), node.op_type, "its inputs run at different rates.")
    firsts = [timing.first for timing in entering if timing.first is not None]
    return replace(
        entering[0],
        delay=max(timing.delay for timing in entering),
        first=min(firsts) if len(firsts) == len(entering) else None,
        last=max(timing.last for timing in entering),
    )


def _mixes(stream: StreamGraph, node: ir.Node) -> str | None:
    """Return why a node mixes time, or None if it does not."""
    if node.domain not in ("", "ai.onnx"):
        return f"ops of the domain '{node.domain}' are not known here."
    if node.op_type in AXES or node.op_type.startswith("Reduce"):
        return _along(stream, node)  # 3
    rule = RULES.get(node.op_type)
    return rule(stream, node) if rule is not None else REASONS.get(node.op_type, UNKNOWN)


def _elementwise(stream: StreamGraph, node: ir.Node) -> str | None:
    output = node.outputs[0]
    expected = _rank(output) - stream.time[output]
    for value in node.inputs:
        if value is not None and value in stream.time and _rank(value) - stream.time[value] != expected:
            return "its inputs' time axes do not lie on each other."
    return None


def _first_alone(stream: StreamGraph, node: ir.Node) -> str | None:
    """Ops that the first input alone brings time into."""
    later = any(value in stream.time for value in node.inputs[1:] if value is not None)
    return UNKNOWN if later and node.op_type != "CastLike" else None


def _batch_norm(stream: StreamGraph, node: ir.Node) -> str | None:
    statistics = "its statistics are taken over the batch." if integer(node, "training_mode", 0) else None
    return "its channel axis is time." if _first(stream, node)[1] == 1 else statistics


def _quantizing(stream: StreamGraph, node: ir.Node) -> str | None:
    scale = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    if scale is None:
        return "its scale is computed from the data."
    value, axis = _first(stream, node)
    along = integer(node, "axis", 1) % max(_rank(value), 1)
    return "it has a scale for every time step." if scale.size > 1 and along == axis else None


def _product(stream: StreamGraph, node: ir.Node) -> str | None:
    left, right = (node.inputs[index] for index in PRODUCTS[node.op_type])
    if left is None or right is None:
        return "an input is missing."
    if any(len(stream.sized.get(value, ())) > 1 for value in (left, right)):
        return MIXING
    if left in stream.time and right in stream.time:
        matrix = 2 if node.op_type == "MatMul" else _rank(node.outputs[0])
        if all(stream.time[value] < _rank(value) - matrix for value in (left, right)):
            return _elementwise(stream, node)
        return "it multiplies two things that both vary over time (attention is not streamed yet)."
    if left in stream.time:
        contracted = 0 if node.op_type == "Gemm" and integer(node, "transA", 0) else _rank(left) - 1
        return "it sums over time." if stream.time[left] == contracted else None
    contracted = _rank(right) - (1 if node.op_type == "Gemm" and integer(node, "transB", 0) else 2)
    return "it sums over time." if stream.time[right] == contracted else None


def _einsum(stream: StreamGraph, node: ir.Node) -> str | None:
    left, arrow, right = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    terms = left.split(",")
    if "." in left or not arrow or any(len(set(term)) != len(term) for term in terms):
        return "its equation is not of a form that is streamed; write out '->', without '...' and diagonals."
    letters = {
        term[stream.time[value]]
        for term, value in zip(terms, node.inputs, strict=True)
        if value is not None and value in stream.time
    }
    if len(letters) > 1:
        return "its inputs' time axes do not lie on each other."
    return None if right.find(letters.pop()) == stream.time[node.outputs[0]] else "it sums over time."


def _gather(stream: StreamGraph, node: ir.Node) -> str | None:
    data, index = node.inputs[:2]
    if data in stream.time and index in stream.time:
        both = node.op_type == "GatherElements" and stream.time[data] == stream.time[index]
        if not both:
            return "it picks steps of one sequence by the data of another."
    if data is None or data not in stream.time:
        return UNKNOWN if node.op_type == "GatherElements" else None  # a table read at every step
    if node.op_type == "GatherElements" and index not in stream.time:
        return "it picks other entries at every time step."
    return ALONG if integer(node, "axis", 0) % _rank(data) == stream.time[data] else None


ALONG = "it works along the time axis."


def _along(stream: StreamGraph, node: ir.Node) -> str | None:
    value, axis = _first(stream, node)
    if axis not in _axes(node, _rank(value)):
        return None
    if node.op_type in NORMS:
        return (
            "it normalizes over time, so that every step would need frames that have not come yet. Train it with a "
            "norm over the features of one step (layer norm) or with fixed statistics (batch norm)."
        )
    return REASONS.get(node.op_type, ALONG)


def _axes(node: ir.Node, rank: int) -> set[int]:
    """Return the axes that an op works along."""
    if node.op_type.startswith("Reduce"):
        given = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
        axes = ints(node, "axes") or tuple(int(axis) for axis in (() if given is None else given.reshape(-1)))
        return {axis % rank for axis in axes} if axes else set(range(rank))
    return AXES[node.op_type](node, rank)


def _one(default: int) -> Callable[[ir.Node, int], set[int]]:
    return lambda node, rank: {integer(node, "axis", default) % rank}


def _dft(node: ir.Node, rank: int) -> set[int]:
    given = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None  # noqa: PLR2004 - its third input, from 20 on
    return {int(given.reshape(-1)[0]) % rank} if given is not None else {integer(node, "axis", 1) % rank, rank - 2}


def _cut(node: ir.Node, rank: int) -> set[int]:
    axes = constant_of(node.inputs[3]) if len(node.inputs) > 3 else None  # noqa: PLR2004 - Slice's fourth input
    return set(range(rank)) if axes is None else {int(axis) % rank for axis in axes.reshape(-1)}


AXES: dict[str, Callable[[ir.Node, int], set[int]]] = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "TopK", "LpNormalization"), _one(-1)),
    **dict.fromkeys(("Concat", "Split", "ArgMax", "ArgMin"), _one(0)),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization"),
        lambda node, rank: set(range(integer(node, "axis", -1) % rank, rank)),
    ),
    "InstanceNormalization": lambda _, rank: set(range(1, rank)),
    "GroupNormalization": lambda _, rank: set(range(1, rank)),
    "MeanVarianceNormalization": lambda node, rank: {axis % rank for axis in ints(node, "axes", (0, 2, 3))},
    "LRN": lambda _node, _rank: {1},
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), lambda _, rank: set(range(2, rank))),
    "Trilu": lambda _, rank: {rank - 2, rank - 1},
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), lambda _node, _rank: {1, 2, 3}),
    **dict.fromkeys(SPATIAL, lambda _, rank: set(range(1, rank))),
    "DFT": _dft,
    "Slice": _cut,
}
"""The axes along which ops work that have such."""


def _moving(stream: StreamGraph, node: ir.Node) -> str | None:
    value, axis = _first(stream, node)
    output = node.outputs[0]
    if node.op_type == "Transpose":
        order = ints(node, "perm") or tuple(reversed(range(_rank(value))))
        return None if order[stream.time[output]] == axis else "it reorders time."
    # Row-major order: time stays in order if as many elements stand before its axis as did.
    before, after = sizes(value)[:axis], sizes(output)[: stream.time[output]]
    return None if math.prod(before) == math.prod(after) else (
        "it reorders time: steps and features come to lie along one axis, as they do for a norm over both."
    )  # fmt: skip


def _resize(stream: StreamGraph, node: ir.Node) -> str | None:
    value, output = node.inputs[0], node.outputs[0]
    how = node.attributes["coordinate_transformation_mode"].as_string() if (
        "coordinate_transformation_mode" in node.attributes
    ) else ""  # fmt: skip
    kept = value is not None and (stream.lengths[value], stream.time[value]) == (
        stream.lengths[output], stream.time[output]
    )  # fmt: skip
    return None if kept and how != "tf_crop_and_resize" else "it makes steps between the steps, which needs later ones."


Rule = Callable[[StreamGraph, ir.Node], str | None]
RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),  # 1
    "BatchNormalization": _batch_norm,  # 1
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantizing),  # 1
    **dict.fromkeys(PRODUCTS, _product),  # 2
    "Einsum": _einsum,  # 2
    **dict.fromkeys(("Gather", "GatherElements"), _gather),  # 3
    **dict.fromkeys(("Pad", "CumSum", "OneHot", "CastLike"), _first_alone),  # 3: along time padding.py, cumulative.py
    **dict.fromkeys(MOVING, _moving),  # 4
    "Resize": _resize,  # 5
}


def _first(stream: StreamGraph, node: ir.Node) -> tuple[ir.Value, int]:
    return next((value, stream.time[value]) for value in node.inputs if value is not None and value in stream.time)


def _rank(value: ir.Value) -> int:
    return len(value.shape) if value.shape is not None else 0
