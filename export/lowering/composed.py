"""Ops said by other ops: running sums, sums over named axes, norms over groups of channels, triangles, repeats.

1. A running sum along an axis is a product with a triangle of ones.
2. Einsum of two values is one product of matrices, or an elementwise one where nothing is summed over.
3. A norm over groups of channels is a layer norm over what lies in a group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import integer
from export.lowering.builder import Builder, Rule, dims
from export.lowering.moving import transposed
from export.lowering.products import linear, multiplied
from export.program import Array


def _cum_sum(builder: Builder, node: ir.Node) -> None:
    shape, name, given = dims(builder, node), str(node.name), builder.fixed(node, 1)
    source = builder.read(node, 0)
    axis = int(0 if given is None else given.reshape(-1)[0]) % len(shape)
    exclusive, reverse = integer(node, "exclusive", 0), integer(node, "reverse", 0)
    if shape[axis] == 1 and not exclusive:
        builder.set(node, source)
        return
    if builder.program.dtype(source) != "float32":
        raise node_error(name, "CumSum", "only sums of float32 have an integer form; export float32 alone.")
    ones = np.tri(shape[axis], k=-1 if exclusive else 0, dtype=np.float32)
    order = [*(a for a in range(len(shape)) if a != axis), axis]
    turned = transposed(builder, f"{name}.turned", source, order)
    rows = builder.view(turned, (math.prod(shape) // shape[axis], shape[axis]))
    summed = linear(builder, name, rows, ones.T if reverse else ones)  # 1
    back = builder.view(summed, tuple(shape[a] for a in order))
    builder.set(node, transposed(builder, f"{name}.back", back, np.argsort(order).tolist()))


def _einsum(builder: Builder, node: ir.Node) -> None:
    name, equation = str(node.name), node.attributes["equation"].as_string().replace(" ", "")
    left, _, right = equation.partition("->")
    terms = left.split(",")
    if "." in equation or "->" not in equation or len(terms) > 2 or any(len(set(t)) < len(t) for t in terms):  # noqa: PLR2004
        raise node_error(name, "Einsum", f"'{equation}' has no integer form; export float32 alone.")
    parts = []
    for place, term in enumerate(terms):
        # What one term alone has and the result has not is summed up at once.
        others = right + "".join(terms[:place] + terms[place + 1 :])
        over = tuple(axis for axis, letter in enumerate(term) if letter not in others)
        source = builder.read(node, place)
        if over:
            source = builder.emit("ReduceSum", f"{name}.{place}.sum", source, attributes={"axes": over})
            left_over = "".join(letter for letter in term if letter in others)
            source = builder.view(
                source, tuple(s for axis, s in enumerate(dims(builder, node, place)) if axis not in over)
            )
            terms[place] = left_over
        parts.append(source)
    if len(parts) == 1:
        builder.set(node, _ordered(builder, f"{name}.turned", parts[0], terms[0], right))
        return
    builder.set(node, _pair(builder, name, parts, terms, right))


def _pair(builder: Builder, name: str, parts: Sequence[str], terms: Sequence[str], right: str) -> str:
    (a, b), (x, y) = terms, parts
    sizes = dict(zip(a + b, builder.shape(x) + builder.shape(y), strict=True))
    both = [letter for letter in a if letter in b and letter in right]
    summed = [letter for letter in a if letter in b and letter not in right]
    rows, columns = ([letter for letter in term if letter not in other] for term, other in ((a, b), (b, a)))

    def many(*groups: list[str]) -> tuple[int, ...]:
        return tuple(math.prod(sizes[letter] for letter in group) for group in groups)

    def shape(letters: list[str]) -> tuple[int, ...]:
        return tuple(sizes[letter] for letter in letters)

    x = _ordered(builder, f"{name}.left", x, a, "".join([*both, *rows, *summed]))
    y = _ordered(builder, f"{name}.right", y, b, "".join([*both, *summed, *columns]))
    if not summed:
        x = builder.view(x, shape([*both, *rows]) + (1,) * len(columns))
        y = builder.view(y, shape(both) + (1,) * len(rows) + shape(columns))
        product = builder.elementwise("Mul", name, x, y)  # 2
    else:
        x = builder.view(x, shape(both) + many(rows, summed))
        y = builder.view(y, shape(both) + many(summed, columns))
        product = builder.view(multiplied(builder, name, x, y), shape([*both, *rows, *columns]))
    return _ordered(builder, f"{name}.turned", product, "".join([*both, *rows, *columns]), right)


def _ordered(builder: Builder, name: str, source: str, term: str, wanted: str) -> str:
    """Bring axes named by a term's letters into another order."""
    return transposed(builder, name, source, [term.index(letter) for letter in wanted])


def _channel_norm(builder: Builder, node: ir.Node) -> None:
    shape, name = dims(builder, node), str(node.name)
    groups = integer(node, "num_groups", shape[1])
    scale, bias = builder.fixed(node, 1), builder.fixed(node, 2)
    assert scale is not None  # noqa: S101 - ONNX requires both
    assert bias is not None  # noqa: S101
    width = math.prod(shape[1:]) // groups
    rows = builder.view(builder.read(node, 0), (shape[0], groups, width))
    arrays = {"scale": np.ones(width, np.float32), "bias": np.zeros(width, np.float32)}
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    attributes = {"axis": 2, "epsilon": epsilon}
    value = builder.emit("LayerNormalization", f"{name}.norm", rows, attributes=attributes, arrays=arrays)  # 3
    value = builder.view(value, shape)
    for kind, content in (("Mul", scale), ("Add", bias)):
        column = np.repeat(content, shape[1] // content.size).reshape(-1, *(1,) * (len(shape) - 2)).astype(np.float32)
        value = builder.elementwise(kind, f"{name}.{kind.lower()}", value, builder.constant(f"{name}.{kind}", column))
    builder.set(node, value)


def _lp_norm(builder: Builder, node: ir.Node) -> None:
    """ONNX leaves open what becomes of zeros; onnxruntime keeps them."""
    name, source = str(node.name), builder.read(node, 0)
    axis, p = integer(node, "axis", -1) % len(dims(builder, node)), integer(node, "p", 2)
    sizes = (
        builder.elementwise("Abs", f"{name}.abs", source)
        if p == 1
        else builder.elementwise("Mul", f"{name}.squares", source, source)
    )
    total = builder.emit("ReduceSum", f"{name}.sum", sizes, attributes={"axes": (axis,)})
    total = total if p == 1 else builder.elementwise("Sqrt", f"{name}.root", total)
    least = builder.constant(f"{name}.least", np.array(np.finfo(np.float32).tiny, np.float32))
    builder.set(node, builder.elementwise("Div", name, source, builder.elementwise("Max", f"{name}.max", total, least)))


def _trilu(builder: Builder, node: ir.Node) -> None:
    shape, name, given = dims(builder, node), str(node.name), builder.fixed(node, 1)
    k, source = int(0 if given is None else given.reshape(-1)[0]), builder.read(node, 0)
    low = np.tri(shape[-2], shape[-1], k - 1 if integer(node, "upper", 1) else k, dtype=np.bool_)
    kept = builder.constant(f"{name}.kept", ~low if integer(node, "upper", 1) else low)
    zero = builder.constant(f"{name}.zero", np.zeros((), builder.program.dtype(source)))
    builder.set(node, builder.elementwise("Where", name, kept, source, zero))


def _tile(builder: Builder, node: ir.Node) -> None:
    repeats, source = builder.fixed(node, 1), builder.read(node, 0)
    for axis, times in enumerate([] if repeats is None else repeats.tolist()):
        if times < 1:
            raise node_error(str(node.name), "Tile", "it leaves nothing; export float32 alone.")
        if times > 1:
            source = builder.emit("Concat", f"{node.name}.{axis}", *(source,) * times, attributes={"axis": axis})
    builder.set(node, source)


def _one_hot(builder: Builder, node: ir.Node) -> None:
    name, places = str(node.name), builder.read(node, 0)
    depth, values = builder.fixed(node, 1), builder.fixed(node, 2)
    assert depth is not None  # noqa: S101 - ONNX requires both
    assert values is not None  # noqa: S101
    shape, count = builder.shape(places), int(depth.reshape(-1)[0])
    axis = integer(node, "axis", -1) % (len(shape) + 1)
    wide = builder.view(places, (*shape[:axis], 1, *shape[axis:]))
    if not builder.program.dtype(places).startswith("int"):
        wide = builder.elementwise("Cast", f"{name}.places", wide, to="int64")
    numbers: Array = np.arange(count).reshape(-1, *(1,) * (len(shape) - axis)).astype(builder.program.dtype(wide))
    hits = [
        builder.elementwise("Equal", f"{name}.hit", wide, builder.constant(f"{name}.numbers", counted))
        for counted in (numbers, numbers - numbers.dtype.type(count))
    ]
    hit = builder.elementwise("Or", f"{name}.on", *hits)
    ends = [builder.constant(f"{name}.{word}", values[place]) for word, place in (("yes", 1), ("no", 0))]
    builder.set(node, builder.elementwise("Where", name, hit, *ends))


def _hyperbolic(builder: Builder, node: ir.Node) -> None:
    name, source = str(node.name), builder.read(node, 0)
    half = builder.constant(f"{name}.half", np.array(0.5, np.float32))
    pair = [
        builder.elementwise("Exp", f"{name}.up", source),
        builder.elementwise("Exp", f"{name}.down", builder.elementwise("Neg", f"{name}.minus", source)),
    ]
    both = builder.elementwise("Sub" if node.op_type == "Sinh" else "Add", f"{name}.both", *pair)
    builder.set(node, builder.elementwise("Mul", name, both, half))


def _tan(builder: Builder, node: ir.Node) -> None:
    source = builder.read(node, 0)
    pair = [builder.elementwise(kind, f"{node.name}.{kind.lower()}", source) for kind in ("Sin", "Cos")]
    builder.set(node, builder.elementwise("Div", str(node.name), *pair))


def _is_nan(builder: Builder, node: ir.Node) -> None:
    source = builder.read(node, 0)
    same = builder.elementwise("Equal", f"{node.name}.same", source, source)
    builder.set(node, builder.elementwise("Not", str(node.name), same))


def _is_inf(builder: Builder, node: ir.Node) -> None:
    name, source = str(node.name), builder.read(node, 0)
    kinds = [sign for sign, key in ((1, "detect_positive"), (-1, "detect_negative")) if integer(node, key, 1)]
    hits = []
    for sign in kinds:
        bound = builder.constant(f"{name}.bound", np.array(sign * np.inf, np.float32))
        hits.append(builder.elementwise("Equal", f"{name}.hit", source, bound))
    if not hits:
        raise node_error(name, "IsInf", "it looks for nothing; export float32 alone.")
    builder.set(node, hits[0] if len(hits) == 1 else builder.elementwise("Or", name, *hits))


def _xor(builder: Builder, node: ir.Node) -> None:
    pair = builder.read(node, 0), builder.read(node, 1)
    some, both = (builder.elementwise(kind, f"{node.name}.{kind.lower()}", *pair) for kind in ("Or", "And"))
    builder.set(
        node, builder.elementwise("And", str(node.name), some, builder.elementwise("Not", f"{node.name}.not", both))
    )


RULES: dict[str, Rule] = {
    "CumSum": _cum_sum,
    "Einsum": _einsum,
    "InstanceNormalization": _channel_norm,
    "GroupNormalization": _channel_norm,
    "LpNormalization": _lp_norm,
    "Trilu": _trilu,
    "Tile": _tile,
    "OneHot": _one_hot,
    "Sinh": _hyperbolic,
    "Cosh": _hyperbolic,
    "Tan": _tan,
    "IsNaN": _is_nan,
    "IsInf": _is_inf,
    "Xor": _xor,
}
