"""What tells that an engine computes one op otherwise than the reference does: it fails once that is so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import litert_cases
import numpy as np
import op_by_op
import pytest
from floated import floated
from quantized_families import VARIANTS, family, frames
from test_litert import compared
from test_native_integers import every_op_gives_the_references_integers, runs_as_the_reference

from export.program import Op, Program
from export.writers import native

Change = Callable[[Program], None]
Engine = Callable[[Program, Program, Path], None]


def put(program: Program, kind: str, /, **changes: object) -> None:
    """Change the first op of a kind on integers."""
    place = next(n for n, op in enumerate(program.ops) if op.kind == kind and op.output in program.types)
    program.ops[place] = replace(program.ops[place], **changes)  # type: ignore[arg-type]


def first(program: Program, kind: str) -> Op:
    return next(op for op in program.ops if op.kind == kind and op.output in program.types)


def scaled(program: Program) -> None:
    """Patch a scale."""
    arrays = first(program, "Linear").arrays
    put(program, "Linear", arrays={**arrays, "scale": arrays["scale"] * 1.05})


def swapped(program: Program) -> None:
    """Give each output the weights of the one before it."""
    arrays = first(program, "Linear").arrays
    put(program, "Linear", arrays={**arrays, "weight": np.roll(arrays["weight"], 1, axis=0)})


def shifted(program: Program) -> None:
    """Shift the zero point of what a product gives."""
    name = first(program, "Linear").output
    kind = program.types[name]
    program.types[name] = replace(kind, zero_point=kind.zero_point + 3)


def another_curve(program: Program) -> None:
    """Run another kernel."""
    put(program, "Tanh", kind="Sigmoid")


def on_onnxruntime(program: Program, changed: Program, folder: Path) -> None:
    del folder
    with pytest.MonkeyPatch.context() as patch:
        written = op_by_op.written
        patch.setattr(op_by_op, "written", lambda _: written(changed))
        op_by_op.compared(program, frames(family("gru").stream, 29))


def on_litert(program: Program, changed: Program, folder: Path) -> None:
    known, given = (list(litert_cases.ops({"v": each})) for each in (program, changed))
    for (name, _, arrays), (_, content, _) in zip(known, given, strict=True):
        (folder / f"{name}.tflite").write_bytes(content)
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    compared(folder)


def on_native(program: Program, changed: Program, folder: Path) -> None:
    native.write(folder / "step.npz", changed)
    x = frames(family("gru").stream, 8).reshape(8, 1, 1, -1)
    every_op_gives_the_references_integers(program, folder / "step.npz", x)


ENGINES = pytest.mark.parametrize("engine", [on_onnxruntime, on_litert, on_native])


@ENGINES
@pytest.mark.parametrize(
    ("variant", "change"),
    [
        ("int8", scaled), ("int8", swapped), ("int8", shifted), ("int8", another_curve),
        ("w8a16", scaled), ("w8a16", swapped), ("w8a16", another_curve),
    ],
)  # fmt: skip
def test_an_op_that_was_changed_is_found(engine: Engine, variant: str, change: Change, tmp_path: Path) -> None:
    program = family("gru").program(variant)
    changed = replace(program, ops=copy.copy(program.ops), types=dict(program.types))
    change(changed)
    with pytest.raises(AssertionError, match=r"Linear|Tanh"):
        engine(program, changed, tmp_path)


@ENGINES
@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_found_where_nothing_was_changed(engine: Engine, variant: str, tmp_path: Path) -> None:
    program = family("gru").program(variant)
    engine(program, program, tmp_path)


@pytest.mark.parametrize(
    ("name", "variant", "kind"),
    [
        ("gru", "w8a16", "Linear"), ("gru", "w8a16", "Sigmoid"), ("gru", "w8a16", "Tanh"), ("gru", "w8a16", "Sub"),
        ("gru", "int8", "Mul"), ("rnn", "int8", "Add"), ("conv2d", "w8a16", "Conv"),
    ],
)  # fmt: skip
def test_an_op_of_the_native_engine_that_was_swapped_for_float_is_found(
    name: str, variant: str, kind: str, tmp_path: Path
) -> None:
    """It rounds once where the reference rounds, from numbers that were rounded before: now and then another way."""
    program = family(name).program(variant)
    runs_as_the_reference(name, variant, program, tmp_path / "step.npz")
    with pytest.raises(AssertionError, match=f"{name} {variant}"):
        runs_as_the_reference(name, variant, floated(program, kind), tmp_path / "step.npz")
