"""Encoder-decoders: split in two, stepped, generating as the original would."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chained_models
import numpy as np
import onnx
import pytest
import seq2seq_models as models
import torch
from test_exporter import resum
from torch import nn

import edgeseq
import export
from edgeseq import bundle as bundles
from edgeseq.bundle import GenerateTable
from edgeseq.errors import ModelError
from edgeseq.models.encoder_decoder import EncoderDecoder
from edgeseq.verification import verify
from export.about import About

START, STOP, LENGTH = 1, 5, 20
FLOAT = ["float32"]
GENERATES = About(generate=GenerateTable(start=START, stop=STOP, max_length=LENGTH))


class Positions(nn.Module):
    """nn.Transformer with learned positions on both sides; told: it is causal, and each layer makes its own mask."""

    def __init__(self, *, told: bool = False) -> None:
        super().__init__()
        self.told = told
        self.source, self.target = nn.Embedding(models.SOURCE_WORDS, 16), nn.Embedding(models.TARGET_WORDS, 16)
        self.places = nn.Embedding(64, 16)
        self.body = nn.Transformer(16, 2, 1, 2, 24, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, models.TARGET_WORDS)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        x, y = (
            table(given) + self.places(torch.arange(given.shape[1]))
            for table, given in ((self.source, source), (self.target, target))
        )
        mask = torch.full((target.shape[1], target.shape[1]), float("-inf")).triu(1)
        return self.head(self.body(x, y, tgt_mask=mask, tgt_is_causal=self.told))


MODELS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "gru": (models.Recurrent, ("forwards",)),
    "lstm": (lambda: models.Recurrent("LSTM"), ("forwards",)),
    "rnn with dot attention": (lambda: models.Recurrent("RNN", "dot"), ("forwards",)),
    "gru with dot attention": (lambda: models.Recurrent("GRU", "dot"), ("forwards",)),
    "lstm with additive attention": (lambda: models.Recurrent("LSTM", "additive"), ("forwards",)),
    **{name: chained_models.MODELS[name] for name in ("bridged", "backwards", "two layers", "behind attention")},
    "t5": (models.T5, ("whole",)),
    "transformer": (Positions, ("whole",)),
    "transformer, told": (lambda: Positions(told=True), ("whole",)),
}
"""Name -> how it is made, and the parts of its encoder."""
FEW = ("lstm with additive attention", "backwards", "two layers", "behind attention", "t5")
"""Encoders that run forwards, backwards too, one behind the other, and over the whole source."""


def made(name: str) -> nn.Module:
    torch.manual_seed(5)
    module: nn.Module = MODELS[name][0]()
    with torch.no_grad():  # far from even odds, as trained models are
        module.head.weight.mul_(4.0)
    return module.eval()


def kinds(bundle: bundles.Bundle) -> tuple[str, ...]:
    """Return how each part of a bundle's encoder goes through its source."""
    ways = {False: "forwards", True: "backwards"}
    return tuple("whole" if graph.whole else ways[graph.backwards] for graph in bundle.manifest.graphs[:-1])


def asked(module: nn.Module, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        y: torch.Tensor = module(torch.from_numpy(source)[None], torch.from_numpy(target)[None])
    return y[0].numpy()


def words(seed: int, length: int, among: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, among, length)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bundles.Bundle]:
    """Export a model by its name, once."""

    @functools.cache
    def exported(name: str) -> bundles.Bundle:
        return export.export(
            (made(name), models.tokens()), tmp_path_factory.mktemp("pair") / "b", about=GENERATES, variants=FLOAT
        )

    return exported


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[] if name in FEW else pytest.mark.long) for name in MODELS]
)
def pair(
    request: pytest.FixtureRequest, bundle_of: Callable[[str], bundles.Bundle]
) -> tuple[nn.Module, EncoderDecoder]:
    module, bundle = made(request.param), bundle_of(request.param)
    assert kinds(bundle) == MODELS[request.param][1]
    assert [entry.backend for entry in bundle.manifest.parity] == ["ort", "litert", "native"]
    assert all(entry.passed and entry.steps >= 10_000 for entry in bundle.manifest.parity)
    return module, edgeseq.load(bundle, backend="ort")


def test_both_steps_together_are_the_original(pair: tuple[nn.Module, EncoderDecoder]) -> None:
    module, model = pair
    for seed, (source_length, target_length) in enumerate([(9, 6), (1, 20), (30, 1), (30, 20), (2, 2)]):
        source = words(seed, source_length, models.SOURCE_WORDS)
        target = words(seed + 50, target_length, models.TARGET_WORDS)
        expected = asked(module, source, target)
        np.testing.assert_allclose(model.logits(source, target), expected, atol=2e-5 * max(1.0, np.abs(expected).max()))


def test_a_memory_is_forgotten_with_the_next(pair: tuple[nn.Module, EncoderDecoder]) -> None:
    _, model = pair
    first, second = words(1, 12, models.SOURCE_WORDS), words(2, 7, models.SOURCE_WORDS)
    target = words(3, 9, models.TARGET_WORDS)
    expected = model.logits(first, target)
    model.logits(second, target)
    np.testing.assert_array_equal(model.logits(first, target), expected)
    decoder = model.decoder(model.encode(first))
    steps = [decoder.step(target[:1]), *decoder.run(target[1:4, None]), *decoder.fork().run(target[:1, None])]
    np.testing.assert_array_equal(steps, np.concatenate([expected[:4], expected[:1]]))


def test_greedy_is_what_the_original_says_next(pair: tuple[nn.Module, EncoderDecoder]) -> None:
    module, model = pair
    for seed in range(4):
        source = words(seed, 8 + seed, models.SOURCE_WORDS)
        given: list[int] = []
        total = 0.0
        while len(given) < LENGTH and (not given or given[-1] != STOP):
            odds = log_softmax(asked(module, source, np.array([START, *given]))[-1])
            given.append(int(np.argmax(odds)))
            total += float(odds.max())
        found = model.generate(source)
        assert found.finished == (given[-1] == STOP)
        assert found.tokens == tuple(given[: -1 if found.finished else None])
        assert found.score == pytest.approx(total / len(given), abs=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_with_beams_enough_the_best_of_all_is_found(pair: tuple[nn.Module, EncoderDecoder], length: int) -> None:
    module, model = pair
    source = words(7, 8, models.SOURCE_WORDS)
    scores: dict[tuple[int, ...], float] = {}
    for tokens in itertools.product(range(models.TARGET_WORDS), repeat=length):
        whole = tokens[: tokens.index(STOP) + 1] if STOP in tokens else tokens
        if whole in scores:
            continue
        odds = asked(module, source, np.array([START, *whole[:-1]]))
        scores[whole] = float(np.mean([log_softmax(row)[token] for row, token in zip(odds, whole, strict=True)]))
    best = max(scores, key=lambda tokens: scores[tokens])
    found = model.generate(source, beams=models.TARGET_WORDS**length, max_length=length)
    assert (*found.tokens, *([STOP] if found.finished else [])) == best
    assert found.score == pytest.approx(scores[best], abs=1e-4)


def drawn(seed: int) -> nn.Module:
    """An encoder-decoder of random make."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    if seed % 4 == 3:
        heads = int(rng.integers(1, 4))
        return models.T5(width=8 * heads, heads=heads, layers=int(rng.integers(1, 4))).eval()
    cell, attention = str(rng.choice(["RNN", "GRU", "LSTM"])), str(rng.choice(["none", "dot", "additive"]))
    return models.Recurrent(cell, attention, int(rng.integers(3, 20))).eval()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_one_of_random_make_is_the_original(seed: int, tmp_path: Path) -> None:
    module = drawn(seed)
    model = edgeseq.load(export.export((module, models.tokens()), tmp_path / "b", about=GENERATES, variants=FLOAT))
    rng = np.random.default_rng(seed)
    for _ in range(4):
        source = words(seed, int(rng.integers(1, 40)), models.SOURCE_WORDS)
        target = words(seed + 1, int(rng.integers(1, LENGTH + 1)), models.TARGET_WORDS)
        expected = asked(module, source, target)
        np.testing.assert_allclose(model.logits(source, target), expected, atol=2e-5 * max(1.0, np.abs(expected).max()))


def test_frames_are_a_source_too(tmp_path: Path) -> None:
    module = models.Recurrent("GRU", "additive", features=5).eval()
    example = torch.zeros(1, 9, 5), torch.zeros(1, 6, dtype=torch.int64)
    model = edgeseq.load(export.export((module, example), tmp_path / "b", about=GENERATES, variants=FLOAT))
    source = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    target = words(0, 7, models.TARGET_WORDS)
    np.testing.assert_allclose(model.logits(source, target), asked(module, source, target), atol=1e-5)
    with pytest.raises(ModelError, match="NaN or infinity"):
        model.encode(np.full((3, 5), np.nan, np.float32))
    with pytest.raises(ModelError, match=r"shape \(T, 5\)"):
        model.encode(source[:, :4])


def test_an_onnx_file_with_scrambled_names_is_split_as_well(tmp_path: Path) -> None:
    module = made("gru with dot attention")
    torch.onnx.export(
        module, models.tokens(), str(tmp_path / "m.onnx"), dynamo=False, opset_version=17, input_names=["s", "t"],
        dynamic_axes={"s": {1: "source"}, "t": {1: "target"}},
    )  # fmt: skip
    model = onnx.load(tmp_path / "m.onnx")
    names = {name for node in model.graph.node for name in (*node.input, *node.output) if name}
    new = {name: f"q{place}" for place, name in enumerate(sorted(names))}
    for node in model.graph.node:
        node.name = ""
        for side in (node.input, node.output):
            side[:] = [new.get(name, name) for name in side]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = new.get(value.name, value.name)
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "m.onnx")
    loaded = edgeseq.load(export.export(tmp_path / "m.onnx", tmp_path / "b", about=GENERATES, variants=FLOAT))
    source, target = words(0, 11, models.SOURCE_WORDS), words(1, 8, models.TARGET_WORDS)
    np.testing.assert_allclose(loaded.logits(source, target), asked(module, source, target), atol=1e-4)


@pytest.fixture
def small(bundle_of: Callable[[str], bundles.Bundle]) -> bundles.Bundle:
    return bundle_of("t5")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"beams": 0}, "at least 1"),
        ({"max_length": 0}, "at least 1"),
        ({"max_length": LENGTH + 1}, f"made for {LENGTH} steps"),
        ({"start": models.SOURCE_WORDS}, "no token 13"),
        ({"start": -1}, "no token -1"),
    ],
)
def test_what_cannot_be_generated_is_refused(small: bundles.Bundle, options: dict[str, int], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        edgeseq.load(small).generate(np.arange(5), **options)


@pytest.mark.parametrize(
    ("source", "reason"),
    [([], "T at least 1"), ([-1], "no token -1"), ([models.SOURCE_WORDS], "no token 13"), ([[1, 2]], r"\(T, 1\)")],
)
def test_a_source_that_there_is_not_is_refused(small: bundles.Bundle, source: list[Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        edgeseq.load(small).encode(np.array(source, np.int64))


def test_no_single_step_is_loaded_of_it(small: bundles.Bundle) -> None:
    from edgeseq import backends  # noqa: PLC0415 - only here

    with pytest.raises(ModelError, match="encoder and a decoder"):
        backends.load(small)


@pytest.mark.parametrize("what", ["outputs", "greedy"])
def test_verify_fails_where_the_goldens_say_otherwise(small: bundles.Bundle, what: str, tmp_path: Path) -> None:
    assert [verdict.passed for verdict in verify.verify(small)] == [True] * 3
    copy = tmp_path / "b"
    copy.mkdir()
    for file in small.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    with np.load(copy / "parity.npz") as file:
        arrays = dict(file)
    assert (arrays["greedy"] >= 0).any()
    if what == "outputs":
        arrays["outputs"][3, 2] += 0.01
    else:
        arrays["greedy"][0, 0] = (arrays["greedy"][0, 0] + 1) % models.TARGET_WORDS
    np.savez(copy / "parity.npz", **arrays)
    resum(copy)
    assert [verdict.passed for verdict in verify.verify(bundles.read(copy))] == [False] * 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"variants": ["int9"]}, "no variant 'int9'"),
        ({"window": 5}, "--window cannot be used for an encoder-decoder"),
        ({"about": About(generate=GenerateTable(start=99))}, r"start = 99 is none of the target's tokens, 0 to 10"),
        ({"about": About(generate=GenerateTable(start=1, max_length=0))}, "at least 1"),
    ],
)
def test_what_an_encoder_decoder_has_no_use_for_is_refused(
    options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(export.ExportError, match=reason):
        export.export((made("gru"), models.tokens()), tmp_path / "b", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_that_sees_its_future_is_refused(tmp_path: Path) -> None:
    module = Positions()
    module.body.forward = lambda x, y, tgt_mask, **_: nn.Transformer.forward(module.body, x, y)  # noqa: ARG005
    with pytest.raises(export.ExportError, match=r"node '.*' \(Softmax\).*attention over the future"):
        export.export((module, models.tokens()), tmp_path / "b", about=GENERATES, variants=FLOAT)


class Sines(nn.Module):
    """Positions as sines, for as many steps as one likes."""

    def forward(self, at: torch.Tensor) -> torch.Tensor:
        return torch.sin(at[:, None].to(torch.get_default_dtype()) * torch.linspace(0.1, 1.0, 16))


class Endless(Positions):
    """Its positions have no end."""

    def __init__(self) -> None:
        super().__init__(told=True)
        self.places = Sines()  # type: ignore[assignment]


@pytest.mark.long
def test_a_target_without_an_end_needs_one(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match="Say how many steps a target has at most with --max-steps"):
        export.export((Endless().eval(), models.tokens()), tmp_path / "b", variants=FLOAT)
    bundle = export.export((Endless().eval(), models.tokens()), tmp_path / "b", max_steps=30, variants=FLOAT)
    assert bundle.graph("decoder").max_steps == 30


def test_without_a_generate_table_the_caller_says_start_and_end(tmp_path: Path) -> None:
    bundle = export.export((made("gru"), models.tokens()), tmp_path / "b", variants=FLOAT)
    model = edgeseq.load(bundle)
    with pytest.raises(ModelError, match=r"no \[generate\] table"):
        model.generate(np.arange(5))
    assert math.isfinite(model.generate(np.arange(5), start=START, max_length=4).score)


def test_the_documentation_tells_it_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "modeller.md").read_text("utf-8").partition("## Encoder-decoders")[2]
    about, code = (re.search(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("toml", "python"))
    assert about is not None
    assert code is not None
    monkeypatch.chdir(tmp_path)
    Path("about.toml").write_text(about[1])
    export.export((made("gru"), models.tokens()), "my.bundle", about="about.toml")
    space = {"edgeseq": edgeseq, "source": words(0, 9, models.SOURCE_WORDS), "target": words(1, 6, models.TARGET_WORDS)}
    exec(compile(code[1], "docs/modeller.md", "exec"), space)  # noqa: S102 - the very code that readers copy
    assert space["logits"].shape == (6, models.TARGET_WORDS)
