"""Products: with constant weights, of two values; and what of the ops behind them folds into them.

1. A product with a constant matrix on the right is Linear, on rows.
2. A convolution whose kernel covers all that there is gives one place: it is Linear, too.
3. Constants added to it, or multiplied with it, fold into its weight and bias, where nothing else reads it; a factor
   only where weights may be scaled.
4. A product of two values, or with a constant that is no such matrix, stays MatMul.
5. A relu directly behind a product with constant weights is that product's lower limit.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import integer, ints
from export.lowering.builder import Builder, Rule
from export.program import Array, Op, Program

VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "Transpose"}
FOLDING = {"Add", "Sub", "Mul", "Div"}


def linear(builder: Builder, name: str, source: str, weight: Array, bias: Array | None = None) -> str:
    """Write weight @ row + bias for every row of [rows, inputs]."""
    given = np.zeros(len(weight), np.float32) if bias is None else np.asarray(bias, np.float32)
    arrays = {"weight": weight if weight.dtype == np.float32 else weight.astype(np.float32), "bias": given}
    return builder.emit("Linear", name, source, arrays=arrays)


def _matmul(builder: Builder, node: ir.Node) -> None:
    builder.set(node, multiplied(builder, str(node.name), builder.read(node, 0), builder.read(node, 1)))


def multiplied(builder: Builder, name: str, left: str, right: str) -> str:
    """Write the product of two matrices, or stacks of them."""
    weight, shape = builder.content(right), builder.shape(left)
    real = weight is not None and weight.dtype == np.float32 and builder.program.dtype(left) == "float32"
    if weight is not None and real and weight.ndim == 2 and builder.content(left) is None and shape:  # noqa: PLR2004
        rows = builder.view(left, (math.prod(shape[:-1]), shape[-1]))
        return builder.view(linear(builder, name, rows, weight.T), (*shape[:-1], weight.shape[1]))  # 1
    # A vector is a matrix of one row, or one column, whose axis goes again.
    a, b = shape, builder.shape(right)
    left = builder.view(left, (1, *a)) if len(a) == 1 else left
    right = builder.view(right, (*b, 1)) if len(b) == 1 else right
    axes = max(len(builder.shape(left)), len(builder.shape(right)))
    pair = [builder.view(x, (1,) * (axes - len(builder.shape(x))) + builder.shape(x)) for x in (left, right)]
    result = builder.emit("MatMul", name, *pair)  # 4
    dims = list(builder.shape(result))
    if len(a) == 1:
        del dims[-2]
    if len(b) == 1:
        del dims[-1]
    return builder.view(result, tuple(dims))


def _gemm(builder: Builder, node: ir.Node) -> None:
    weight, given = builder.fixed(node, 1), builder.fixed(node, 2)
    if weight is None or integer(node, "transA", 0):
        raise node_error(str(node.name), "Gemm", "its first factor is turned; export float32 alone.")
    weight = weight if integer(node, "transB", 0) else weight.T
    alpha, beta = (node.attributes[k].as_float() if k in node.attributes else 1.0 for k in ("alpha", "beta"))
    bias = np.zeros(len(weight), np.float32)
    if given is not None:
        if given.size not in {1, len(weight)}:
            raise node_error(str(node.name), "Gemm", "its bias differs from row to row; export float32 alone.")
        bias = bias + np.float32(beta) * given.reshape(-1).astype(np.float32)
    name, source = str(node.name), builder.read(node, 0)
    if alpha != 1 and builder.scaling:
        weight = np.float32(alpha) * weight
    elif alpha != 1:
        factor = builder.constant(f"{name}.alpha", np.full((1, 1), alpha, np.float32))
        source = builder.elementwise("Mul", f"{name}.scaled", source, factor)
    builder.set(node, linear(builder, name, source, weight, bias))


def _conv(builder: Builder, node: ir.Node) -> None:
    weight, bias = builder.fixed(node, 1), builder.fixed(node, 2)
    source = builder.read(node, 0)
    shape, name = builder.shape(source), str(node.name)
    if weight is None or len(shape) < 3:  # noqa: PLR2004 - batch, channels, space
        raise node_error(name, "Conv", "it has no weights, or nothing to slide over.")
    if "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() not in {"NOTSET", "VALID"}:
        raise node_error(name, "Conv", "auto_pad has no integer form; give the pads as numbers.")
    axes, kernel = len(shape) - 2, weight.shape[2:]
    dilations = ints(node, "dilations", (1,) * axes)
    pads = ints(node, "pads", (0,) * 2 * axes)
    attributes = {
        "kernel": kernel,
        "strides": ints(node, "strides", (1,) * axes),
        "dilations": dilations,
        "pads": pads,
        "group": integer(node, "group", 1),
    }
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    offset = np.zeros(len(weight), np.float32) if bias is None else bias.astype(np.float32)
    if attributes["group"] == 1 and reach == shape[2:] and not any(pads):
        taken = _every(builder, f"{name}.taps", source, dilations)
        flat = builder.view(taken, (shape[0], math.prod(weight.shape[1:])))
        product = linear(builder, name, flat, weight.reshape(len(weight), -1), offset)
        builder.set(node, builder.view(product, (shape[0], len(weight), *(1,) * axes)))
        return  # 2
    arrays = {"weight": weight.astype(np.float32), "bias": offset}
    builder.set(node, builder.emit("Conv", name, source, attributes=attributes, arrays=arrays))


def _every(builder: Builder, name: str, source: str, dilations: tuple[int, ...]) -> str:
    """Take every so many entries along the axes of space."""
    shape = builder.shape(source)
    steps = (1, 1, *(d if size > 1 else 1 for d, size in zip(dilations, shape[2:], strict=True)))
    if set(steps) == {1}:
        return source
    attributes = {"starts": (0,) * len(shape), "ends": shape, "steps": steps}
    return builder.emit("Slice", name, source, attributes=attributes)


def folded(builder: Builder, node: ir.Node) -> bool:
    """Fold a node's constant into the product whose output is its other input; say whether that was possible."""
    contents = [builder.fixed_content(value) for value in node.inputs]
    if node.op_type not in FOLDING or len(contents) != 2 or (contents[0] is None) == (contents[1] is None):  # noqa: PLR2004
        return False
    place = 0 if contents[0] is None else 1
    constant, data = contents[1 - place], builder.read(node, place)
    if constant is None or not folding(builder, node, data, node.op_type, constant, place=place):
        return False
    builder.set(node, data)
    return True


def folding(builder: Builder, node: ir.Node, data: str, kind: str, constant: Array, *, place: int = 0) -> bool:
    """Fold a constant into the product that gives `data`, the input of that place; say whether that was possible."""
    if kind in {"Mul", "Div"} and not builder.scaling:
        return False
    root = builder.root(data)
    at = next((at for at, op in enumerate(builder.program.ops) if op.output == root), None)
    if at is None or builder.program.ops[at].kind not in {"Linear", "Conv"} or not _alone(builder, node.inputs[place]):
        return False
    op, along = builder.program.ops[at], _per_output(builder, data, root, constant)
    arrays = None if along is None else _with(kind, op, along, constant_first=place == 1)
    if arrays is None:
        return False
    builder.program.ops[at] = replace(op, arrays=arrays)
    return True  # 3


def _alone(builder: Builder, value: ir.Value | None) -> bool:
    """Say whether one node alone reads a value, and so all that it is a view of."""
    while value is not None:
        if len(value.uses()) != 1 or value in builder.stream.graph.outputs:
            return False
        producer = value.producer()
        if producer is None:
            return False  # it enters: who else reads it is not known here
        if producer.op_type not in VIEWS:
            return True
        value = producer.inputs[0]
    return False


def _per_output(builder: Builder, data: str, root: str, constant: Array) -> Array | None:
    """Return a constant as one number an output of the product; None where it varies along other axes."""
    shape, work = builder.shape(data), builder.shape(root)
    if np.broadcast_shapes(shape, constant.shape) != shape:
        return None
    spread = np.broadcast_to(constant, shape).reshape(work)
    rows = np.moveaxis(spread, 1, -1).reshape(-1, work[1])
    return rows[0].astype(np.float32) if np.array_equal(rows, np.broadcast_to(rows[0], rows.shape)) else None


def _with(op_type: str, op: Op, constant: Array, *, constant_first: bool) -> dict[str, Array] | None:
    weight, bias = op.arrays["weight"], op.arrays["bias"]
    column = constant.reshape(-1, *(1,) * (weight.ndim - 1))
    if op_type == "Add":
        return {"weight": weight, "bias": bias + constant}
    if op_type == "Mul":
        return {"weight": weight * column, "bias": bias * constant}
    if op_type == "Sub":
        return (
            {"weight": -weight, "bias": constant - bias}
            if constant_first
            else {"weight": weight, "bias": bias - constant}
        )
    return None if constant_first else {"weight": weight / column, "bias": bias / constant}


def fuse_relu(program: Program) -> None:
    """5: let a product with constant weights whose only reader is a relu take the relu in."""
    readers = program.readers()
    kept = {*program.outputs, *(state.output for state in program.states)}
    gone: dict[str, Op] = {}
    ops = []
    for op in program.ops:
        reading = [reader.kind for reader in readers.get(op.output, [])]
        if op.kind in {"Linear", "Conv"} and reading == ["Relu"] and op.output not in kept:
            gone[op.output] = op
        elif op.kind == "Relu" and op.inputs[0] in gone:
            product = gone[op.inputs[0]]
            ops.append(replace(product, output=op.output, attributes={**product.attributes, "relu": 1}))
        else:
            ops.append(op)
    program.ops = ops


RULES: dict[str, Rule] = {"MatMul": _matmul, "Gemm": _gemm, "Conv": _conv}
