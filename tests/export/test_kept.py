"""Weights that stay float32 in a variant that stores them smaller: those whose rounding costs the outputs most."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import chained_models
import numpy as np
import onnx
import pytest
import seq2seq_models
import stored_models as models
import torch
from onnx import TensorProto
from streaming import rewritten

import export
from edgeseq.bundle import STORAGE
from edgeseq.verification import verify
from export import storage
from export.kept import Costs
from export.variants import GOAL, Maker, Variant


@pytest.fixture(scope="module")
def maker() -> Maker:
    torch.manual_seed(0)
    _, stream = rewritten((models.Recurrent("GRU", 12), models.frames()))
    frames = np.random.default_rng(0).normal(size=(200, models.FEATURES)).astype(np.float32)
    return Maker(stream, [frames])


def float_weights(variant: Variant) -> set[str]:
    """Return the matrices that a variant's ONNX file holds in float32."""
    large = (tensor for tensor in variant.model.graph.initializer if sum(dim > 1 for dim in tensor.dims) > 1)
    return {
        tensor.name
        for tensor in large
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= storage.LEAST
    }


@pytest.mark.parametrize("name", STORAGE)
def test_at_first_all_are_rounded_then_ever_fewer(name: str, maker: Maker) -> None:
    made = [maker.make(name, share * GOAL) for share in (1.0, 0.9, 0.0)]
    for few, more in itertools.pairwise(made):
        assert set(few.kept) < set(more.kept)
    assert not made[0].kept
    assert [each.closest for each in made] == [False, False, True]
    for variant in made:
        assert float_weights(variant) >= set(variant.kept)
        told = [note for note in variant.notes if "stays float32: rounded alone it costs" in note]
        assert len(told) == len(variant.kept)
        for weight in variant.kept:
            assert sum(f"), '{weight}', stays float32: " in note for note in told) == 1
    program = maker.rounded(made[-1])
    np.testing.assert_equal([op.arrays for op in program.ops], [op.arrays for op in maker.lowered().ops])


@pytest.mark.parametrize("name", STORAGE)
def test_the_first_that_stays_is_the_one_that_costs_most(name: str, maker: Maker) -> None:
    maker.make(name, 0.5)
    costs = maker._costs[name]
    worst = max(costs._errors, key=lambda each: costs._errors[each])
    assert [*costs.kept(0.999)] == [worst]
    assert [*costs.kept(1.0)] == []
    left = [error for each, error in costs._errors.items() if each not in costs.kept(0.5)]
    assert np.linalg.norm(left) <= 0.5 * np.linalg.norm([*costs._errors.values()])


def test_bytes_are_told_as_they_stand_in_the_file(maker: Maker) -> None:
    variant = maker.make("float16", 0.5)
    sizes = {
        kind: sum(
            int(np.prod(tensor.dims))
            for tensor in variant.model.graph.initializer
            if tensor.data_type == kind
            and sum(dim > 1 for dim in tensor.dims) > 1
            and np.prod(tensor.dims) >= storage.LEAST
        )
        for kind in (TensorProto.FLOAT16, TensorProto.FLOAT)
    }
    half, whole = sizes.values()
    assert half
    assert whole
    assert (
        f"{half:,} of {half + whole:,} weights are stored as float16, in {2 * half:,} bytes; the others, in float32, "
        f"take {4 * whole:,}"
    ) in variant.notes[0]


@pytest.mark.long
def test_a_small_encoder_in_parts_keeps_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: Any = chained_models.made("two layers"), seq2seq_models.tokens()
    bundle = export.export(given, tmp_path / "b", variants=["float32", "float16"])
    proven = [(entry.variant, entry.backend) for entry in bundle.manifest.parity if entry.passed]
    assert proven == [(variant, on) for variant in ("float32", "float16") for on in ("ort", "litert", "native")]
    assert all(verdict.passed for verdict in verify.verify(bundle))
    assert "stays float32: rounded alone it costs" in bundle.manifest.origin.note
    for graph in ("encoder-1", "encoder-2", "encoder", "decoder"):
        files = [file for file in bundle.manifest.files if (file.graph, file.variant) == (graph, "float16")]
        assert len({file.weight_bytes for file in files}) == 1, "each format keeps the same"
        kinds = {tensor.data_type for tensor in onnx.load(bundle.path / f"{graph}.float16.onnx").graph.initializer}
        assert {TensorProto.FLOAT16, TensorProto.FLOAT} <= kinds
    monkeypatch.setattr(Costs, "kept", lambda *_: storage.NOTHING)
    with pytest.raises(export.ExportError, match="float16 on ort misses its tolerance"):
        export.export(given, tmp_path / "c", variants=["float32", "float16"])
