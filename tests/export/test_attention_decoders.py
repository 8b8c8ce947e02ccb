"""Decoders that are loops over the target and ask the memory at every step, however the loop is written."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import seq2seq_models as models
import torch
from renamed import renamed
from torch import Tensor, nn

import edgeseq
import export
from edgeseq import bundle as bundles
from edgeseq.bundle import GenerateTable
from edgeseq.models.encoder_decoder import EncoderDecoder
from export.about import About
from export.frontends import torch as frontend
from export.frontends import torch_export

pytestmark = pytest.mark.long

START, STOP, LENGTH, FEATURES = 1, 5, 20, 5
FLOAT = ["float32"]
GENERATES = About(generate=GenerateTable(start=START, stop=STOP, max_length=LENGTH))
MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "gru, additive": ({}, 1),
    "gru, additive, spread": ({"spread": True}, 1),
    "lstm, dot": ({"cell": "LSTM", "attention": "dot"}, 1),
    "frames, dot": ({"attention": "dot", "features": FEATURES}, 1),
    "lstm, both directions": ({"cell": "LSTM", "both": True}, 2),
    "gru, fed": ({"attention": "dot", "fed": True}, 1),
    "lstm, fed": ({"cell": "LSTM", "fed": True}, 1),
}
"""Name -> what it is made of, and how many steps its encoder is."""


def sharpened(module: nn.Module) -> nn.Module:
    head: Any = module.head
    with torch.no_grad():  # far from even odds, as trained models are
        head.weight.mul_(4.0)
    return module.eval()


def made(**options: Any) -> nn.Module:
    torch.manual_seed(7)
    return sharpened(models.Attending(**options))


def example(features: int = 0) -> tuple[Tensor, Tensor]:
    source, target = models.tokens()
    return torch.zeros(1, 9, features) if features else source, target


def asked(module: nn.Module, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        y: Tensor = module(torch.from_numpy(source)[None], torch.from_numpy(target)[None])
    return y[0].numpy()


def drawn(seed: int, length: int, features: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if features:
        return rng.normal(size=(length, features)).astype(np.float32)
    return rng.integers(0, models.SOURCE_WORDS, length)


def equals(model: EncoderDecoder, module: nn.Module, features: int = 0) -> None:
    """Hold the steps against the module at several lengths, and what is generated against what it says next."""
    for seed, (reads, writes) in enumerate([(9, 6), (1, 1), (2, 30), (40, 3)]):
        source = drawn(seed, reads, features)
        target = np.random.default_rng(seed).integers(0, models.TARGET_WORDS, writes)
        np.testing.assert_allclose(model.logits(source, target), asked(module, source, target), atol=1e-5)
        given: list[int] = []
        while len(given) < LENGTH and (not given or given[-1] != STOP):
            given.append(int(np.argmax(asked(module, source, np.array([START, *given]))[-1])))
        found = model.generate(source)
        assert found.finished == (given[-1] == STOP)
        assert found.tokens == tuple(given[: -1 if found.finished else None])


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bundles.Bundle]:
    """Export a model by its name, once."""

    @functools.cache
    def exported(name: str) -> bundles.Bundle:
        options, _ = MODELS[name]
        given = made(**options), example(options.get("features", 0))
        return export.export(given, tmp_path_factory.mktemp("loop") / "b", about=GENERATES, variants=FLOAT)

    return exported


@pytest.mark.parametrize("name", MODELS)
def test_a_loop_over_the_target_is_a_decoder(name: str, bundle_of: Callable[[str], bundles.Bundle]) -> None:
    options, count = MODELS[name]
    module, features, bundle = made(**options), options.get("features", 0), bundle_of(name)
    assert "1 loops over time rolled again" in bundle.manifest.origin.note
    assert [graph.whole for graph in bundle.manifest.graphs[:-1]] == [False] * count
    equals(edgeseq.load(bundle), module, features)


def test_the_state_is_handed_on_and_not_what_it_asks_for(bundle_of: Callable[[str], bundles.Bundle]) -> None:
    bundle = bundle_of("gru, additive")
    (state,) = bundle.graph("decoder").states
    assert state.held is not None
    assert len(bundle.graph("decoder").held) == 3  # what is asked, its keys, and the first state


def test_the_newer_exporter_writes_it_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = torch_export._export

    def newer(*given: Any, dynamo: bool, **options: Any) -> onnx.ModelProto:
        if not dynamo:
            raise export.ExportError("not this one")
        return older(*given, dynamo=dynamo, **options)

    monkeypatch.setattr(torch_export, "_export", newer)
    module = made(cell="LSTM")
    bundle = export.export((module, example()), tmp_path / "b", about=GENERATES, variants=FLOAT)
    assert "dynamo=True" in bundle.manifest.origin.note
    equals(edgeseq.load(bundle), module)


def test_a_scan_that_reads_the_memory_is_a_decoder(tmp_path: Path) -> None:
    module = made()
    model = frontend.from_module(module, example(), "here", "").model
    assert sum(node.op_type == "Scan" for node in model.graph.node) == 1
    for dim in (1, "time", models.TARGET_WORDS):
        added = model.graph.output[0].type.tensor_type.shape.dim.add()
        setattr(added, "dim_param" if dim == "time" else "dim_value", dim)
    onnx.save(renamed(model, 3, kept=["source", "target"]), tmp_path / "m.onnx")
    equals(edgeseq.load(export.export(tmp_path / "m.onnx", tmp_path / "b", about=GENERATES, variants=FLOAT)), module)


@torch.jit.script
def scripted(x: Tensor, h: Tensor, memory: Tensor, weights: list[Tensor]) -> Tensor:
    ask, score, recurrence = weights[0], weights[1], weights[2]
    rows: list[Tensor] = []
    for t in range(x.shape[1]):
        scores = (torch.tanh((h @ ask).unsqueeze(1) + memory) @ score).squeeze(-1)
        context = (torch.softmax(scores, -1).unsqueeze(1) @ memory).squeeze(1)
        h = torch.tanh(torch.cat([x[:, t], context, h], -1) @ recurrence)
        rows.append(h)
    return torch.stack(rows, 1)


class Scripted(models.Recurrent):
    """Its loop is TorchScript, which stays a loop."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        shapes = (hidden, hidden), (hidden, 1), (8 + 2 * hidden, hidden)
        self.weights = nn.ParameterList(0.4 * torch.randn(*shape) for shape in shapes)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoder(self.words(source))
        y: Tensor = self.head(scripted(self.embed(target), state[0], memory, list(self.weights)))
        return y


def test_a_scripted_loop_is_a_decoder(tmp_path: Path) -> None:
    torch.manual_seed(7)
    module = sharpened(Scripted())
    bundle = export.export((module, example()), tmp_path / "b", about=GENERATES, variants=FLOAT)
    assert not bundle.graph("encoder").whole
    equals(edgeseq.load(bundle), module)


def test_a_state_as_long_as_the_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=r"\(Scan\): what it carries is as long as the source"):
        export.export((made(counting=True), example()), tmp_path / "b", variants=FLOAT)
    assert list(tmp_path.iterdir()) == []


class Backwards(models.Attending):
    """Its loop goes from the target's end to its beginning."""

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return super().forward(source, target.flip(1)).flip(1)


def test_a_loop_from_the_targets_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match="it takes every n-th time step, or goes backwards"):
        export.export((Backwards().eval(), example()), tmp_path / "b", variants=FLOAT)


def test_what_is_asked_of_is_the_bundles(bundle_of: Callable[[str], bundles.Bundle]) -> None:
    bundle = bundle_of("gru, additive, spread")
    assert {held.dtype for held in bundles.read(bundle.path).graph("decoder").held} == {"float32"}


class Layer(models.Attending):
    """Its cell is a layer that is run over one step; masked: it looks at no source word 0."""

    def __init__(self, *, masked: bool) -> None:
        super().__init__()
        self.cell, self.masked = nn.GRU(20, 12, batch_first=True), masked

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoder(self.words(source))
        rows = []
        for t in range(target.shape[1]):
            scores = self.score(torch.tanh(self.ask(state.transpose(0, 1)) + self.key(memory))).transpose(1, 2)
            scores = scores.masked_fill((source == 0)[:, None], -1e9) if self.masked else scores
            x = torch.cat([self.embed(target[:, t, None]), torch.softmax(scores, dim=-1) @ memory], dim=-1)
            y, state = self.cell(x, state)
            rows.append(self.head(y))
        return torch.cat(rows, dim=1)


@pytest.mark.parametrize("masked", [False, True])
def test_a_layer_run_over_one_step_is_a_cell(masked: bool, tmp_path: Path) -> None:  # noqa: FBT001
    torch.manual_seed(7)
    module = sharpened(Layer(masked=masked))
    equals(edgeseq.load(export.export((module, example()), tmp_path / "b", about=GENERATES, variants=FLOAT)), module)
