"""float64 in TFLite files: pairs of float32, against NumPy's float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
from quantized_families import source

import edgeseq
import export
from edgeseq import libraries
from export.errors import ExportError
from export.operations import FLOAT
from export.program import Array, Op, Program, ProgramInput, ProgramState
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


FEATURES = 4
LONG = 20_000
START = np.pi
"""No float32: what a state begins with has two halves as well."""


def running(update: tuple[tuple[Op, tuple[int, ...], str], ...]) -> Program:
    """Make a step that takes x [1, FEATURES] and remembers one number a feature in float64, which it gives."""
    made = Program([ProgramInput("x", (1, FEATURES), 0, slice(0, FEATURES))], outputs=["y"])
    made.states = [ProgramState("past", "past.in", "new", np.full((1, FEATURES), START))]
    made.shapes.update(dict.fromkeys(("x", "past.in"), (1, FEATURES)))
    made.dtypes["past.in"] = "float64"
    wide = (Op("Cast", "wide", ("x",), attributes={"to": "float64"}), (1, FEATURES), "float64")
    for op, shape, dtype in (wide, *update):
        made.emit(op, shape, dtype)
    made.emit(Op("Cast", "y", ("new",), attributes={"to": "float32"}), (1, FEATURES))
    return made


def total() -> Program:
    return running(((Op("Add", "new", ("past.in", "wide"), "there"), (1, FEATURES), "float64"),))


def free_run(made: Program, x: Array, *, forgets: bool = False) -> Array:
    """Run a file freely on the stock interpreter, its states going round; float32[len(x), FEATURES].

    forgets: keep only the first of both halves from step to step.
    """
    interpreter = libraries.litert()(model_content=tflite.write(made, ["y"]), num_threads=1)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner("step")
    assert set(run.get_input_details()) == {"x", "past.high.in", "past.low.in"}
    high = np.full((1, FEATURES), START, np.float32)
    state, rows = {"high": high, "low": (START - high.astype(np.float64)).astype(np.float32)}, []
    for row in x:
        left = run(x=row[None], **{f"past.{half}.in": value for half, value in state.items()})
        state = {half: left[f"past.{half}.out"] * (half == "high" or not forgets) for half in state}
        rows.append(left["y"][0])
    return np.array(rows)


def off(given: Array, x: Array) -> float:
    """Return the greatest error of running sums, in roundings of a float32 of that size; half a one is none at all."""
    expected = START + np.cumsum(x.astype(np.float64), axis=0)
    return float((np.abs(given - expected) / np.spacing(np.abs(expected).astype(np.float32))).max())


def test_a_sum_over_twenty_thousand_steps_is_that_of_float64() -> None:
    """Its values have no common size, and it passes a million, where float32 has three bits below one."""
    x = np.random.default_rng(0).normal(60, 40, (LONG, FEATURES)).astype(np.float32)
    assert off(free_run(total(), x), x) <= 0.5 + LONG * 2.0**-24
    assert off(free_run(total(), x, forgets=True), x) > 10


def test_a_state_without_a_form_is_refused_by_name() -> None:
    made = running(
        (
            (Op("Exp", "e", ("past.in",), "there"), (1, FEATURES), "float64"),
            (Op("Add", "new", ("e", "wide"), "here"), (1, FEATURES), "float64"),
        )
    )
    with pytest.raises(ExportError, match=r"node 'there' \(Exp\): TFLite has it not for float64"):
        tflite.write(made, ["y"])


@pytest.mark.parametrize("family", ["linear attention", "mean head"])
def test_a_model_that_remembers_in_float64_steps_from_any_state(family: str, tmp_path: Path) -> None:
    """Its states come out as two halves each, and go in again without the loss of a bit."""
    given, options = source(family)
    model = edgeseq.load(
        export.export(given, tmp_path / "b", variants=["float32"], **options), backend="litert", variant="float32"
    )
    x = models.walks(1, 200)[0]
    whole = model.run(x)
    model.reset()
    np.testing.assert_array_equal(model.run(x[:90]), whole[:90])
    state = model.get_state()
    halves = {name for name in state if name.endswith((".high", ".low"))}
    assert halves
    assert all(state[name].dtype == np.float32 for name in halves)
    assert any(state[name].any() for name in halves if name.endswith(".low"))
    model.reset()
    model.set_state(state)
    np.testing.assert_array_equal(model.run(x[90:]), whole[90:])
