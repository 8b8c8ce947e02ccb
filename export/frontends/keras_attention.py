"""Attention layers: scores of queries and keys [.., query, key], a mask, a softmax over keys, weighted values.

1. Heads stand before time: [1, heads, time, size]. Where several heads of queries share one of keys, they stand on an
   axis of their own behind it, and the keys' has length 1 there.
2. The mask is what Keras makes of use_causal_mask and sliding_window. Without it attention sees the future, which is
   for the rewrite to refuse.
Source: keras.layers' documentation.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from export.frontends.keras_graph import Call, Graph, Value

Inputs = list[Value | float]
SHUT = -1e9
"""The score of a key that is not seen: its weight is 0 in float32 and float64."""
PARTS = ("query_dense", "key_dense", "value_dense", "output_dense")
"""Where the weights of a layer with heads lie, in the order in which they are read."""


def multi_head(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append a MultiHeadAttention or GroupQueryAttention."""
    query, key, value = _given(call, inputs)
    config = call.config
    if config.get("attention_axes") not in (None, [1]):
        raise call.error("attention_axes other than time's are not supported.")
    if config.get("use_gate"):
        raise call.error("use_gate is not supported.")
    if call.kind == "GroupQueryAttention":
        heads, groups = int(config["num_query_heads"]), int(config["num_key_value_heads"])
        size = wide = int(config["head_dim"])
        leaving = query.dims[0]
    else:
        heads = groups = int(config["num_heads"])
        size, wide = int(config["key_dim"]), int(config["value_dim"] or config["key_dim"])
        leaving = _leaving(call, query)
    if heads % groups:
        raise call.error(f"{heads} heads of queries do not share {groups} of keys.")
    shapes: list[tuple[int, ...]] = [
        (query.dims[0], heads, size), (key.dims[0], groups, size), (value.dims[0], groups, wide),
        (heads, wide, leaving),
    ]  # fmt: skip
    biased = bool(config["use_bias"])
    step = 1 + biased
    # Every kernel is followed by its bias, of the same shape but for what it sums over.
    biases = [shape[1:] for shape in shapes[:3]] + [(leaving,)]
    call.expect(*(shape for pair in zip(shapes, biases, strict=True) for shape in pair[:step]))
    kernels, offsets = call.weights[::step], call.weights[1::step] if biased else (None,) * 4
    shared = () if heads == groups else (heads // groups,)
    q = _heads(graph, call, query, "query", kernels[0], offsets[0], (groups, *shared), keys=False)
    k = _heads(graph, call, key, "key", kernels[1], offsets[1], (groups, *(1 for _ in shared)), keys=True)
    v = _heads(graph, call, value, "value", kernels[2], offsets[2], (groups, *(1 for _ in shared)), keys=False)
    q = graph.op("Mul", [q, graph.constant(f"{call.name}.scale", 1 / math.sqrt(size))], f"{call.name}.scaled")
    scores = graph.op("MatMul", [q, k], f"{call.name}.scores")
    y = _attend(graph, call, query, key, scores, v)
    order = [0, 2, 1, 3] if not shared else [0, 3, 1, 2, 4]
    y = graph.op("Transpose", [y], f"{call.name}.time_first", perm=order)
    y = _reshape(graph, call, y, "joined", (heads * wide,))
    y = _product(graph, call, y, "output", kernels[3].reshape(heads * wide, leaving), offsets[3])
    return Value(y, (leaving,), timed=True)


def attention(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append an Attention: products of queries and keys, or sums of tanh(query + key)."""
    query, key, value = _given(call, inputs)
    scaled, mode = bool(call.config["use_scale"]), call.config.get("score_mode", "dot")
    if mode not in ("dot", "concat"):
        raise call.error(f"the score_mode {mode!r} is not known here.")
    call.expect(*[()] * (scaled + (mode == "concat")))
    if mode == "concat":
        scale = call.weights[0] if scaled else None
        scores = _sums(graph, call, query, key, call.weights[-1], inside=scale)
    else:
        turned = graph.op("Transpose", [key.name], f"{call.name}.turned", perm=[0, 2, 1])
        scores = graph.op("MatMul", [query.name, turned], f"{call.name}.scores")
        if scaled:
            scale_name = graph.constant(f"{call.name}.scale", call.weights[0])
            scores = graph.op("Mul", [scores, scale_name], f"{call.name}.scaled")
    return Value(_attend(graph, call, query, key, scores, value.name), value.dims, timed=True)


def additive(graph: Graph, call: Call, inputs: Inputs) -> Value:
    """Append an AdditiveAttention: sums of scale * tanh(query + key)."""
    query, key, value = _given(call, inputs)
    scaled = bool(call.config["use_scale"])
    call.expect(*([query.dims] if scaled else []))
    scores = _sums(graph, call, query, key, call.weights[0] if scaled else np.ones(1, np.float32))
    return Value(_attend(graph, call, query, key, scores, value.name), value.dims, timed=True)


def _given(call: Call, inputs: Inputs) -> tuple[Value, Value, Value]:
    """Return query, key and value; a key that is not given is the value."""
    values = [entry for entry in inputs if isinstance(entry, Value)]
    if len(values) not in (2, 3) or len(values) != len(inputs):
        raise call.error(f"it is given {len(inputs)} inputs; query, value and perhaps key are expected.")
    if any(not value.timed or len(value.dims) != 1 for value in values):
        raise call.error("not all of its query, value and key are [batch, time, features].")
    return values[0], values[-1], values[1]


def _leaving(call: Call, query: Value) -> int:
    given = call.config.get("output_shape")
    sizes = list(query.dims) if given is None else list(given) if isinstance(given, list) else [given]
    if len(sizes) != 1:
        raise call.error(f"its output_shape is {given}; one number is supported.")
    return int(sizes[0])


def _heads(  # noqa: PLR0917 - three calls, above
    graph: Graph, call: Call, x: Value, part: str, kernel: NDArray[np.float32], bias: NDArray[np.float32] | None,
    heads: tuple[int, ...], *, keys: bool,
) -> str:  # fmt: skip
    """Return [1, time, features] as [1, *heads, time, size]; keys as [1, *heads, size, time]."""
    size = kernel.shape[-1]
    flat = None if bias is None else bias.reshape(-1)
    y = _product(graph, call, x.name, part, kernel.reshape(len(kernel), -1), flat)
    y = _reshape(graph, call, y, f"{part}_heads", (*heads, size))
    axes, last = list(range(2, 2 + len(heads))), 2 + len(heads)
    return graph.op("Transpose", [y], f"{call.name}.{part}_first", perm=[0, *axes, *([last, 1] if keys else [1, last])])


def _product(  # noqa: PLR0917
    graph: Graph, call: Call, x: str, part: str, kernel: NDArray[np.float32], bias: NDArray[np.float32] | None
) -> str:
    name = call.name if part == "output" else f"{call.name}.{part}"
    y = graph.op("MatMul", [x, graph.constant(f"{call.name}.{part}.kernel", kernel)], name)
    if bias is None:
        return y
    return graph.op("Add", [y, graph.constant(f"{call.name}.{part}.bias", bias)], f"{call.name}.{part}.add")


def _reshape(graph: Graph, call: Call, x: str, part: str, dims: tuple[int, ...]) -> str:
    shape = graph.constant(f"{call.name}.{part}.shape", np.array([0, -1, *dims], np.int64))
    return graph.op("Reshape", [x, shape], f"{call.name}.{part}")


def _sums(  # noqa: PLR0917
    graph: Graph, call: Call, query: Value, key: Value, factor: NDArray[np.float32],
    inside: NDArray[np.float32] | None = None,
) -> str:  # fmt: skip
    """Return the sums of factor * tanh(inside * (query + key)) over features."""
    axes = [
        graph.constant(f"{call.name}.{part}.axis", np.array([axis], np.int64)) for part, axis in (("q", 2), ("k", 1))
    ]
    parts = [
        graph.op("Unsqueeze", [x.name, axis], f"{call.name}.{part}.each")
        for x, axis, part in zip((query, key), axes, ("query", "key"), strict=True)
    ]
    y = graph.op("Add", parts, f"{call.name}.pairs")
    if inside is not None:
        y = graph.op("Mul", [y, graph.constant(f"{call.name}.inside", inside)], f"{call.name}.scaled")
    y = graph.op("Tanh", [y], f"{call.name}.tanh")
    y = graph.op("Mul", [y, graph.constant(f"{call.name}.factor", factor)], f"{call.name}.weighted")
    last = graph.constant(f"{call.name}.last", np.array([-1], np.int64))
    return graph.op("ReduceSum", [y, last], f"{call.name}.scores", keepdims=0)


def _attend(graph: Graph, call: Call, query: Value, key: Value, scores: str, value: str) -> str:  # noqa: PLR0917
    """Append mask (2), softmax and the weighted sum of values."""
    seen = _seen(graph, call, query, key)
    if seen is not None:
        shut = graph.constant(f"{call.name}.shut", SHUT)
        scores = graph.op("Where", [seen, scores, shut], f"{call.name}.masked")
    weights = graph.op("Softmax", [scores], f"{call.name}.softmax", axis=-1)
    name = call.name if call.kind in ("Attention", "AdditiveAttention") else f"{call.name}.values"
    return graph.op("MatMul", [weights, value], name)


def _seen(graph: Graph, call: Call, query: Value, key: Value) -> str | None:
    """Return bool[query, key], which keys are seen; None where all are."""
    window = call.config.get("sliding_window")
    causal = bool(call.options.get("use_causal_mask"))
    if window is None and not causal:
        return None
    number = {n: graph.constant(f"{call.name}.{n}", np.array(n, np.int64)) for n in (0, 1)}
    places = []
    for x, part, axis in ((query, "query", 1), (key, "key", 0)):
        shape = graph.op("Shape", [x.name], f"{call.name}.{part}.shape")
        count = graph.op("Gather", [shape, number[1]], f"{call.name}.{part}.count")
        steps = graph.op("Range", [number[0], count, number[1]], f"{call.name}.{part}.steps")
        places.append(graph.op("Unsqueeze", [steps, graph.constant(f"{call.name}.at", np.array([axis], np.int64))],
                               f"{call.name}.{part}.places"))  # fmt: skip
    age = graph.op("Sub", places, f"{call.name}.age")
    past = graph.op("GreaterOrEqual", [age, number[0]], f"{call.name}.past") if causal else None
    if window is None:
        return past
    size = graph.constant(f"{call.name}.window", np.array(int(window), np.int64))
    near = graph.op("Less", [graph.op("Abs", [age], f"{call.name}.distance"), size], f"{call.name}.near")
    return near if past is None else graph.op("And", [past, near], f"{call.name}.seen")
