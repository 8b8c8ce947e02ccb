"""What moves numbers about: views, cuts, joins, lookups, padding, pooling windows.

1. A view is free; a transpose that only moves axes of one entry is a view.
2. A cut or a join along the last axis works on rows, where what it reads is a view of rows.
3. Pooling is a lookup of its windows, and a mean or a maximum over them.
4. As many entries of a table as the source is long are a lookup: the table is a constant, and what is cut off it none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import constant_of, integer, ints
from export.lowering.builder import Builder, Rule, dims
from export.program import Array


def _same(builder: Builder, node: ir.Node) -> None:
    builder.set(node, builder.read(node, 0))


def _constant(builder: Builder, node: ir.Node) -> None:
    content = constant_of(node.outputs[0])
    for key, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
                       ("value_ints", np.int64)):  # fmt: skip
        if key in node.attributes:
            content = np.array(node.attributes[key].value, dtype)
    if content is None and "value" in node.attributes:
        content = node.attributes["value"].as_tensor().numpy()
    if content is None:
        raise node_error(str(node.name), "Constant", "its value is no tensor.")
    builder.set(node, builder.constant(str(node.name), content))


def _reshape(builder: Builder, node: ir.Node) -> None:
    shape, wanted = dims(builder, node), builder.fixed(node, 1)
    if wanted is None:
        raise node_error(str(node.name), "Reshape", "its shape is missing.")
    whole = bool(integer(node, "allowzero", 0))
    target = [int(d) if d or whole else shape[axis] for axis, d in enumerate(wanted)]
    if -1 in target:
        place = target.index(-1)
        target[place] = math.prod(shape) // max(math.prod(d for d in target if d != -1), 1)
    builder.set(node, builder.view(builder.read(node, 0), tuple(target)))


def _axes(node: ir.Node, builder: Builder, rank: int) -> list[int]:
    """Return the axes of an op that takes them as an input or, in old opsets, as an attribute."""
    given = builder.fixed(node, 1) if len(node.inputs) > 1 else None
    axes = ints(node, "axes") if given is None else given.reshape(-1).tolist()
    return [int(axis) % rank for axis in axes]


def _squeeze(builder: Builder, node: ir.Node) -> None:
    shape = dims(builder, node)
    axes = _axes(node, builder, len(shape)) or [axis for axis, size in enumerate(shape) if size == 1]
    kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    builder.set(node, builder.view(builder.read(node, 0), kept))


def _unsqueeze(builder: Builder, node: ir.Node) -> None:
    shape = dims(builder, node)
    given = builder.fixed(node, 1)
    many = len(ints(node, "axes")) if given is None else given.size
    axes = _axes(node, builder, len(shape) + many)
    rest = iter(shape)
    target = tuple(1 if axis in axes else next(rest) for axis in range(len(shape) + many))
    builder.set(node, builder.view(builder.read(node, 0), target))


def _flatten(builder: Builder, node: ir.Node) -> None:
    shape = dims(builder, node)
    axis = integer(node, "axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    builder.set(node, builder.view(builder.read(node, 0), (math.prod(shape[:axis]), math.prod(shape[axis:]))))


def transposed(builder: Builder, name: str, source: str, perm: Sequence[int]) -> str:
    """Write a transpose, where it is more than a view."""
    shape = builder.shape(source)
    target = tuple(shape[axis] for axis in perm)
    wide = [axis for axis in perm if shape[axis] != 1]
    if wide == sorted(wide):
        return builder.view(source, target)  # 1
    return builder.emit("Transpose", name, source, attributes={"perm": tuple(perm)})


def _transpose(builder: Builder, node: ir.Node) -> None:
    rank = len(dims(builder, node))
    perm = ints(node, "perm", tuple(reversed(range(rank))))
    builder.set(node, transposed(builder, str(node.name), builder.read(node, 0), perm))


def cut(builder: Builder, name: str, source: str, parts: Sequence[slice]) -> str:
    """Write a cut, one slice an axis, with bounds as Python has them."""
    shape = builder.shape(source)
    whole = [part.indices(size) for part, size in zip(parts, shape, strict=True)]
    if whole == [(0, size, 1) for size in shape]:
        return source
    root = builder.root(source)
    rows = builder.shape(root)
    plain = all(part == (0, size, 1) for part, size in zip(whole[:-1], shape[:-1], strict=True))
    if plain and root != source and rows[-1:] == shape[-1:]:
        left = [(0, size, 1) for size in rows[:-1]]
        result = _cut(builder, name, root, [*left, whole[-1]])
        return builder.view(result, (*shape[:-1], builder.shape(result)[-1]))  # 2
    return _cut(builder, name, source, whole)


def _cut(builder: Builder, name: str, source: str, parts: Sequence[tuple[int, int, int]]) -> str:
    starts, ends, steps = zip(*parts, strict=True)
    return builder.emit("Slice", name, source, attributes={"starts": starts, "ends": ends, "steps": steps})


def _slice(builder: Builder, node: ir.Node) -> None:
    shape = dims(builder, node)
    starts, ends = builder.fixed(node, 1), builder.fixed(node, 2)
    if starts is None or ends is None:
        raise node_error(str(node.name), "Slice", "where it starts or ends is missing.")
    axes, steps = builder.fixed(node, 3), builder.fixed(node, 4)
    along = range(len(starts)) if axes is None else [int(axis) % len(shape) for axis in axes]
    if _first_entries(builder, node, along[0] if len(along) == 1 else None):
        return
    strides = np.ones(len(starts), np.int64) if steps is None else steps
    parts = [slice(0, size, 1) for size in shape]
    for axis, start, end, step in zip(along, starts.tolist(), ends.tolist(), strides.tolist(), strict=True):
        if step < 0:
            raise node_error(str(node.name), "Slice", "it turns an axis around; export float32 alone.")
        parts[axis] = slice(start, end, step)
    builder.set(node, cut(builder, str(node.name), builder.read(node, 0), parts))


def _first_entries(builder: Builder, node: ir.Node, axis: int | None) -> bool:
    """4: write a table's cut whose bounds hang on the source's length; say whether it is one."""
    source, steps = builder.read(node, 0), builder.fixed(node, 4)
    if axis is None or builder.content(source) is None or (steps is not None and steps.item() != 1):
        return False
    if builder.sized(node.inputs[1]) is None and builder.sized(node.inputs[2]) is None:
        return False
    name = str(node.name)
    bounds = [builder.view(builder.read(node, place), ()) for place in (1, 2)]
    one = builder.constant(f"{name}.one", np.array(1, np.int64))
    places = builder.emit("Range", f"{name}.places", *bounds, one)
    builder.set(node, builder.emit("Gather", name, source, places, attributes={"axis": axis}))
    return True


def _split(builder: Builder, node: ir.Node) -> None:
    source, shape = builder.read(node, 0), dims(builder, node)
    axis = integer(node, "axis", 0) % len(shape)
    given = builder.fixed(node, 1) if len(node.inputs) > 1 else None
    widths = ints(node, "split") if given is None else tuple(given.tolist())
    if not widths:
        width = -(-shape[axis] // len(node.outputs))
        widths = tuple(min(width, shape[axis] - width * place) for place in range(len(node.outputs)))
    for place, (start, end) in enumerate(itertools.pairwise([0, *itertools.accumulate(widths)])):
        if node.outputs[place].uses() or node.outputs[place] in builder.stream.graph.outputs:
            parts = [slice(start, end) if a == axis else slice(None) for a in range(len(shape))]
            builder.set(node, cut(builder, str(node.outputs[place].name), source, parts), place)


def _gather(builder: Builder, node: ir.Node) -> None:
    source, shape = builder.read(node, 0), dims(builder, node)
    axis = integer(node, "axis", 0) % len(shape)
    places = builder.read(node, 1)
    content = builder.content(places)
    name = str(node.name)
    if content is not None and content.size == 1:
        index = int(content.reshape(-1)[0]) % shape[axis]
        parts = [slice(index, index + 1) if a == axis else slice(None) for a in range(len(shape))]
        entry = cut(builder, name, source, parts)
        builder.set(node, builder.view(entry, (*shape[:axis], *content.shape, *shape[axis + 1 :])))
        return
    if content is not None:
        places = builder.constant(f"{name}.places", content.astype(np.int64) % shape[axis])
    builder.set(node, builder.emit("Gather", name, source, places, attributes={"axis": axis}))


def _concat(builder: Builder, node: ir.Node) -> None:
    parts = [builder.read(node, place) for place in range(len(node.inputs))]
    parts = [part for part in parts if math.prod(builder.shape(part))]
    shapes = [builder.shape(part) for part in parts]
    axis = integer(node, "axis", 0) % len(shapes[0])
    if len(parts) == 1:
        builder.set(node, parts[0])
        return
    roots = [builder.root(part) for part in parts]
    rows = [builder.shape(root) for root in roots]
    if axis == len(shapes[0]) - 1 and all(
        row[:-1] == rows[0][:-1] and row[-1:] == shape[-1:] for row, shape in zip(rows, shapes, strict=True)
    ):
        joined = builder.emit("Concat", str(node.name), *roots, attributes={"axis": len(rows[0]) - 1})  # 2
        builder.set(node, builder.view(joined, (*shapes[0][:-1], builder.shape(joined)[-1])))
        return
    builder.set(node, builder.emit("Concat", str(node.name), *parts, attributes={"axis": axis}))


def _expand(builder: Builder, node: ir.Node) -> None:
    shape, wanted = dims(builder, node), builder.fixed(node, 1)
    if wanted is None:
        raise node_error(str(node.name), "Expand", "its shape is missing.")
    target = np.broadcast_shapes(shape, tuple(wanted.tolist()))
    source = builder.view(builder.read(node, 0), (1,) * (len(target) - len(shape)) + shape)
    if builder.shape(source) != target:
        source = builder.emit("Expand", str(node.name), source, attributes={"shape": target})
    builder.set(node, source)


def _pad(builder: Builder, node: ir.Node) -> None:
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    shape, pads, value = dims(builder, node), builder.fixed(node, 1), builder.fixed(node, 2)
    axes = builder.fixed(node, 3)
    if mode != "constant" or pads is None or (pads < 0).any():
        raise node_error(str(node.name), "Pad", f"padding of the mode '{mode}' has no integer form.")
    along = range(len(shape)) if axes is None else [int(axis) % len(shape) for axis in axes]
    whole = np.zeros((2, len(shape)), np.int64)
    whole[:, list(along)] = pads.reshape(2, -1)
    attributes = {
        "pads": tuple(whole.reshape(-1).tolist()),
        "value": 0.0 if value is None else float(value.reshape(-1)[0]),
    }
    source = builder.read(node, 0)
    builder.set(node, builder.emit("Pad", str(node.name), source, attributes=attributes) if whole.any() else source)


def _where(builder: Builder, node: ir.Node) -> None:
    condition, *branches = (builder.read(node, place) for place in range(3))
    while (opposite := builder.opposite(condition)) is not None:
        condition, branches = opposite, branches[::-1]
    builder.set(node, builder.elementwise("Where", str(node.name), condition, *branches))


def _pool(builder: Builder, node: ir.Node) -> None:
    name, shape = str(node.name), dims(builder, node)
    kernel = ints(node, "kernel_shape")
    axes = len(kernel)
    strides, dilations = ints(node, "strides", (1,) * axes), ints(node, "dilations", (1,) * axes)
    pads, mean = ints(node, "pads", (0,) * 2 * axes), node.op_type == "AveragePool"
    plain = "auto_pad" not in node.attributes or node.attributes["auto_pad"].as_string() in {"NOTSET", "VALID"}
    if integer(node, "ceil_mode", 0) or not plain or len(node.outputs) > 1:
        raise node_error(name, node.op_type, "windows that go beyond the end have no integer form.")
    if mean and any(pads) and not integer(node, "count_include_pad", 0):
        raise node_error(name, node.op_type, "a mean that leaves its padding out has no integer form.")
    source = builder.read(node, 0)
    if mean and any(pads):
        whole = (0, 0, *pads[:axes], 0, 0, *pads[axes:])
        source = builder.emit("Pad", f"{name}.padded", source, attributes={"pads": whole, "value": 0.0})
        pads = (0,) * 2 * axes
    for axis in range(axes):
        source = _windows(builder, f"{name}.{axis}", source, 2 + 2 * axis, kernel[axis], strides[axis], dilations[axis],
                          (pads[axis], pads[axes + axis]))  # fmt: skip
    over = tuple(3 + 2 * axis for axis in range(axes))
    kind = "ReduceMean" if mean else "ReduceMax"
    pooled = builder.emit(kind, name, source, attributes={"axes": over})
    left = builder.shape(pooled)
    builder.set(node, builder.view(pooled, (*shape[:2], *(left[2 + 2 * axis] for axis in range(axes)))))  # 3


def _windows(  # noqa: PLR0917 - a window has as many sides
    builder: Builder, name: str, source: str, axis: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]
) -> str:
    """Put the windows along an axis beside each other on a new axis behind it.

    Places in the padding are taken for the nearest there is: no maximum changes by it.
    """
    size = builder.shape(source)[axis]
    count = (size + sum(pads) - (kernel - 1) * dilation - 1) // stride + 1
    places = np.arange(count)[:, None] * stride + np.arange(kernel) * dilation - pads[0]
    if count == 1 and kernel == size:
        shape = builder.shape(source)
        return builder.view(source, (*shape[:axis], 1, *shape[axis:]))
    return _lookup(builder, name, source, np.clip(places, 0, size - 1), axis)


def _lookup(builder: Builder, name: str, source: str, places: Array, axis: int) -> str:
    constant = builder.constant(f"{name}.places", places.astype(np.int64))
    return builder.emit("Gather", name, source, constant, attributes={"axis": axis})


def _global_pool(builder: Builder, node: ir.Node) -> None:
    axes = tuple(range(2, len(dims(builder, node))))
    kind = "ReduceMean" if node.op_type == "GlobalAveragePool" else "ReduceMax"
    builder.set(node, builder.emit(kind, str(node.name), builder.read(node, 0), attributes={"axes": axes}))


RULES: dict[str, Rule] = {
    "Identity": _same,
    "Dropout": _same,
    "Constant": _constant,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Concat": _concat,
    "Expand": _expand,
    "Pad": _pad,
    "Where": _where,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
}
