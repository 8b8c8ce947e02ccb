"""Encoders that go through their whole source, cut into parts: what the cut promises."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import chained_models as models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import seq2seq_models
import torch
from chained_models import BACKWARDS, FORWARDS, WHOLE
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import edgeseq
import edgeseq.models.encoder
import export
from edgeseq.bundle import Graph
from edgeseq.errors import ModelError
from edgeseq.models.encoder import turned
from export.encoder_decoder import directions, parity
from export.encoder_decoder import encoder as encoders
from export.encoder_decoder.part import Part
from export.encoder_decoder.split import split
from export.frontends import EncoderDecoder
from export.frontends import torch as frontend
from export.graph import StreamGraph, session

EVERY = pytest.mark.parametrize("name", models.MODELS)


@functools.cache
def original(name: str) -> EncoderDecoder:
    model = frontend.from_module(models.made(name), seq2seq_models.tokens(), "here", "")
    assert isinstance(model, EncoderDecoder)
    return model


def cut(name: str) -> tuple[encoders.Encoder, list[Graph]]:
    model = original(name)
    encoder = encoders.made(split(model.model, model.source, model.target), model.source)
    return encoder, encoder.describe(model.source)


def kind(part: Part) -> str:
    return WHOLE if part.whole else BACKWARDS if part.backwards else FORWARDS


@EVERY
def test_there_are_no_more_parts_than_the_source_has_to_be_gone_through(name: str) -> None:
    encoder, graphs = cut(name)
    assert tuple(map(kind, encoder.parts)) == models.MODELS[name][1]
    assert [graph.name for graph in graphs] == [*(f"encoder-{k + 1}" for k in range(len(graphs) - 1)), "encoder"]
    assert (f"in {len(graphs)} parts" if len(graphs) > 1 else "goes through the source backwards") in encoder.notes[0]


@EVERY
def test_what_is_given_is_read_and_comes_from_before(name: str) -> None:
    encoder, graphs = cut(name)
    given: set[tuple[str, str]] = set()
    read: set[tuple[str | None, str | None]] = set()
    for graph in graphs:
        taken = {(entry.part, entry.output) for entry in (*graph.inputs, *graph.held) if entry.part is not None}
        assert taken <= given
        read |= taken
        given |= {(graph.name, tensor.name) for tensor in graph.outputs}
    memory = {
        (part.name, tensor.name)
        for part, graph in zip(encoder.parts, graphs, strict=True)
        for tensor, name in zip(graph.outputs, part.gives, strict=True)
        if name in encoder.memory
    }
    assert given == read | memory


@EVERY
def test_no_weight_is_in_two_parts(name: str) -> None:
    encoder, _ = cut(name)
    seen: dict[bytes, str] = {}
    for part in encoder.parts:
        arrays = [value.const_value.numpy() for value in part.model.graph.initializers.values() if value.const_value]
        for array in arrays:
            if array.dtype == np.float32 and len(np.unique(array)) > 2:
                assert seen.setdefault(array.tobytes(), part.name) == part.name
    assert len(seen) >= 3


@EVERY
def test_a_model_is_cut_in_one_way(name: str) -> None:
    assert cut(name)[1] == cut(name)[1]


def test_what_is_wrong_of_short_sources_alone_is_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = models.made("backwards"), seq2seq_models.tokens()
    real = edgeseq.models.encoder.turned
    monkeypatch.setattr(edgeseq.models.encoder, "turned", lambda rows: rows if len(rows) == 2 else real(rows))
    with pytest.raises(export.ExportError, match="float32 on ort misses its tolerance"):
        export.export(given, tmp_path / "b", variants=["float32"])
    monkeypatch.setattr(parity, "SHORT", (1, 3, 7))
    export.export(given, tmp_path / "b", variants=["float32"])


CELLS = {"RNN": 1, "GRU": 3, "LSTM": 4}


def both_ways(op_type: str, hidden: int, seed: int, *, activations: bool, begun: bool, first: bool) -> onnx.ModelProto:
    """Give a bidirectional op alone; begun: from states of its own. first: its last states alone are read."""
    rng, gates, states = np.random.default_rng(seed), CELLS[op_type], "hc" if op_type == "LSTM" else "h"
    arrays = {
        "w": rng.normal(size=(2, gates * hidden, 4)), "r": rng.normal(size=(2, gates * hidden, hidden)),
        "b": rng.normal(size=(2, 2 * gates * hidden)),
        **({f"{letter}0": rng.normal(size=(2, 1, hidden)) for letter in states} if begun else {}),
    }  # fmt: skip
    inputs = ["x", "w", "r", "b", "", *(f"{letter}0" for letter in states if begun)]
    outputs = ["" if first else "y", *states]
    kinds = {"RNN": ["Tanh", "Relu"], "GRU": ["Sigmoid", "Tanh"] * 2, "LSTM": ["Sigmoid", "Tanh", "Tanh"] * 2}
    extra = {"activations": kinds[op_type]} if activations else {}
    extra |= {"linear_before_reset": 1} if op_type == "GRU" else {}
    node = helper.make_node(op_type, inputs, outputs, "both", hidden_size=hidden, direction="bidirectional", **extra)
    shapes = {"y": ["time", 2, 1, hidden], "h": [2, 1, hidden], "c": [2, 1, hidden]}
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("x", TensorProto.FLOAT, ["time", 1, 4])],
        [value(name, TensorProto.FLOAT, shapes[name]) for name in outputs if name],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@given(
    op_type=st.sampled_from(sorted(CELLS)), hidden=st.integers(1, 5), seed=st.integers(0, 99), length=st.integers(1, 9),
    activations=st.booleans(), begun=st.booleans(), first=st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_two_ops_one_way_each_are_one_that_goes_both_and_turning_round_is_going_back(
    *, op_type: str, hidden: int, seed: int, length: int, activations: bool, begun: bool, first: bool
) -> None:
    model = both_ways(op_type, hidden, seed, activations=activations, begun=begun, first=first)
    stream = StreamGraph(ir.from_proto(model), ())
    assert directions.apart(stream)
    apart = ir.to_proto(stream.model)
    assert [node.op_type for node in apart.graph.node if node.op_type == op_type] == [op_type] * 2
    x = np.random.default_rng(seed).normal(size=(length, 1, 4)).astype(np.float32)
    expected, found = (session(each).run(None, {"x": x}) for each in (model, apart))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    directions.turn(stream.model)
    both_forwards = session(ir.to_proto(stream.model))
    backwards = both_forwards.run(None, {"x": turned(x)})
    for one, other in zip(expected, backwards, strict=True):
        axis, turn = (1, turned(other)) if other.ndim == 4 else (0, other)
        np.testing.assert_allclose(np.take(one, 1, axis), np.take(turn, 1, axis), rtol=0, atol=1e-5)


@given(length=st.integers(1, 50), width=st.integers(1, 4), seed=st.integers(0, 9))
def test_rows_that_are_turned_twice_are_as_they_were(length: int, width: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(length, width)).astype(np.float32)
    np.testing.assert_array_equal(turned(turned(rows)), rows)
    np.testing.assert_array_equal(turned(rows)[0], rows[-1])


def test_what_takes_pairs_runs_once_and_a_source_without_one_is_too_short(tmp_path: Path) -> None:
    module = models.made("", models.Halved)
    bundle = export.export((module, seq2seq_models.tokens()), tmp_path / "b", variants=["float32", "int8"])
    note = bundle.manifest.origin.note
    assert "int8: encoder-3 computes in float32, 0 MACs: node '/Slice' (Slice): what it computes hangs on how" in note
    assert "sources of 1, 2, 3 frames are no part of the proof: they are, or may be, too short for the model" in note
    model = edgeseq.load(bundle, variant="float32")
    assert [graph.name for graph in bundle.manifest.graphs if graph.whole] == ["encoder-3"]
    target = np.arange(5)
    for length in (2, 3, 8):
        with torch.no_grad():
            expected = module(torch.arange(length)[None], torch.from_numpy(target)[None])[0].numpy()
        np.testing.assert_allclose(model.logits(np.arange(length), target), expected, rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match="too short: encoder-4 gives nothing for it"):
        model.logits([3], target)


def with_lengths(model: onnx.ModelProto, *, counted: bool) -> onnx.ModelProto:
    """Give a recurrent op its sequence's length: that of all it reads, or, counted, of words other than 0."""
    node = next(node for node in model.graph.node if node.op_type == "GRU")
    at = list(model.graph.node).index(node)
    arrays = {"first": np.array([0]), "axis": np.array([1]), "one": np.array([1])}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    found = [
        helper.make_node("Shape", [node.input[0]], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["length"]),
    ]
    if counted:
        found = [
            helper.make_node("Sign", ["s"], ["words"]),
            helper.make_node("ReduceSum", ["words", "axis"], ["sum"], keepdims=0),
            helper.make_node("Max", ["sum", "one"], ["length"]),
        ]
    for place, new in enumerate([*found, helper.make_node("Cast", ["length"], ["lens"], to=TensorProto.INT32)]):
        model.graph.node.insert(at + place, new)
    node.input[4] = "lens"
    return model


def in_onnx(path: Path, *, counted: bool) -> nn.Module:
    """Write a bidirectional one that reads lengths, and return the module that it was without them."""
    module = models.made("backwards")
    torch.onnx.export(
        module, seq2seq_models.tokens(), str(path), dynamo=False, opset_version=17,
        input_names=["s", "t"], dynamic_axes={"s": {1: "source"}, "t": {1: "target"}},
    )  # fmt: skip
    onnx.save(with_lengths(onnx.load(path), counted=counted), path)
    return module


def asked(module: nn.Module, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        y: torch.Tensor = module(torch.from_numpy(source)[None], torch.from_numpy(target)[None])
    return y[0].numpy()


def test_what_has_no_form_even_so_stays_a_whole_and_is_told(tmp_path: Path) -> None:
    module = in_onnx(tmp_path / "m.onnx", counted=True)
    bundle = export.export(tmp_path / "m.onnx", tmp_path / "b", variants=["float32"])
    assert [(graph.name, graph.whole) for graph in bundle.manifest.graphs] == [("encoder", True), ("decoder", False)]
    assert [entry.backend for entry in bundle.manifest.parity] == ["ort"]
    note = bundle.manifest.origin.note
    assert "the encoder runs once over the whole source, since it is no step: " in note
    assert "(GRU): how much of the source it goes through hangs on what the source holds" in note
    assert "Take the length as an input of the model" in note
    for left_out in ("TFLite", "native"):
        assert f"{left_out} was left out of float32: encoder: node " in note
    assert "(GRU): its sequence lengths are not constants" in note
    source, target = 1 + np.arange(9), np.arange(5)
    expected = asked(module, source, target)
    np.testing.assert_allclose(edgeseq.load(bundle).logits(source, target), expected, rtol=0, atol=1e-5)


def test_a_length_that_is_that_of_the_source_says_nothing(tmp_path: Path) -> None:
    module = in_onnx(tmp_path / "m.onnx", counted=False)
    bundle = export.export(tmp_path / "m.onnx", tmp_path / "b", variants=["float32"])
    assert [(graph.name, graph.whole) for graph in bundle.manifest.graphs[:-1]] == [
        ("encoder-1", False),
        ("encoder", False),
    ]
    assert [entry.backend for entry in bundle.manifest.parity] == ["ort", "litert", "native"]
    source, target = np.arange(9) % 13, np.arange(5)
    given, expected = edgeseq.load(bundle).logits(source, target), asked(module, source, target)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5)


@torch.jit.script
def until_full(x: Tensor, h: Tensor, weights: Tensor) -> Tensor:
    t = 0
    while t < x.shape[1] and bool(h.sum() < 2.0):
        h = torch.tanh(torch.cat([x[:, t], h], -1) @ weights)
        t += 1
    return h


@torch.jit.script
def over_all(x: Tensor, h: Tensor, weights: Tensor) -> Tensor:
    for t in range(x.shape[1]):
        h = torch.where(h.sum() < 2.0, torch.tanh(torch.cat([x[:, t], h], -1) @ weights), h)
    return h


class Until(models.Chained):
    """Its encoder reads on until its state is full: the loop ends there, or goes on and leaves the state alone."""

    def __init__(self, loop: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__("none")
        self.loop, self.weights = loop, nn.Parameter(0.4 * torch.randn(20, 12))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        h = self.loop(self.words(source), torch.zeros(1, 12), self.weights)
        return self.decoded(h, h[None], target)


def test_a_loop_that_ends_on_the_data_is_told_what_would_stream_and_that_does(tmp_path: Path) -> None:
    given = [
        (models.made("", lambda loop=loop: Until(loop)), seq2seq_models.tokens()) for loop in (until_full, over_all)
    ]
    ending, going = (
        export.export(pair, tmp_path / f"b{place}", variants=["float32"]) for place, pair in enumerate(given)
    )
    assert "(Loop): how many rounds it makes depends on the data" in ending.manifest.origin.note
    assert (
        "Let it run over all frames, and where it would have ended keep what it carries" in ending.manifest.origin.note
    )
    assert [entry.backend for entry in ending.manifest.parity] == ["ort"]
    assert [entry.backend for entry in going.manifest.parity] == ["ort", "litert", "native"]
    source, target = np.arange(9) % 13, np.arange(5)
    one, other = (edgeseq.load(bundle).logits(source, target) for bundle in (ending, going))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
