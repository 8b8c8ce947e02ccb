"""Encoder-decoders that take how long a padded source is: on a device, where nothing is padded, that is all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import packed_models as models
import pytest
import torch
from test_encoder_chain import kind

import edgeseq
import export
from export.encoder_decoder import encoder as encoders
from export.encoder_decoder import parity
from export.encoder_decoder.split import split
from export.errors import ExportError
from export.frontends import EncoderDecoder
from export.frontends import torch as frontend
from export.frontends.lengths import PADDING

EVERY = pytest.mark.parametrize("name", models.MODELS)
COUNTS = {"lstm, no mask", "heard"}
"""Where padding counts: attention without a mask sees it, convolutions see it behind the end."""
FEW = ("gru", "behind attention")
"""Where it does not: one packed alone, one with attention in its encoder."""


def original(name: str) -> EncoderDecoder:
    model = frontend.from_module(models.made(name), models.example(), "here", "")
    assert isinstance(model, EncoderDecoder)
    return model


def padded(module: torch.nn.Module, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Ask a module about a source as it was trained: in a batch with a longer one."""
    batch = torch.zeros(2, len(source) + PADDING, dtype=torch.int64)
    batch[0, : len(source)] = torch.from_numpy(source)
    batch[1] = torch.arange(batch.shape[1]) % 7 + 1
    lengths, targets = torch.tensor([len(source), batch.shape[1]]), torch.from_numpy(target)[None].expand(2, -1)
    with torch.no_grad():
        y: torch.Tensor = module(batch, lengths, targets)
    return y[0].numpy()


@EVERY
def test_its_encoder_is_cut_as_one_without_lengths(name: str) -> None:
    model = original(name)
    encoder = encoders.made(split(model.model, model.source, model.target), model.source)
    assert tuple(map(kind, encoder.parts)) == models.MODELS[name][1]
    assert [entry.name for entry in model.inputs] == ["source", "target"]
    assert "'lengths1' was taken to be the length of 'source': every frame of it counts" in model.notes
    assert (model.padded is None) == (name in COUNTS)
    assert any("padding behind its inputs counts" in note for note in model.notes) == (name in COUNTS)
    # No mask is left: nothing that crosses to the decoder, or is asked within, says what counts.
    for part in encoder.parts:
        assert not {"Less", "Range", "Where"} & {node.op_type for node in part.model.graph}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FEW else pytest.mark.long) for name in models.MODELS]
)
def test_it_is_the_model_on_a_padded_source(name: str, tmp_path: Path) -> None:
    module = models.made(name)
    bundle = export.export((module, models.example()), tmp_path / "b", variants=["float32"])
    assert [entry.backend for entry in bundle.manifest.parity] == ["ort", "litert", "native"]
    assert all(entry.passed and entry.steps > parity.parity.STEPS for entry in bundle.manifest.parity)
    model = edgeseq.load(bundle)
    for seed, length in enumerate((1, 2, 3, 9, 30)):
        rng = np.random.default_rng(seed)
        source, target = rng.integers(1, 13, length), rng.integers(0, 11, 6)
        with torch.no_grad():
            alone = module(torch.from_numpy(source)[None], torch.tensor([length]), torch.from_numpy(target)[None])[0]
        np.testing.assert_allclose(model.logits(source, target), alone.numpy(), rtol=0, atol=1e-4)
        if name not in COUNTS:
            np.testing.assert_allclose(model.logits(source, target), padded(module, source, target), rtol=0, atol=1e-4)


def test_the_proof_sees_padded_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model that gives something else beside padding, of long sources alone, is not what the export computes."""
    real = frontend.padded

    def off(*given: Any) -> Any:
        return [lambda x, run=run: [y + (x[0].size > 20) for y in run(x)] for run in real(*given) or ()]

    monkeypatch.setattr(frontend, "padded", off)
    with pytest.raises(ExportError, match="float32 on ort misses its tolerance"):
        export.export((models.made("gru"), models.example()), tmp_path / "b", variants=["float32"])


def test_the_target_may_be_packed_as_well(tmp_path: Path) -> None:
    source, lengths, target = models.example()
    module = models.made("", models.BothPacked)
    bundle = export.export((module, (source, target, lengths, torch.tensor([6]))), tmp_path / "b", variants=["float32"])
    note = bundle.manifest.origin.note
    assert "'lengths2' was taken to be the length of 'source'" in note
    assert "'lengths3' was taken to be the length of 'target'" in note
    assert [entry.backend for entry in bundle.manifest.parity] == ["ort", "litert", "native"]
    source, target = torch.arange(7)[None], torch.arange(5)[None]
    with torch.no_grad():
        expected = module(source, target, torch.tensor([7]), torch.tensor([5]))[0].numpy()
    given = edgeseq.load(bundle).logits(source[0].numpy(), target[0].numpy())
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("turned", [False, True])
def test_which_length_is_whose_is_found_out(turned: bool) -> None:  # noqa: FBT001
    source, _, target = models.example()
    module = models.made("", models.BothMasked)
    if turned:
        plain = module.forward
        module.forward = lambda s, t, first, second: plain(s, t, second, first)
    model = frontend.from_module(module, (source, target, torch.tensor([6]), torch.tensor([9])), "here", "")
    whose = {"lengths2": "source" if turned else "target", "lengths3": "target" if turned else "source"}
    assert isinstance(model, EncoderDecoder)
    assert model.padded is not None
    for name, of in whose.items():
        assert f"'{name}' was taken to be the length of '{of}': every frame of it counts" in model.notes


class Spoken(models.Packed):
    """The number beside the source is who speaks."""

    def __init__(self) -> None:
        super().__init__()
        self.who = torch.nn.Embedding(50, 12)

    def forward(self, source: torch.Tensor, who: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        memory, state = self.layer(self.words(source))
        return self.asked(memory + self.who(who)[:, None], state.reshape(1, 1, 12), target, source >= 0)


def test_a_number_that_is_no_length_is_not_taken_for_one(tmp_path: Path) -> None:
    source, _, target = models.example()
    module, who = models.made("", Spoken), torch.tensor([3], dtype=torch.int32)
    with pytest.raises(ExportError, match="is one number a sequence, but not the sequence's length"):
        export.export((module, (source, who, target)), tmp_path / "b", variants=["float32"])


class Near(models.Packed):
    """Attention that sees near rows alone, a band that is all there is of a short source; positions end somewhere."""

    def __init__(self, positions: int = 0) -> None:
        super().__init__()
        self.places = torch.nn.Embedding(positions, 12) if positions else None

    def encoded(self, source: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        memory, state = super().encoded(source, lengths)
        at = torch.arange(source.shape[1])
        memory = memory if self.places is None else memory + self.places(at)
        near = (at[:, None] - at[None]).abs() < BAND
        return memory + (memory @ memory.transpose(1, 2)).masked_fill(~near, 0.0) @ memory / BAND, state


BAND = 70


@pytest.mark.parametrize("positions", [0, 90])
def test_a_band_that_is_wider_than_most_sources_is_no_mask_of_lengths(positions: int) -> None:
    module = models.made("", lambda: Near(positions))
    model = frontend.from_module(module, models.example(), "here", "")
    assert isinstance(model, EncoderDecoder)
    halves = split(model.model, model.source, model.target)
    assert "Where" in {node.op_type for node in halves.encoder.graph}
    assert "Where" not in {node.op_type for node in halves.decoder.graph}, "the decoder's was one of lengths"


@pytest.mark.long
@pytest.mark.parametrize("name", ["gru", "two layers"])
def test_it_has_all_variants_on_all_backends(name: str, tmp_path: Path) -> None:
    variants = ["float32", "int8", "w8a16", "w8", "float16"]
    bundle = export.export((models.made(name), models.example()), tmp_path / "b", variants=variants)
    proven = [(entry.variant, entry.backend) for entry in bundle.manifest.parity]
    assert proven == [(variant, backend) for variant in variants for backend in ("ort", "litert", "native")]
    assert all(entry.passed for entry in bundle.manifest.parity)
