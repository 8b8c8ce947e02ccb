"""Values over two times, as attention's scores are: which of the two is the query's, which the key's, how far it sees.

1. Each axis of a node's input is followed to the axis of its output where it goes on, op by op.
2. The axis that is summed, reduced or normalized over is the key's; that spreads to all values it is connected with.
3. How far back a query sees is read off the weights with which keys are summed, in runs at several lengths: a weight
   on a key of the future refuses the node, the greatest age with a weight is the band. No mask is looked for.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import Array, Pair, StreamGraph, constant_of, integer, ints, probe, sizes
from export.lengths import runs
from export.passes.pointwise import ELEMENTWISE

NORMALIZING = {"Softmax", "LogSoftmax", "Hardmax"}
KEEPING = NORMALIZING | {"LayerNormalization", "Trilu", "Concat", "Split", "Slice", "Pad", "Gather"}
VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten"}
SUMMING = {"MatMul", "Gemm", "Einsum", "ReduceSum"}
REDUCING = {"ReduceSum", "ReduceMax", "ReduceMin", "ReduceLogSumExp"}
"""What over keys that do not count, because their weight is 0 or their score the lowest, is the same without them."""
LONGER = (521, 1031)
"""Lengths at which a band is looked for that the shorter runs do not show."""


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether the node reads or gives a value over two times."""
    return any(value in stream.pairs for value in (*node.inputs, *node.outputs) if value is not None)


def apply(stream: StreamGraph) -> bool:
    """Find query and key of every value over two times, and the window of each attention."""
    if not stream.pairs:
        return False
    keys = _find_keys(stream)
    for value, pair in list(stream.pairs.items()):
        producer = value.producer()
        if value not in keys and producer is not None:
            raise node_error(
                str(producer.name), producer.op_type,
                "its output grows with time along more than one axis, and none of them is summed over.",
            )  # fmt: skip
        axes = (pair.query, pair.key)
        stream.pairs[value] = Pair(axes[0] if keys[value] == axes[1] else axes[1], keys[value])
    for region in regions(stream):
        window = _window(stream, region)
        for value in region:
            stream.windows[value] = window
    return False


def follow(stream: StreamGraph, node: ir.Node, index: int, axis: int) -> int | None:  # noqa: PLR0911 - a table of cases
    """Return the output's axis that an input's time axis goes on as, None if it is summed or reduced away (1)."""
    value, op_type = node.inputs[index], node.op_type
    if value is None:
        raise node_error(str(node.name), op_type, "an input is missing.")
    rank, leaving = rank_of(value), rank_of(node.outputs[0])
    if op_type in ELEMENTWISE or op_type in ("Expand", "QuantizeLinear", "DequantizeLinear"):
        return axis + leaving - rank
    if op_type == "Transpose":
        return (ints(node, "perm") or tuple(reversed(range(rank)))).index(axis)
    if op_type == "MatMul":
        contracted = rank - 1 if index == 0 else max(rank - 2, 0)
        return None if axis == contracted else axis + leaving - rank
    if op_type == "Gemm":
        row = axis ^ integer(node, ("transA", "transB", "")[index], 0) if index < 2 else axis  # noqa: PLR2004
        return None if row == 1 - index else (index if index < 2 else axis + leaving - rank)  # noqa: PLR2004
    if op_type == "Einsum":
        return _einsum(node, index, axis)
    if op_type.startswith("Reduce"):
        reduced = reduced_axes(node, rank)
        kept = integer(node, "keepdims", 1)
        return None if axis in reduced else axis - (0 if kept else sum(1 for other in reduced if other < axis))
    if op_type in KEEPING:
        return _keeping(node, index, axis)
    if op_type in VIEWS:
        return _view(stream, node, value, axis)
    raise node_error(str(node.name), op_type, "it works on two times at once in a way that is not known here.")


def rank_of(value: ir.Value) -> int:
    """Return how many axes a value has."""
    return len(value.shape) if value.shape is not None else 0


def reduced_axes(node: ir.Node, rank: int) -> set[int]:
    """Return the axes that a Reduce op reduces."""
    given = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = ints(node, "axes") or (() if given is None else tuple(int(axis) for axis in given.reshape(-1)))
    return {axis % rank for axis in axes} if axes else set(range(rank))


def _einsum(node: ir.Node, index: int, axis: int) -> int | None:
    left, _, right = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    terms = left.split(",")
    if "." in left or not right or len(set(terms[index])) != len(terms[index]):
        raise node_error(str(node.name), "Einsum", "its equation is not of a form that is streamed; write out '->'.")
    place = right.find(terms[index][axis])
    return None if place < 0 else place


def _keeping(node: ir.Node, index: int, axis: int) -> int:
    """Ops along one axis: where that is the time axis, only a softmax goes on (over keys: it is checked later)."""
    value = node.inputs[index]
    rank = rank_of(value) if value is not None else 0
    if node.op_type == "LayerNormalization":
        touched = set(range(integer(node, "axis", -1) % rank, rank))
    elif node.op_type in ("Trilu", "Pad", "Slice"):
        axes = None if len(node.inputs) <= 3 else constant_of(node.inputs[3])  # noqa: PLR2004
        touched = set(range(rank)) if axes is None else {int(a) % rank for a in axes.reshape(-1)}
    else:
        default = -1 if node.op_type in NORMALIZING else 0
        touched = {integer(node, "axis", default) % rank}
    if node.op_type == "Trilu" and axis >= rank - 2:
        return axis
    if axis in touched and node.op_type not in NORMALIZING:
        raise node_error(str(node.name), node.op_type, "it works along a time axis of attention's scores.")
    if node.op_type == "Gather" and axis > min(touched):
        indices = node.inputs[1]
        return axis + (rank_of(indices) if indices is not None else 0) - 1
    return axis


def _view(stream: StreamGraph, node: ir.Node, value: ir.Value, axis: int) -> int:
    """Row-major order: two times stay what they are if as many elements stand before and between them as did."""
    before, after = _axes(stream, value), _axes(stream, node.outputs[0])
    shapes = sizes(value), sizes(node.outputs[0])
    spans = [[math.prod(shape[:at]) for at in axes] for shape, axes in zip(shapes, (before, after), strict=True)]
    if len(before) != len(after) or spans[0] != spans[1]:
        raise node_error(str(node.name), node.op_type, "it reorders time.")
    return after[before.index(axis)]


def _axes(stream: StreamGraph, value: ir.Value) -> list[int]:
    if value in stream.pairs:
        return sorted((stream.pairs[value].query, stream.pairs[value].key))
    if value in stream.sized:
        return sorted(stream.sized[value])
    return [stream.time[value]] if value in stream.time else []


def _find_keys(stream: StreamGraph) -> dict[ir.Value, int]:
    """Return the key axis of every value over two times (2)."""
    keys: dict[ir.Value, int] = {}
    nodes = [node for node in stream.graph if claims(stream, node) and node.op_type not in ("Shape", "Size")]
    found = -1
    while found != len(keys):
        found = len(keys)
        for node in nodes:
            for index, value in enumerate(node.inputs):
                if value is not None and value in stream.pairs:
                    _spread(stream, node, index, value, keys)
    return keys


def _spread(stream: StreamGraph, node: ir.Node, index: int, value: ir.Value, keys: dict[ir.Value, int]) -> None:
    axes = _axes(stream, value)
    goes = {axis: follow(stream, node, index, axis) for axis in axes}
    ended = [axis for axis in axes if goes[axis] is None]
    if node.op_type in NORMALIZING:
        ended += [axis for axis in axes if axis == integer(node, "axis", -1) % rank_of(value)]
    known = set(ended) | ({keys[value]} if value in keys else set())
    for output in node.outputs:
        if output in stream.pairs and output in keys:
            known |= {axis for axis in axes if goes[axis] == keys[output]}
    if len(known) > 1 or len(ended) > 1:
        raise node_error(str(node.name), node.op_type, "it works along the queries' time, so it mixes all of time.")
    if not known:
        return
    keys[value] = known.pop()
    for output in node.outputs:
        place = goes[keys[value]]
        if output in stream.pairs and place is not None:
            keys.setdefault(output, place)


def regions(stream: StreamGraph) -> list[list[ir.Value]]:
    """Return the values over two times, those that are connected together."""
    groups: list[set[ir.Value]] = []
    for node in stream.graph:
        here = {value for value in (*node.inputs, *node.outputs) if value is not None and value in stream.pairs}
        if not here or node.op_type in ("Shape", "Size"):
            continue
        touching = [group for group in groups if group & here]
        groups = [group for group in groups if not group & here] + [here.union(*touching)]
    return [sorted(group, key=lambda value: str(value.name)) for group in groups]


def _window(stream: StreamGraph, region: list[ir.Value]) -> int:
    """Return how many keys a query of this attention sees, its own included (3)."""
    weights = weights_of(stream, region)
    name, op_type = told(weights[0])
    lengths = stream.probed
    steps = None if stream.max_steps is None else stream.max_steps + _in_front(stream, region)
    limits = [limit for limit in (stream.attention_window, steps) if limit is not None]
    reaches = [reach(stream, weights, stream.noise(length)) for length in lengths]
    longer = [] if limits else list(LONGER)
    run = lambda length: probe(stream.model, stream.noise(length), weights)  # noqa: E731 - used once, below
    while reaches[-1] != reaches[-2] and longer and runs(run, longer[0]):
        reaches.append(reach(stream, weights, stream.noise(longer.pop(0))))
    if reaches[-1] == reaches[-2]:
        if not limits or reaches[-1] <= min(limits):
            return reaches[-1]
    elif not limits:
        raise node_error(
            name, op_type,
            "its attention reaches back to the first frame, so its memory would grow for ever. "
            + ("Say how many steps a target has at most with --max-steps." if stream.held else
               "Choose how many steps it sees with --attention-window, or, if the stream is reset that often, the most "
               "steps with --max-steps."),
        )  # fmt: skip
    if stream.attention_window is not None and stream.attention_window == min(limits):
        stream.narrowed = True
    else:
        stream.limited = True
    return min(limits)


def _in_front(stream: StreamGraph, region: list[ir.Value]) -> int:
    """Return how many entries more than frames there are, as rows in front of them."""
    beside = {value for pair in region for node, _ in pair.uses() for value in node.inputs if value in stream.lengths}
    beside |= {
        value for pair in region if (node := pair.producer()) for value in node.inputs if value in stream.lengths
    }
    return max([0, *(stream.lengths[value][0] - stream.probed[0] for value in beside)])


def weights_of(stream: StreamGraph, region: list[ir.Value]) -> list[ir.Value]:
    """Return the values of a region that are summed over keys."""
    found = []
    for value in region:
        for node, index in value.uses():
            if node.op_type in SUMMING and follow(stream, node, index, stream.pairs[value].key) is None:
                found.append(value)
    if not found:
        raise node_error(*told(region[0]), "its output grows with time along two axes, and no sum over keys ends it.")
    return sorted(set(found), key=lambda value: str(value.name))


def reach(stream: StreamGraph, weights: list[ir.Value], feeds: dict[str, Array]) -> int:
    """Run the original and return how many steps back the weights reach. Raises for the future."""
    seen = probe(stream.model, feeds, weights)
    greatest = 1
    for value in weights:
        array = np.moveaxis(seen[str(value.name)], (stream.pairs[value].query, stream.pairs[value].key), (0, 1))
        ages = ages_of(array)
        if array.shape[0] != array.shape[1]:
            raise node_error(
                *told(value),
                f"its queries and keys are not of the same times: {array.shape[0]} queries see {array.shape[1]} keys. "
                "Rows in front belong in front of the sequence, before queries and keys are made of it.",
            )
        if ages.size and ages.min() < 0:
            raise node_error(
                *told(value),
                f"it is attention over the future (up to {-int(ages.min())} steps ahead in a run of {len(array)}). "
                "Train it with a causal mask.",
            )
        greatest = max(greatest, int(ages.max()) + 1 if ages.size else 1)
    return greatest


def told(value: ir.Value) -> tuple[str, str]:
    """Return the name and type of the node that gives a value."""
    node = value.producer()
    return (str(node.name), node.op_type) if node is not None else (str(value.name), "input")


def ages_of(weights: Array) -> Array:
    """Return query minus key of all weights [query, key, ...] that are not zero."""
    at = np.argwhere((weights != 0).reshape(*weights.shape[:2], -1).any(axis=2))
    return np.asarray(at[:, 0] - at[:, 1])
