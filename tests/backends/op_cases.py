"""Every op of float Programs in a TFLite file of its own: with numbers of all sizes, whole numbers and conditions.

Expected is what NumPy computes of them; sums of float32 and functions may differ by the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from export.operations import FLOAT
from export.program import Op, Program, ProgramState
from export.writers import tflite as writer

ROWS = 10
Arrays = dict[str, np.ndarray]
UNARY: dict[str, list[dict[str, Any]]] = {
    **{kind: [{}] for kind in ("Neg", "Abs", "Sign", "Floor", "Ceil", "Exp", "Sin", "Cos", "Erf", "Softplus")},
    **{kind: [{}] for kind in ("Softsign", "HardSwish", "Sigmoid", "Tanh", "Relu", "Sqrt", "Log", "Reciprocal")},
    "Gelu": [{"approximate": "none"}, {"approximate": "tanh"}],
    "Elu": [{"alpha": 1.0}, {"alpha": 0.3}],
    "LeakyRelu": [{"alpha": 0.1}],
    "HardSigmoid": [{"alpha": 0.2, "beta": 0.5}],
}
POSITIVE = {"Sqrt", "Log", "Reciprocal"}
COMPARISONS = ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")
WIDE, SPREAD = (2, 3, 2, 4, 3), (2, 1, 2, 1, 3)
"""Five axes, of which tflite-runtime 2.14 broadcasts two against three in few ops."""


class _Made:
    """Makes arrays and puts each op with them into a Program of its own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def of(self, dtype: str, *shape: int) -> np.ndarray:
        if dtype == "bool":
            return self.rng.integers(0, 2, (ROWS, *shape)).astype(bool)
        if dtype == "float32":
            return (3 * self.rng.normal(size=(ROWS, *shape))).astype(np.float32)
        return self.rng.integers(-(2**40), 2**40, (ROWS, *shape)).astype(dtype)

    @staticmethod
    def case(title: str, kind: str, given: list[np.ndarray], **parts: Any) -> tuple[str, bytes, Arrays]:
        """Give an op's case; an input of a single row, [1, *shape], is a constant of it."""
        arrays = parts.pop("arrays", {})
        names = tuple(f"in{index}" for index in range(len(given)))
        op = Op(kind, "y", names, "node", parts, arrays)
        expected = FLOAT[kind](op, *given)
        program = Program([], 1, ["y"])
        for name, array in zip(names, given, strict=True):
            if len(array) == 1:
                program.ops.append(Op("Constant", name, arrays={"value": array[0]}))
            else:
                program.states.append(ProgramState(name, name, name, array[0]))
            program.shapes[name] = array.shape[1:]
            program.dtypes[name] = array.dtype.name
        program.emit(op, expected.shape[1:], expected.dtype.name)
        fed = {name: array for name, array in zip(names, given, strict=True) if len(array) > 1}
        return f"{title}.{kind}", writer.write(program, ["y"]), fed | {"expected": expected}


def cases() -> Iterator[tuple[str, bytes, Arrays]]:
    """Give every case: its name, its file, what it is fed and must give."""
    made = _Made()
    yield from _functions(made)
    yield from _pairs(made)
    yield from _whole(made)
    yield from _rows(made)
    yield from _moves(made)
    yield from _products(made)


def _functions(made: _Made) -> Iterator[tuple[str, bytes, Arrays]]:
    for kind, settings in UNARY.items():
        for place, setting in enumerate(settings):
            x = made.of("float32", 2, 17)
            x[:, 0, :5] = 0, 30, -30, 1e-6, -1e-6
            x = np.abs(x) + np.float32(1e-3) if kind in POSITIVE else np.minimum(x, 20)
            yield made.case(f"float32.{place}", kind, [x], **setting)
            yield made.case(f"float32.{place}.wide", kind, [x.reshape(ROWS, 1, 2, 17, 1, 1)], **setting)


def _pairs(made: _Made) -> Iterator[tuple[str, bytes, Arrays]]:
    for kind in ("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", *COMPARISONS):
        for title, a, b in (("flat", (4, 5), (1, 5)), ("wide", WIDE, SPREAD), ("deep", (2, *WIDE), (1, *WIDE))):
            x, y = made.of("float32", *a), made.of("float32", *b)
            y = np.where(np.abs(y) < 0.1, np.float32(1), y)
            settings = {"fmod": 0} if kind == "Mod" else {}
            yield made.case(f"float32.{title}", kind, [x, y], **settings)
            yield made.case(f"float32.{title}.fixed", kind, [x, y[:1]], **settings)
    x, y = np.abs(made.of("float32", 4, 5)) + np.float32(0.1), np.clip(made.of("float32", 4, 5), -3, 3)
    yield made.case("float32", "Pow", [x, y])
    yield made.case("float32", "PRelu", [x - 2, y[:1]])
    conditions = made.of("bool", 3, 1, 5), made.of("bool", 1, 4, 5)
    for kind in ("And", "Or", "Equal"):
        yield made.case("bool", kind, list(conditions))
    yield made.case("bool", "Not", [conditions[0]])


def _whole(made: _Made) -> Iterator[tuple[str, bytes, Arrays]]:
    x, y = made.of("int64", 3, 4), made.of("int64", 1, 4)
    for fmod in (0, 1):
        yield made.case(f"int64.{fmod}", "Mod", [x, y], fmod=fmod)
        yield made.case(f"float32.{fmod}", "Mod", [made.of("float32", 3, 4), made.of("float32", 1, 4)], fmod=fmod)
    for kind in ("Add", "Sub", "Min", "Max", *COMPARISONS):
        yield made.case("int64", kind, [x, y])
        yield made.case("int64.wide", kind, [made.of("int64", *WIDE), made.of("int64", *SPREAD)])
    yield made.case("int64", "Mul", [x % 99991, y % 10007])
    yield made.case("int64.scalar", "Add", [made.of("int64"), made.of("int64")])
    yield made.case("float32.scalar", "Where", [made.of("bool"), made.of("float32"), made.of("float32")])
    for kind in ("Neg", "Abs", "Sign"):
        yield made.case("int64", kind, [x])
    x[0, 0] = 0, 2**62 - 1, 2**48, -(2**63) + 1
    for by in (1, 2, 7, -3, 4095, 100_003):
        yield made.case(f"int64.{by}", "Div", [x, np.full((1, 1, 1), by, np.int64)])
    yield made.case("int32", "Div", [x.astype(np.int32), np.full((1, 1, 1), -7, np.int32)])
    small = {"int64": x % 2000 - 1000, "float32": made.of("float32", 3, 4), "bool": made.of("bool", 3, 4)}
    small["int32"] = small["int64"].astype(np.int32)
    for before, array in small.items():
        for after in small:
            if before != after:
                yield made.case(f"{before}.{after}", "Cast", [array], to=after)


def _rows(made: _Made) -> Iterator[tuple[str, bytes, Arrays]]:
    x = made.of("float32", 3, 4, 5)
    for axis in range(3):
        for kind in ("Softmax", "LogSoftmax"):
            yield made.case(f"float32.{axis}", kind, [x], axis=axis)
        shape = x.shape[1 + axis :]
        arrays = {key: made.of("float32", *shape)[0] for key in ("scale", "bias")}
        yield made.case(f"float32.{axis}", "LayerNormalization", [x], axis=axis, epsilon=1e-5, arrays=arrays)
    for kind in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"):
        for axes in ((2,), (0, 1), (1,), (0, 2)):
            yield made.case(f"float32.{''.join(map(str, axes))}", kind, [x], axes=axes)
        yield made.case("float32.wide", kind, [made.of("float32", *WIDE)], axes=(1, 4))
    yield made.case("int64", "ReduceSum", [made.of("int64", 3, 4)], axes=(1,))


def _moves(made: _Made) -> Iterator[tuple[str, bytes, Arrays]]:
    for dtype in ("float32", "int64", "int32", "bool"):
        x, wide, deep = made.of(dtype, 3, 4, 5), made.of(dtype, *WIDE), made.of(dtype, 2, *WIDE)
        yield made.case(dtype, "Reshape", [x], shape=(5, 12))
        yield made.case(dtype, "Transpose", [x], perm=(2, 0, 1))
        yield made.case(f"{dtype}.wide", "Transpose", [wide], perm=(4, 2, 0, 3, 1))
        yield made.case(f"{dtype}.deep", "Transpose", [deep], perm=(0, 1, 5, 3, 4, 2))
        yield made.case(dtype, "Slice", [x], starts=(1, 0, 2), ends=(3, 4, 4), steps=(1, 1, 1))
        yield made.case(f"{dtype}.steps", "Slice", [x], starts=(0, 1, 0), ends=(3, 4, 5), steps=(2, 1, 3))
        yield made.case(
            f"{dtype}.deep", "Slice", [deep], starts=(0, 0, 1, 0, 2, 0), ends=deep.shape[1:], steps=(1,) * 6
        )
        yield made.case(dtype, "Concat", [x, made.of(dtype, 3, 2, 5), x[:1]], axis=1)
        yield made.case(f"{dtype}.deep", "Concat", [deep, deep], axis=3)
        yield made.case(dtype, "Gather", [x, np.array([[[0, 3], [3, -1]]])], axis=1)
        places = made.rng.integers(-4, 4, (ROWS, 2, 3))
        yield made.case(f"{dtype}.data", "Gather", [x, places], axis=1)
        yield made.case(f"{dtype}.table", "Gather", [x[:1], places], axis=1)
        yield made.case(dtype, "Expand", [made.of(dtype, 1, 4, 1)], shape=(3, 4, 5))
        yield made.case(f"{dtype}.wide", "Expand", [made.of(dtype, *SPREAD)], shape=WIDE)
        yield made.case(dtype, "Pad", [x], pads=(0, 1, 2, 1, 0, 0), value=1)
        yield made.case(f"{dtype}.deep", "Pad", [deep], pads=(0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0), value=0)
        for title, shape, other in (("flat", (3, 4, 5), (3, 1, 5)), ("wide", WIDE, SPREAD)):
            parts = [made.of("bool", *other), made.of(dtype, *shape), made.of(dtype, *other)]
            yield made.case(f"{dtype}.{title}", "Where", parts)


def _products(made: _Made) -> Iterator[tuple[str, bytes, Arrays]]:
    for title, a, b in (
        ("flat", (3, 4), (4, 5)), ("stack", (2, 3, 3, 4), (2, 3, 4, 5)), ("spread", (2, 3, 3, 4), (1, 3, 4, 5)),
        ("wide", (2, 2, 3, 3, 4), (2, 2, 3, 4, 5)),
    ):  # fmt: skip
        x, y = made.of("float32", *a), made.of("float32", *b)
        yield made.case(f"float32.{title}", "MatMul", [x, y])
        yield made.case(f"float32.{title}.left", "MatMul", [x[:1], y])
        yield made.case(f"float32.{title}.right", "MatMul", [x, y[:1]])
    for relu in (0, 1):
        arrays = {"weight": made.of("float32", 6, 5)[0], "bias": made.of("float32", 6)[0]}
        yield made.case(f"float32.{relu}", "Linear", [made.of("float32", 3, 5)], arrays=arrays, relu=relu)
    for title, x, weight, settings in (
        ("line", (2, 4, 9), (6, 4, 3), ((2,), (2,), (2, 1), 1)),
        ("plane", (2, 4, 7, 6), (6, 4, 3, 2), ((1, 2), (2, 1), (1, 0, 2, 1), 1)),
        ("groups", (1, 4, 7, 6), (6, 2, 3, 2), ((1, 2), (2, 1), (1, 0, 2, 1), 2)),
        ("deep", (2, 4, 9), (8, 1, 3), ((1,), (3,), (0, 0), 4)),
    ):  # fmt: skip
        strides, dilations, pads, group = settings
        arrays = {"weight": made.of("float32", *weight)[0], "bias": made.of("float32", weight[0])[0]}
        yield made.case(
            f"float32.{title}", "Conv", [made.of("float32", *x)], arrays=arrays, kernel=weight[2:], strides=strides,
            dilations=dilations, pads=pads, group=group,
        )  # fmt: skip
