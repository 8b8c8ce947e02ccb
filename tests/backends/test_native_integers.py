"""The native engine against the reference interpreter: the same integers; of real values, those of one step."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from native_ops import applied
from quantized_families import FAMILIES, VARIANTS, family, frames

from edgeseq.backends import native
from edgeseq.backends.native.program import read
from edgeseq.backends.native.rules import rule
from edgeseq.backends.native.rules.rule import Given
from edgeseq.backends.native.streams import NativeStreams
from edgeseq.bundle import ModelFile
from export.native import states
from export.operations import MOVING, NOTHING
from export.program import Array, Program
from export.quantize.reference import Interpreter, plan
from export.quantize.step import ReferenceStep, exact
from export.variants import describe, file_of
from export.writers import native as writer


def native_file(program: Program, variant: str) -> ModelFile:
    """Describe a program's file: its states by the names that they have in it."""
    return file_of(program, variant, "npz", writer.weight_bytes(program), states(program))


def test_a_free_run_is_the_references_to_the_bit_where_all_is_whole(tmp_path: Path) -> None:
    whole = set()
    for name, variant in itertools.product(FAMILIES, VARIANTS):
        program = family(name).program(variant)
        if exact(program):
            runs_as_the_reference(name, variant, program, tmp_path / "step.npz")
            whole.add((name, variant))
    assert {name for name, _ in whole} >= {"rnn", "gru", "tcn", "depthwise", "conv2d"}
    assert {variant for _, variant in whole} == set(VARIANTS)


def runs_as_the_reference(name: str, variant: str, written: Program, path: Path) -> None:
    """Run a program's file freely beside the reference of a family: the same outputs and states, to the bit."""
    made = family(name)
    graph = describe(made.stream)
    writer.write(path, written)
    model = native.open_step(path, graph, native_file(written, variant))
    reference = ReferenceStep(made.program(variant), graph, variant)
    x = frames(made.stream, 200)
    np.testing.assert_array_equal(model.run(x), reference.run(x), f"{name} {variant}")
    mine = model.get_state()
    for key, value in reference.get_state().items():
        np.testing.assert_array_equal(mine[key], value, f"{name} {variant} {key}")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_op_fed_the_references_values_gives_its_integers(name: str, variant: str, tmp_path: Path) -> None:
    made = family(name)
    program, steps = made.program(variant), 8
    writer.write(tmp_path / "step.npz", program)
    x = frames(made.stream, steps).reshape(steps, 1, program.frames, -1)
    assert every_op_gives_the_references_integers(program, tmp_path / "step.npz", x) >= steps * 3


def every_op_gives_the_references_integers(
    program: Program, path: Path, x: Array, held: Mapping[str, Array] = NOTHING
) -> int:
    """Step the reference; feed each op of the program in the file what its inputs are there. Return how many were fed.

    x: float32[steps, 1, frames, features]. held: by name, [1, *shape].
    """
    file, readers = read(path), program.readers()
    interpreter, checked = Interpreter(program), 0
    interpreter.hold(held)
    for step in x:
        interpreter.step(step)
        for op in file.description.ops:
            if op.kind in {"Constant", "Range"}:  # a range over the source is a constant of its length's layout
                continue
            stored = file.description.tensors[op.output]
            kinds = tuple(file.description.tensors[name] for name in op.inputs)
            inputs = [
                np.asarray(interpreter.values[name]).astype(kind.dtype)
                for name, kind in zip(op.inputs, kinds, strict=True)
            ]
            arrays = {key: file.arrays[array] for key, array in op.arrays.items()}
            applied_rule = rule(op.kind, stored)
            assert applied_rule is not None
            y = applied(applied_rule, Given(op.kind, op.attributes, arrays, kinds, stored), inputs)
            expected = np.broadcast_to(interpreter.values[op.output], y.shape)
            if stored.dtype != "float32" or op.kind in {*MOVING, "Dequantize"}:
                np.testing.assert_array_equal(y, expected, f"{op.kind} {op.output}")
            for reader in readers.get(op.output, []) if stored.dtype == "float32" else ():
                if reader.kind == "Quantize":
                    enters = plan(reader, program)
                    steps_apart = np.abs(enters(y) - enters(expected.astype(np.float32)))
                    assert steps_apart.max(initial=0) <= 1, f"{op.kind} {op.output}"
            checked += 1
    return checked


@pytest.mark.parametrize("name", ["gru", "lstm", "tcn", "attention"])
def test_a_stream_among_many_gives_the_same_bits_and_a_masked_one_stays(name: str, tmp_path: Path) -> None:
    made = family(name)
    program, graph = made.program("w8a16"), describe(made.stream)
    writer.write(tmp_path / "step.npz", program)
    file, count = native_file(program, "w8a16"), 7
    many = native.open_step(tmp_path / "step.npz", graph, file, count)
    assert isinstance(many, NativeStreams)
    x = np.stack([frames(made.stream, 40, seed) for seed in range(count)], axis=1)
    masks = np.random.default_rng(0).random((40, count)) < 0.6
    given = np.stack([many.step(row, mask=mask) for row, mask in zip(x, masks, strict=True)])
    one = native.open_step(tmp_path / "step.npz", graph, file)
    for stream in range(count):
        one.reset()
        here = masks[:, stream]
        np.testing.assert_array_equal(given[here, stream], one.run(np.ascontiguousarray(x[here, stream])))
        assert np.isnan(given[~here, stream]).all()
