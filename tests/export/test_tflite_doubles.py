"""float64 in TFLite files: pairs of float32, against NumPy's float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeseq import libraries
from export.errors import ExportError
from export.operations import FLOAT
from export.program import Array, Op, Program, ProgramState
from export.writers import tflite
from export.writers.tflite import doubles

ROWS = 200
STEPS = (0, 1, 7, 12_345, 2**20 + 3, 2**24 + 1, 2**31 + 5, 2**36 + 11)
RATES = np.array([[1.0, 0.1, 0.37, 2 * np.pi]])


def program(*ops: tuple[Op, tuple[int, ...], str], **given: Array) -> Program:
    """Make a Program of float64 ops on float32 and whole numbers, which enter as states; a row of each is a step's."""
    made = Program([], outputs=["y"])
    for name, array in given.items():
        made.states.append(ProgramState(name, name, name, array[0]))
        made.shapes[name], dtype = array.shape[1:], array.dtype.name
        if dtype != "float32":
            made.dtypes[name] = dtype
    for op, shape, dtype in ops:
        made.emit(op, shape, dtype)
    return made


def constant(name: str, array: Array) -> tuple[Op, tuple[int, ...], str]:
    return Op("Constant", name, arrays={"value": array}), array.shape, array.dtype.name


def computed(made: Program, **given: Array) -> Array:
    """Run a Program's ops by their references in NumPy."""
    values = {name: array[None] for name, array in made.constants().items()} | given
    for op in made.ops:
        if op.kind != "Constant":
            values[op.output] = np.asarray(FLOAT[op.kind](op, *(values[name] for name in op.inputs)))
    return values["y"]


def on_litert(made: Program, **given: Array) -> Array:
    """Run a Program's file, a step a row."""
    interpreter = libraries.litert()(model_content=tflite.write(made, ["y"]), num_threads=1)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner("step")
    rows = range(len(next(iter(given.values()))))
    return np.array([run(**{f"{name}.in": array[row] for name, array in given.items()})["y"] for row in rows])


def angles(count: Array) -> Program:
    """Make what positions are computed by: the cosine of a count of steps at several rates, and again."""
    shape, both = RATES.shape, (1, 2 * RATES.size)
    return program(
        (Op("Cast", "real", ("count",), attributes={"to": "float64"}), (1, 1), "float64"),
        constant("rates", RATES),
        (Op("Mul", "angle", ("real", "rates")), shape, "float64"),
        constant("quarter", np.full((1, 1), np.pi / 2)),
        (Op("Add", "ahead", ("angle", "quarter")), shape, "float64"),
        (Op("Sin", "sine", ("ahead",)), shape, "float64"),
        (Op("Concat", "both", ("sine", "sine"), attributes={"axis": 1}), both, "float64"),
        (Op("Cast", "y", ("both",), attributes={"to": "float32"}), both, "float32"),
        count=count,
    )


@pytest.mark.parametrize("run", [on_litert, computed])
def test_a_position_is_as_exact_after_years(run: Any) -> None:
    count = np.array(STEPS, np.int64).reshape(-1, 1, 1)
    made = angles(count)
    expected = computed(made, count=count)
    given = run(doubles.paired(made), count=count)
    angle = count * np.tile(RATES, 2)
    allowed = 4e-7 + 2 * angle * 2.0**-48
    assert (np.abs(given - expected) <= allowed).all()
    # float32 alone is lost long before.
    alone = np.sin(count.astype(np.float32) * RATES.astype(np.float32) + np.float32(np.pi / 2))
    assert np.abs(alone - expected[..., : RATES.size])[-1].max() > 0.1


@pytest.mark.parametrize("run", [on_litert, computed])
@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div"])
def test_sums_and_products_keep_what_float32_loses(kind: str, run: Any) -> None:
    """(a op b) - c, c being the result in float32: what float32 rounds away is all that is left."""
    rng = np.random.default_rng(0)
    count = rng.integers(2**25, 2**45, (ROWS, 1, 1))
    other = rng.uniform(0.1, 10, (1, 1)) * np.pi
    cast = Op("Cast", "a", ("count",), attributes={"to": "float64"}), (1, 1), "float64"
    exact = computed(
        program(cast, constant("b", other), (Op(kind, "y", ("a", "b")), (1, 1), "float64"), count=count), count=count
    )
    near = exact.astype(np.float32)
    made = program(
        cast, constant("b", other), (Op(kind, "t", ("a", "b")), (1, 1), "float64"),
        (Op("Cast", "c", ("near",), attributes={"to": "float64"}), (1, 1), "float64"),
        (Op("Neg", "minus", ("c",)), (1, 1), "float64"),
        (Op("Reshape", "view", ("minus",), attributes={"shape": (1, 1)}), (1, 1), "float64"),
        (Op("Add", "left", ("t", "view")), (1, 1), "float64"),
        (Op("Cast", "y", ("left",), attributes={"to": "float32"}), (1, 1), "float32"),
        count=count, near=near,
    )  # fmt: skip
    expected = exact - near.astype(np.float64)
    assert (np.abs(expected) > 2.0**-28 * np.abs(exact)).mean() > 0.5
    given = run(doubles.paired(made), count=count, near=near)
    assert (np.abs(given - expected) <= 2.0**-44 * np.abs(exact)).all()


def test_what_has_no_form_is_refused_by_name() -> None:
    count = np.array(STEPS, np.int64).reshape(-1, 1, 1)
    made = program(
        (Op("Cast", "real", ("count",), attributes={"to": "float64"}), (1, 1), "float64"),
        (Op("Exp", "e", ("real",), "there"), (1, 1), "float64"),
        (Op("Cast", "y", ("e",), "here", {"to": "float32"}), (1, 1), "float32"),
        count=count,
    )
    with pytest.raises(ExportError, match=r"node 'there' \(Exp\): TFLite has it not for float64"):
        tflite.write(made, ["y"])


def test_a_state_in_float64_is_refused_by_name() -> None:
    total = np.zeros((1, 1, 1))
    made = program(
        (Op("Add", "sum", ("total", "total"), "there"), (1, 1), "float64"),
        (Op("Cast", "y", ("sum",), "here", {"to": "float32"}), (1, 1), "float32"),
        total=total,
    )
    with pytest.raises(ExportError, match=r"node 'there' \(Add\): TFLite has it not for float64"):
        tflite.write(made, ["y"])
