"""The float Program is the step graph, op by op; what has no integer form is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lowered import equals_its_step, flat, graph, image, stream_of
from onnx import TensorProto
from random_graphs import FEATURES, Builder
from test_ops import RUNS, model

from export.errors import NoIntegerForm
from export.lowering import lower

Build = Callable[[Builder, str], str]
SHIFTS = np.array([1.0, -0.5, 0.2, 2.0, -3.0], np.float32)


# ---- what works on each step by itself


def one_hot(b: Builder, x: str) -> str:
    places = b.op("Cast", b.op("Mul", x, b.constant(2.0)), to=TensorProto.INT64)
    hot = b.op("OneHot", places, b.constant(np.array(3)), b.constant(np.array([-1.0, 2.0])), axis=1)
    return b.op("Reshape", b.op("Transpose", hot, perm=[0, 2, 1, 3]), b.constant([1, -1, 15]))


def clipped(low: float | None, high: float | None) -> Build:
    def build(b: Builder, x: str) -> str:
        ends = ["" if end is None else b.constant(np.float32(end)) for end in (low, high)]
        return b.op("Clip", x, *(ends if high is not None else ends[:1]))

    return build


def plain(op_type: str, **attributes: Any) -> Build:
    return lambda b, x: b.op(op_type, x, **attributes)


def positive(op_type: str) -> Build:
    return lambda b, x: b.op(op_type, b.op("Add", b.op("Mul", x, x), b.constant(0.1)))


def with_constant(op_type: str, content: Any, *, first: bool = False) -> Build:
    def build(b: Builder, x: str) -> str:
        constant = b.constant(content)
        return b.op(op_type, constant, x) if first else b.op(op_type, x, constant)

    return build


def compared(op_type: str) -> Build:
    return lambda b, x: b.op("Cast", b.op(op_type, x, b.constant(0.3)), to=TensorProto.FLOAT)


def both(op_type: str) -> Build:
    def build(b: Builder, x: str) -> str:
        parts = [b.op("Greater", x, b.constant(bound)) for bound in (-0.5, 0.5)]
        return b.op("Cast", b.op("Not", b.op(op_type, *parts)), to=TensorProto.FLOAT)

    return build


def counted(b: Builder, x: str) -> str:
    whole = b.op("Cast", b.op("Mul", x, b.constant(3.0)), to=TensorProto.INT64)
    rest = b.op("Mod", b.op("Add", whole, b.constant(np.array(40))), b.constant(np.array(7)))
    part = b.op("Div", rest, b.constant(np.array(2)))
    least = b.op("Max", b.op("Min", part, b.constant(np.array(2))), b.constant(np.array(1)))
    return b.op("Cast", b.op("Sub", least, rest), to=TensorProto.FLOAT)


def split(*widths: int) -> Build:
    def build(b: Builder, x: str) -> str:
        given = b.op("Split", x, b.constant(list(widths)), outputs=len(widths), axis=-1)
        parts = [given] if len(widths) == 1 else given
        return b.op("Concat", parts[-1], b.op("Neg", parts[0]), parts[-1], axis=2)

    return build


def evenly_split(b: Builder, x: str) -> str:
    parts = b.op("Split", x, outputs=3, axis=2, num_outputs=3)  # 2, 2 and 1
    return b.op("Concat", parts[2], parts[0], axis=2)


def sliced(starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]) -> Build:
    return lambda b, x: b.op("Slice", x, *(b.constant(list(part)) for part in (starts, ends, axes, steps)))


def gathered(places: Any) -> Build:
    def build(b: Builder, x: str) -> str:
        y = b.op("Gather", x, b.constant(np.array(places)), axis=2)
        return b.op("Reshape", y, b.constant([1, -1, int(np.size(places))]))

    return build


def looked_up(b: Builder, x: str) -> str:
    """Look rows of a table up by places from data, some of them counted from the end."""
    place = b.op("Cast", b.op("Clip", x, b.constant(-3.0), b.constant(3.0)), to=TensorProto.INT64)
    first = b.op("Slice", place, b.constant([0]), b.constant([1]), b.constant([2]))
    return b.op("Gather", b.weight(7, 4), b.op("Squeeze", first, b.constant([2])), axis=0)


def expanded(b: Builder, x: str) -> str:
    y = b.op("Unsqueeze", x, b.constant([2]))
    return flat(b, b.op("Expand", y, b.constant([1, 1, 3, 1])), 15)


def padded(pads: Sequence[int], value: float, axes: Sequence[int] | None = None) -> Build:
    def build(b: Builder, x: str) -> str:
        more = [] if axes is None else [b.constant(list(axes))]
        return b.op("Pad", x, b.constant(list(pads)), b.constant(np.float32(value)), *more)

    return build


def chosen(b: Builder, x: str) -> str:
    turned = b.op("Where", b.op("Less", x, b.constant(0.0)), b.op("Neg", x), b.constant(SHIFTS))
    return b.op("Where", b.constant(np.array([True, False, True, True, False])), x, turned)


def layer_norm(axis: int, *, bias: bool = True) -> Build:
    def build(b: Builder, x: str) -> str:
        y, shape = image(b, x), (4, 3, 2)[axis:]
        arrays = [b.constant(b.rng.uniform(0.5, 2, shape)), *([b.weight(*shape)] if bias else [])]
        return flat(b, b.op("LayerNormalization", y, *arrays, axis=axis - 3, epsilon=1e-3), 24)

    return build


def reduced(op_type: str, axes: Sequence[int], keepdims: int) -> Build:
    def build(b: Builder, x: str) -> str:
        y = b.op(op_type, image(b, x), b.constant(list(axes)), keepdims=keepdims)
        return flat(b, y, int(np.prod([s for axis, s in enumerate((4, 3, 2), 1) if not {axis, axis - 4} & set(axes)])))

    return build


def channel_norm(op_type: str, **attributes: Any) -> Build:
    def build(b: Builder, x: str) -> str:
        arrays = [b.constant(b.rng.uniform(0.5, 2, 4)), b.weight(4)]
        return flat(b, b.op(op_type, image(b, x), *arrays, **attributes), 24)

    return build


def einsum(equation: str, *shapes: tuple[int, ...]) -> Build:
    def build(b: Builder, x: str) -> str:
        y = image(b, x)
        return b.op("Einsum", y, *(b.weight(*shape) for shape in shapes), equation=equation)

    return build


def spaced(op_type: str, **attributes: Any) -> Build:
    def build(b: Builder, x: str) -> str:
        wide = b.op("Reshape", b.op("MatMul", x, b.weight(FEATURES, 32)), b.constant([-1, 4, 2, 4]))
        return flat(b, b.op(op_type, wide, **attributes), 32)

    return build


def running_sum(**attributes: int) -> Build:
    return lambda b, x: flat(b, b.op("CumSum", image(b, x), b.constant(np.array(2)), **attributes), 24)


def triangle(k: int, upper: int) -> Build:
    return lambda b, x: flat(b, b.op("Trilu", image(b, x), b.constant(np.array(k)), upper=upper), 24)


def rms_norm(b: Builder, x: str) -> str:
    return b.op("RMSNormalization", x, b.constant(SHIFTS), axis=-1)


def means(b: Builder, x: str) -> str:
    return b.op("Mean", x, b.op("Tanh", x), b.constant(SHIFTS))


def infinite(b: Builder, x: str) -> str:
    y = b.op("Where", b.op("Less", x, b.constant(-1.0)), b.constant(-np.inf), x)
    y = b.op("Where", b.op("Greater", x, b.constant(1.0)), b.constant(np.inf), y)
    found = b.op("IsInf", y, detect_negative=0)
    return b.op("Where", found, b.constant(7.0), x)


def cast_like(b: Builder, x: str) -> str:
    whole = b.op("CastLike", x, b.constant(np.array(1)))
    return b.op("CastLike", b.op("Add", whole, whole), x)


OF_ONE = (
    "Neg Abs Sign Floor Ceil Exp Reciprocal Sin Cos Tan Sinh Cosh Erf Softplus Softsign HardSwish Sigmoid Tanh Relu "
    "Elu LeakyRelu HardSigmoid Selu Celu Gelu Mish Softmax LogSoftmax Shrink ThresholdedRelu Identity"
)
POINTWISE: dict[str, Build] = {
    **{op: plain(op) for op in OF_ONE.split()},
    **{op: positive(op) for op in ("Log", "Sqrt")},
    **{f"{op}, its constant first": with_constant(op, SHIFTS, first=True) for op in ("Add", "Sub", "Mul", "Div")},
    **{op: with_constant(op, SHIFTS) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu")},
    **{op: compared(op) for op in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")},
    **{op: both(op) for op in ("And", "Or", "Xor")},
    "Elu with its slope": plain("Elu", alpha=0.3), "LeakyRelu with its slope": plain("LeakyRelu", alpha=0.3),
    "HardSigmoid with its line": plain("HardSigmoid", alpha=0.4, beta=0.1), "Celu, sharper": plain("Celu", alpha=0.5),
    "Selu of one's own": plain("Selu", alpha=1.2, gamma=0.7), "Shrink beside its step": plain("Shrink", bias=0.2),
    "Gelu by tanh": plain("Gelu", approximate="tanh"), "Pow": with_constant("Pow", 2.0), "Softmax before the last": (
        lambda b, x: flat(b, b.op("Softmax", image(b, x), axis=1), 24)
    ),
    "fmod": lambda b, x: b.op("Mod", x, b.constant(0.4), fmod=1), "whole numbers": counted, "Sum": (
        lambda b, x: b.op("Sum", x, b.op("Tanh", x), x)
    ),
    "Mean": means, "Clip": clipped(-0.5, 0.3), "Clip from below": clipped(-0.5, None), "Clip above": clipped(None, 0.3),
    "Split": split(2, 2, 1), "Split in one": split(5), "Split evenly": evenly_split,
    "Slice with a step": sliced([0], [5], [2], [2]), "Slice from the end": sliced([-3], [99], [-1], [1]),
    "Gather one": gathered([3]), "Gather from the end": gathered([-1, 0, -5]), "Gather a table": gathered([[0, 2]]),
    "Gather by data": looked_up, "Expand": expanded, "Pad": padded([0, 0, 1, 0, 0, 2], 0.0),
    "Pad with a number": padded([1, 0], -0.7, [2]), "Where": chosen,
    "LayerNormalization over one axis": layer_norm(2), "LayerNormalization over two": layer_norm(1),
    "LayerNormalization over three": layer_norm(0, bias=False), "RMSNormalization": rms_norm,
    **{f"{op} over {axes}, {keep}": reduced(op, axes, keep) for op in
       ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
       for axes, keep in (((3,), 1), ((1, -1), 0))},
    "InstanceNormalization": channel_norm("InstanceNormalization", epsilon=1e-3),
    "GroupNormalization": channel_norm("GroupNormalization", num_groups=2),
    "LpNormalization 1": plain("LpNormalization", p=1), "LpNormalization 2": plain("LpNormalization", p=2),
    "Einsum with a matrix": lambda b, x: b.op("Einsum", x, b.weight(FEATURES, 3), equation="btf,fo->bto"),
    "Einsum over two axes": lambda b, x: b.op("Unsqueeze", einsum("tchw,chd->td", (4, 3, 5))(b, x), b.constant([0])),
    "Einsum, outer": lambda b, x: flat(b, b.op("Einsum", x, x, equation="btd,bte->btde"), 25),
    "Einsum, inner": lambda b, x: b.op("Unsqueeze", b.op("Einsum", x, x, equation="btd,btd->bt"), b.constant([2])),
    "Einsum of one": lambda b, x: flat(b, einsum("tchw->twc")(b, x), 8),
    "DepthToSpace": spaced("DepthToSpace", blocksize=2), "SpaceToDepth": spaced("SpaceToDepth", blocksize=2),
    "DepthToSpace by columns": spaced("DepthToSpace", blocksize=2, mode="CRD"),
    **{f"CumSum {settings}": running_sum(**settings) for settings in (
        {}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1})},
    **{f"Trilu {k}, {upper}": triangle(k, upper) for k in (-1, 0, 1) for upper in (0, 1)},
    "Tile": lambda b, x: b.op("Tile", x, b.constant([1, 1, 3])), "OneHot": one_hot, "IsInf": infinite,
    "CastLike": cast_like, "IsNaN": lambda b, x: b.op("Where", b.op("IsNaN", b.op("Sqrt", x)), b.constant(1.0), x),
}  # fmt: skip


@pytest.mark.parametrize("name", POINTWISE)
def test_an_op_in_time(name: str, tmp_path: Path) -> None:
    equals_its_step(stream_of(graph(POINTWISE[name], tmp_path, opset=24 if "RMS" in name else 22)), steps=6)


LEFT_OUT = {"Round", "Atan", "Hardmax", "BitShift", "TopK", "Resize", "QuantizeLinear", "LRN"}


@pytest.mark.parametrize("lines", RUNS)
def test_ops_have_an_integer_form_or_are_named(lines: str, tmp_path: Path) -> None:
    stream = stream_of(model(tmp_path / "m.onnx", lines, 17))
    found = {op for op in (*LEFT_OUT, "ArgMax") if f"{op}(" in lines}
    if not found:
        equals_its_step(stream, steps=6)
        return
    with pytest.raises(NoIntegerForm, match=rf"node '\w+' \(({'|'.join(found)}|Round|Cast)\): .*export float32 alone"):
        lower(stream)


# ---- what has none


def affine(b: Builder, x: str) -> str:
    """An activation that no integers are known for."""
    inputs = [b.op("Transpose", x, perm=[1, 0, 2]), b.weight(1, 3, FEATURES), b.weight(1, 3, 3)]
    settings = {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]}
    y = b.op("RNN", *inputs, hidden_size=3, **settings)
    return b.op("Reshape", b.op("Transpose", y, perm=[2, 0, 1, 3]), b.constant([1, -1, 3]))


@pytest.mark.parametrize(
    ("build", "op"),
    [
        (lambda b, x: b.op("Atan", x), "Atan"),
        (lambda b, x: b.op("Cast", b.op("ArgMax", x, axis=2), to=TensorProto.FLOAT), "ArgMax"),
        (lambda b, x: b.op("Slice", x, *(b.constant([n]) for n in (-1, -9, 2, -1))), "Slice"),
        (lambda b, x: b.op("AveragePool", image(b, x), kernel_shape=[2, 2], pads=[1, 1, 0, 0]), "AveragePool"),
        (lambda b, x: b.op("MaxPool", image(b, x), kernel_shape=[2, 2], ceil_mode=1, strides=[2, 2]), "MaxPool"),
        (lambda b, x: b.op("Pad", image(b, x), b.constant([0, 0, 1, 0, 0, 0, 0, 0]), mode="reflect"), "Pad"),
        (lambda b, x: b.op("Cast", b.op("Cast", x, to=TensorProto.FLOAT16), to=TensorProto.FLOAT), "Cast"),
        (affine, "RNN"),
    ],
)  # fmt: skip
def test_what_has_no_integer_form_is_named(build: Build, op: str, tmp_path: Path) -> None:
    def framed(b: Builder, x: str) -> str:
        y = build(b, x)
        if op in {"Atan", "ArgMax", "Slice", "Cast", "RNN"}:
            return y
        return b.op("Unsqueeze", b.op("Flatten", y, axis=1), b.constant([0]))

    with pytest.raises(NoIntegerForm, match=rf"node '\w+' \({op}\)"):
        lower(stream_of(graph(framed, tmp_path)))
