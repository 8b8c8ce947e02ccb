"""The native engine against the reference interpreter: the same integers, state and output, wherever all is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from quantized_families import FAMILIES, VARIANTS, family, frames

from edgeseq.backends import native
from edgeseq.backends.native.streams import NativeStreams
from edgeseq.bundle import ModelFile
from export.native import states
from export.operations import REAL
from export.program import Program
from export.quantize.step import ReferenceStep
from export.variants import describe, file_of
from export.writers import native as writer


def native_file(program: Program, variant: str) -> ModelFile:
    """Describe a program's file: its states by the names that they have in it."""
    return file_of(program, variant, "npz", writer.weight_bytes(program), states(program))


def all_whole(program: Program) -> bool:
    """Say whether nothing is computed in float32 but what enters and leaves."""
    real = {op.kind for op in program.ops if op.kind in REAL and program.dtype(op.output) == "float32"}
    products = [op for op in program.ops if program.macs(op) and program.dtype(op.inputs[0]) == "float32"]
    return not real and not products


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_integers_are_the_references_to_the_bit(name: str, variant: str, tmp_path: Path) -> None:
    made = family(name)
    program, graph = made.program(variant), describe(made.stream)
    writer.write(tmp_path / "step.npz", program)
    model = native.open_step(tmp_path / "step.npz", graph, native_file(program, variant))
    reference = ReferenceStep(program, graph, variant)
    x = frames(made.stream, 200)
    given, expected = model.run(x), reference.run(x)
    if all_whole(program):
        np.testing.assert_array_equal(given, expected)
        mine, its = model.get_state(), reference.get_state()
        for key, value in its.items():
            np.testing.assert_array_equal(mine[key], value, key)
    else:
        errors = np.sqrt(np.nanmean(np.square(given - expected), axis=0))
        assert (errors <= 0.01 * np.nanstd(expected, axis=0)).all(), errors


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
