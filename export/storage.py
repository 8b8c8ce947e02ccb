"""Stores a float step's weights smaller. The step computes in float32 as before: the file is small, not the memory.

float16: each tensor as float16, with a Cast to float32 behind it.
w8: each weight as int8 with one scale an output, with a Cast and a Mul behind it. That is DequantizeLinear written out:
    of DequantizeLinear onnxruntime makes MatMulNBits, which rounds the inputs to 8 bits as well, or runs it again at
    every step; Cast and Mul of constants it computes once, when the file is loaded.

Rounding what was rounded before changes nothing: for every scale s that float32 has, 127 * s / 127 is s again.

Which numbers share a scale follows from what reads the tensor: those that are summed into one output.

1. A product of matrices sums over the axis next to the outputs' (of one matrix or of a stack of them).
2. A convolution sums over all axes but its outputs' own.
3. A recurrent op sums over the last axis of both its matrices.
4. A table is read by rows, each with a scale of its own.
5. Einsum sums over the letters that its result has not.
6. A transposed tensor shares them on the axes where they stood.

Tensors that no such op reads, vectors (biases, norms) and small tensors stay float32. So do those whose rounding costs
more than the variant may: see kept.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Items
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from export.graph import StreamGraph, integer, ints
from export.writers import onnx as writer

LEAST = 64
"""Numbers from which on a tensor is worth the nodes behind it."""
SHARING = 8
"""Numbers that share a scale, at least: with fewer, the scales would take what the integers save."""
LEVELS = 127
NOTHING: Mapping[str, str] = MappingProxyType({})
Axes = tuple[int, ...]
Weights = NDArray[np.float32]
Stored = tuple[NDArray[Any], Weights | None]
"""The numbers that stand in a file, and what they are to be multiplied with, as NumPy stretches it."""


def stored(
    model: onnx.ModelProto, variant: str, kept: Mapping[str, str] = NOTHING
) -> tuple[onnx.ModelProto, list[str]]:
    """Return a float model with its weights stored as a variant of `STORAGE` has them, and what is to be told of it.

    kept: names of weights that stay float32, and why.
    """
    stream = StreamGraph(ir.from_proto(model), ())
    notes, counts, sizes = list[str](), [0, 0], [0, 0]
    for value, array, found, told in _weights(stream, variant, kept):
        title = _title(value)
        counts[found is None] += array.size
        parts = (array,) if found is None else found
        sizes[found is None] += sum(part.nbytes for part in parts if part is not None)
        if found is not None:
            value.replace_all_uses_with(_read(stream, value, *found))
            del stream.graph.initializers[str(value.name)]
        elif told:
            notes.append(f"{variant}: {title} stays float32: {told}")
    common.TopologicalSortPass()(stream.model)
    kind = "float16" if variant == "float16" else "int8, one scale an output"
    notes.insert(
        0,
        f"{variant}: {counts[0]:,} of {sum(counts):,} weights are stored as {kind}, in {sizes[0]:,} bytes"
        f"{f'; the others, in float32, take {sizes[1]:,}' if counts[1] else ''}; the step computes in float32",
    )
    return writer.checked(ir.to_proto(stream.model)), notes


def rounded(stream: StreamGraph, variant: str, kept: Items[str] = ()) -> StreamGraph:
    """Return a step whose weights are, in float32, the very numbers that the variant's ONNX file computes with."""
    copy = _float(stream)
    for value, _, found, _ in _weights(copy, variant, dict.fromkeys(kept, "")):
        if found is not None:
            value.const_value = ir.tensor(real(found), name=value.name)
    return copy


def names(stream: StreamGraph, variant: str) -> list[str]:
    """Return the names of the weights that a variant stores smaller."""
    return [str(value.name) for value, _, found, _ in _weights(_float(stream), variant) if found is not None]


def _float(stream: StreamGraph) -> StreamGraph:
    """Return a step as its float32 file has it."""
    model = ir.from_proto(writer.float_step(stream))
    values = {str(value.name): value for value in (*model.graph.inputs, *model.graph.outputs)}
    states = [replace(s, input=values[str(s.input.name)], output=values[str(s.output.name)]) for s in stream.states]
    return replace(stream, model=model, states=states)


def real(found: Stored) -> Weights:
    """Return the numbers that stored ones stand for."""
    content, scale = found
    numbers = content.astype(np.float32)
    return numbers if scale is None else numbers * scale


def lossless(array: NDArray[Any], variant: str, shared: Axes | None = None) -> Stored | None:
    """Return how a rounded array stands in a variant's file; None where numbers would change, and for what is small.

    shared: the axes along which numbers share a scale. Which those are is else seen by trying: all apart from one, or
    one.
    """
    if not _large(array):
        return None
    axes = range(array.ndim)
    ways = [*(tuple(other for other in axes if other != axis) for axis in axes), *((axis,) for axis in axes)]
    tried = [shared] if shared is not None or variant == "float16" else dict.fromkeys(ways)
    for way in tried:
        found, _ = _smaller(array, way, variant)
        if found is not None and np.array_equal(real(found), array, equal_nan=True):
            return found
    return None


def _weights(
    stream: StreamGraph, variant: str, kept: Mapping[str, str] = NOTHING
) -> Iterator[tuple[ir.Value, Weights, Stored | None, str]]:
    """Give every weight, its numbers, and how it is stored, or None and why it is not."""
    common.LiftConstantsToInitializersPass(lift_all_constants=False, size_limit=LEAST)(stream.model)
    common.LiftSubgraphInitializersToMainGraphPass()(stream.model)
    for value in list(stream.graph.initializers.values()):
        if value.const_value is None or value.is_graph_input() or value.is_graph_output():
            continue
        array = value.const_value.numpy()
        if _large(array) and str(value.name) in kept:
            yield value, array, None, kept[str(value.name)]
        elif _large(array):
            yield value, array, *_smaller(array, _shared(value, array.ndim), variant)


def _large(array: NDArray[Any]) -> bool:
    """Say whether an array is a matrix, or more, of float32, and worth the trouble."""
    return array.dtype == np.float32 and array.size >= LEAST and sum(size > 1 for size in array.shape) > 1


def _smaller(array: Weights, axes: Axes | None, variant: str) -> tuple[Stored | None, str]:
    if variant == "w8":
        return in_bytes(array, axes)
    half, told = halved(array)
    return None if half is None else (half, None), told


def halved(array: Weights) -> tuple[NDArray[np.float16] | None, str]:
    """Return numbers as float16, or None and why they are not worth it."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    finite = np.isfinite(array)
    if not np.isfinite(half[finite]).all():
        return None, f"it holds {np.abs(array[finite]).max():.3g}, beyond float16's {np.finfo(np.float16).max}"
    # Each number loses 2**-11 of itself at most, unless it lies where float16's numbers stand as far apart as at zero.
    lost, greatest = np.abs(half[finite].astype(np.float32) - array[finite]).max(initial=0), np.abs(array[finite])
    if lost > np.finfo(np.float16).eps * greatest.max(initial=0):
        return None, f"its numbers, up to {greatest.max():.3g}, are too small for float16"
    return half, ""


def in_bytes(array: Weights, axes: Axes | None) -> tuple[tuple[NDArray[np.int8], Weights] | None, str]:
    """Return numbers as int8 with scales that those along `axes` share, or None and why they are not worth it."""
    if axes is None or np.prod([array.shape[axis] for axis in axes]) < SHARING:
        return None, ""
    if not np.isfinite(array).all():
        return None, "it holds NaN or infinity"
    scale = np.abs(array).max(axis=axes, keepdims=True) / np.float32(LEVELS)
    # What is all zero, or as good as, has any scale.
    scale[scale < np.finfo(np.float32).tiny] = 1
    return (np.clip(np.rint(array / scale), -LEVELS, LEVELS).astype(np.int8), scale), ""


def _read(stream: StreamGraph, value: ir.Value, content: NDArray[Any], scale: Weights | None) -> ir.Value:
    """Add the nodes that make a weight of what is stored of it."""
    entering = stream.constant(f"{value.name}.{content.dtype}", content)
    numbers = _node(stream, "Cast", [entering], value, to=ir.DataType.FLOAT)
    if scale is None:
        return numbers
    return _node(stream, "Mul", [numbers, stream.constant(f"{value.name}.scale", scale)], value)


def _node(stream: StreamGraph, op_type: str, inputs: list[ir.Value], like: ir.Value, **attributes: int) -> ir.Value:
    """Add a node and return what it gives: a value of one's shape, in float32."""
    name = stream.new_name(f"{like.name}.{op_type.lower()}")
    output = ir.Value(name=name, shape=like.shape, type=ir.TensorType(ir.DataType.FLOAT))
    stream.graph.append(ir.node(op_type, inputs, attributes, outputs=[output], name=name))
    return output


def _shared(value: ir.Value, rank: int) -> Axes | None:
    """Return the axes along which a tensor's numbers share a scale, as its first reader that sums has it."""
    for node, place in value.uses():
        reads = _READERS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
        axes = reads(node, place, rank) if reads is not None else None
        if axes is not None:
            return axes
    return None


def _title(value: ir.Value) -> str:
    """Say which weight a tensor is: the node that reads it and as what; exporters make up the tensor's own name."""
    found = value
    while True:
        reader = next(((node, place) for node, place in found.uses()), None)
        if reader is None:
            return f"'{value.name}'"
        node, place = reader
        if node.op_type not in {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity"}:
            return (
                f"the {_ROLES.get((node.op_type, place), 'weight')} of '{node.name}' ({node.op_type}), '{value.name}',"
            )
        found = node.outputs[0]


def _matrices(_: ir.Node, place: int, rank: int) -> Axes:
    return (rank - 2,) if place == 1 else (rank - 1,)  # 1


def _gemm(node: ir.Node, place: int, _: int) -> Axes | None:
    turned = bool(integer(node, "transB" if place == 1 else "transA", 0))
    return None if place > 1 else (int(turned == (place == 1)),)  # 1


def _convolution(outputs: int) -> Callable[[ir.Node, int, int], Axes | None]:
    return lambda _, place, rank: tuple(axis for axis in range(rank) if axis != outputs) if place == 1 else None  # 2


def _recurrent(_: ir.Node, place: int, rank: int) -> Axes | None:
    return (rank - 1,) if place in {1, 2} else None  # 3


def _table(node: ir.Node, place: int, rank: int) -> Axes | None:
    rows = integer(node, "axis", 0) % rank
    return tuple(axis for axis in range(rank) if axis != rows) if place == 0 else None  # 4


def _einsum(node: ir.Node, place: int, _: int) -> Axes | None:
    terms, arrow, result = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    term = terms.split(",")[place]
    if not arrow or not result.isalpha():
        return None  # not plain to see: no written result, or axes that no letter names
    return tuple(axis for axis, letter in enumerate(term) if letter not in result)  # 5


def _transposed(node: ir.Node, _: int, rank: int) -> Axes | None:
    inner = _shared(node.outputs[0], rank)
    order = ints(node, "perm", tuple(reversed(range(rank))))
    return None if inner is None else tuple(sorted(order[axis] for axis in inner))  # 6


_READERS: Mapping[str, Callable[[ir.Node, int, int], Axes | None]] = {
    "MatMul": _matrices,
    "Gemm": _gemm,
    "Conv": _convolution(0),
    "ConvTranspose": _convolution(1),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrent),
    "Gather": _table,
    "Einsum": _einsum,
    "Transpose": _transposed,
}
_ROLES: Mapping[tuple[str, int], str] = {
    **{(op_type, 1): "input matrix" for op_type in ("RNN", "GRU", "LSTM")},
    **{(op_type, 2): "recurrence matrix" for op_type in ("RNN", "GRU", "LSTM")},
    ("Gather", 0): "table",
}
"""What a tensor is to its reader, by the place of the input; anywhere else it is a weight."""
