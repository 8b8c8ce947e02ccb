"""int8 and w8a16 of encoder-decoders: Programs for sources of any length, their files, and whole bundles."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chained_models
import msgspec
import numpy as np
import onnx_ir as ir
import op_by_op
import packed_models
import pytest
import seq2seq_models as models
import test_attention_decoders as loops
import test_encoder_decoder as layers
import torch
from test_exporter import resum
from test_storage import spoil
from torch import nn

import edgeseq
import export
from edgeseq import bundle as bundles
from edgeseq import cli
from edgeseq.backends._file_step import entries
from edgeseq.backends.ort import OrtStep
from edgeseq.models.encoder import Encoder as RuntimeEncoder
from edgeseq.models.encoder_decoder import EncoderDecoder
from edgeseq.verification import goldens, verify
from export import macs, variants
from export.encoder_decoder import encoder as encoders
from export.encoder_decoder import exporter
from export.encoder_decoder.calibration import Calibration, drawn
from export.encoder_decoder.encoder import Encoder
from export.encoder_decoder.goldens import whole
from export.encoder_decoder.pairs import Graphs
from export.encoder_decoder.split import Halves, split
from export.frontends import EncoderDecoder as Original
from export.frontends import torch as frontend
from export.graph import StreamGraph, session
from export.lowering import lower
from export.operations import float_step, initial_state, joined
from export.parity import QUANTIZED_BOUNDS
from export.program import Array, Growing, Program
from export.quantize.calibrate import Batch, calibrate
from export.quantize.integers import quantize
from export.quantize.step import ReferenceStep, described
from export.writers import onnx as writer

pytestmark = pytest.mark.long

VARIANTS = ("float32", "int8", "w8a16")
LONGEST, TARGET, STEPS = 24, 16, 20
"""Lengths of the calibration's longest sources and of its targets; steps that one may make."""
OTHERS = (3, 17, 41, 1)
"""Lengths of sources: two that are not among the calibration's, one beyond them all, and the shortest."""


def small() -> nn.Module:
    torch.manual_seed(5)
    return loops.sharpened(models.T5(width=8, layers=1))


def layered(name: str) -> tuple[nn.Module, Any]:
    return layers.made(name), models.tokens()


def chained(name: str) -> tuple[nn.Module, Any]:
    return chained_models.made(name), models.tokens()


LAYERED = ("gru", "lstm", "rnn with dot attention", "lstm with additive attention", "transformer")
FAMILIES: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    **{name: functools.partial(layered, name) for name in LAYERED},
    "t5": lambda: (small(), models.tokens()),
    "loop, additive": lambda: (loops.made(spread=True), loops.example()),
    "loop, dot": lambda: (loops.made(cell="LSTM", attention="dot"), loops.example()),
    "loop, frames": lambda: (loops.made(attention="dot", features=5), loops.example(5)),
    "loop, fed": lambda: (loops.made(attention="dot", fed=True), loops.example()),
    "loop, masked": lambda: (loops.sharpened(loops.Layer(masked=True)), loops.example()),
    **{name: functools.partial(chained, name) for name in chained_models.MODELS},
    "packed": lambda: (packed_models.made("two layers"), packed_models.example()),
    "frames backwards": lambda: (
        chained_models.made("", lambda: chained_models.Backwards(features=5)),
        loops.example(5),
    ),
}


@dataclass(frozen=True, eq=False)
class Family:
    """A model, its graphs (the encoder's parts, the decoder), and for each the float Program and its calibration."""

    model: Original
    halves: Halves
    encoder: Encoder
    graphs: Graphs
    streams: tuple[StreamGraph, ...]
    floats: tuple[Program, ...]
    batches: tuple[list[Batch], ...]

    @functools.cache  # noqa: B019 - families live as long as the tests
    def programs(self, variant: str) -> tuple[Program, ...]:
        """Quantize all, every part of them."""
        return tuple(
            quantize(program, calibrate(program, batches), variant)
            for program, batches in zip(self.floats, self.batches, strict=True)
        )

    @functools.cache  # noqa: B019 - as above
    def given(self, length: int) -> dict[str, Array]:
        """Return all that a source's float parts take and give: [1, *shape]."""
        source = self.model.source.noise(length, 7)
        names = [str(value.name) for value in self.encoder.model.graph.outputs]
        found = session(ir.to_proto(self.encoder.model)).run(None, {self.model.source.name: source})
        return {self.model.source.name: source[None], **{n: v[None] for n, v in zip(names, found, strict=True)}}

    def memory(self, length: int) -> dict[str, Array]:
        """Return what the decoder holds of a source."""
        given = self.given(length)
        return {held.name: given[name] for held, name in zip(self.halves.memory, self.encoder.memory, strict=True)}

    def taken(self, place: int, length: int) -> tuple[Array, dict[str, Array]]:
        """Return a part's frames for a source, float32[T, width], and what it holds."""
        part, given = self.encoder.parts[place], self.given(length)
        columns = [np.moveaxis(given[e.name][0], e.time_axis, 0).reshape(-1, e.features) for e in part.stream.frames]
        rows = np.concatenate(columns, axis=1).astype(np.float32) if columns else np.empty((1, 0), np.float32)
        rows = rows[: len(rows) // part.stream.frames_per_step * part.stream.frames_per_step]
        return rows[:: -1 if part.backwards else 1], {name: given[name] for name in part.stream.held}

    def target(self, length: int) -> Array:
        return self.model.target.noise(length, 5).reshape(length, -1).astype(np.float32)

    def source(self, length: int) -> Array:
        given = self.model.source.noise(length, 7)
        return np.moveaxis(given, self.model.source.time_axis, 0).reshape(length, -1).astype(np.float32)


@functools.cache
def family(name: str) -> Family:
    torch.manual_seed(7)
    model = frontend.from_module(*FAMILIES[name](), "here", "")
    assert isinstance(model, Original)
    halves = split(model.model, model.source, model.target)
    encoder, decoder = encoders.made(halves, model.source), exporter._decoder(halves, model.target, STEPS)
    streams = (*(part.stream for part in encoder.parts), decoder)
    calibration = Calibration(model, encoder, drawn(model, LONGEST, TARGET))
    taken = {held.name: name for held, name in zip(halves.memory, encoder.memory, strict=True)}
    return Family(
        model, halves, encoder, exporter.describe(encoder, decoder, halves, model.source), streams,
        tuple(map(lower, streams)), (*map(calibration.of, encoder.parts), calibration.targets(taken)),
    )  # fmt: skip


EVERY = pytest.mark.parametrize("name", FAMILIES)
BOTH = pytest.mark.parametrize("variant", ["int8", "w8a16"])


# ---- Programs


@EVERY
def test_the_float_program_is_the_decoder_for_sources_of_any_length(name: str) -> None:
    made = family(name)
    program, stream = made.floats[-1], made.streams[-1]
    grows = any(isinstance(size, Growing) for shape in program.shapes.values() for size in shape)
    assert grows == any(-1 in entry.shape for entry in made.graphs[-1].held if entry.enters)
    runtime = session(writer.float_step(stream))
    for length in OTHERS:
        held = made.memory(length)
        taken = {entry.name for entry in runtime.get_inputs()}
        state = initial_state(program, 1, held)
        alone = {name: value[0] for name, value in state.items()}
        for row in made.target(6):
            feeds = {name: value[0] for name, value in held.items() if name in taken}
            feeds |= {entry.name: entry.enter(row[None, None])[0] for entry in program.inputs}
            feeds |= {str(entry.input.name): alone[entry.name] for entry in stream.states}
            names = [str(value.name) for value in (*stream.outputs, *(entry.output for entry in stream.states))]
            y, *left = runtime.run(names, feeds)
            alone = dict(zip((entry.name for entry in stream.states), left, strict=True))
            values, state = float_step(program, row[None, None], state, held)
            limit = 1e-5 * max(1.0, float(np.abs(y).max()))
            np.testing.assert_allclose(joined(values, program, 1)[0], y.reshape(-1), rtol=0, atol=limit)


@EVERY
@BOTH
def test_onnxruntime_is_within_one_step_of_the_reference_op_by_op(name: str, variant: str) -> None:
    made = family(name)
    *parts, decoder = made.programs(variant)
    checked = op_by_op.compared(decoder, made.target(15), held=made.memory(OTHERS[1]))
    for place, part in enumerate(parts):
        rows, held = made.taken(place, OTHERS[1])
        checked += op_by_op.compared(part, rows, held=held)
    assert checked["Linear"]


@EVERY
def test_what_leaves_may_be_called_like_something_within(name: str) -> None:
    made = family(name)
    program, rows = made.floats[0], made.taken(0, made.floats[0].frames)
    names = [f"y{place}" for place in range(len(program.outputs))]
    within = [op.output for op in program.ops if op.output not in program.outputs and op.kind != "Constant"]
    taken = (within + names)[: len(names)]
    feeds = {entry.name: entry.enter(rows[0][None])[0] for entry in program.inputs}
    feeds |= {f"{state.name}.in": state.initial for state in program.states}
    feeds |= {key: value[0] for key, value in rows[1].items() if key in program.held}
    one, other = (session(writer.quantized_step(program, titles)).run(titles, feeds) for titles in (names, taken))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def in_the_file(program: Program, variant: str) -> bundles.ModelFile:
    states = [variants._stored(program, state) for state in program.states]
    return msgspec.structs.replace(described(program, variant), states=states)


def on_onnxruntime(made: Family, variant: str) -> EncoderDecoder:
    models: list[Any] = []
    for program, stream, graph in zip(made.programs(variant), made.streams, made.graphs, strict=True):
        file = session(writer.quantized_step(program, [str(value.name) for value in stream.outputs]))
        if graph.whole:
            models.append(functools.partial(whole_on_onnxruntime, file, graph))
        else:
            models.append(OrtStep(file, graph, in_the_file(program, variant)))
    return EncoderDecoder(RuntimeEncoder(models[:-1], made.graphs[:-1]), models[-1], made.graphs[-1])


def whole_on_onnxruntime(file: Any, graph: bundles.Graph, rows: Array, held: Mapping[str, Array]) -> dict[str, Array]:
    names = [tensor.name for tensor in graph.outputs]
    feeds = {entry.name: entry.enter(rows) for entry in entries(graph, len(rows))} | dict(held)
    return dict(zip(names, file.run(names, feeds), strict=True))


def on_the_reference(made: Family, variant: str) -> EncoderDecoder:
    models: list[Any] = [
        whole(program, graph) if graph.whole else ReferenceStep(program, graph, variant)
        for program, graph in zip(made.programs(variant), made.graphs, strict=True)
    ]
    return EncoderDecoder(RuntimeEncoder(models[:-1], made.graphs[:-1]), models[-1], made.graphs[-1])


def apart(y: Array, expected: Array, truth: Array, variant: str) -> tuple[Array, Array]:
    """Return how far outputs and the reference's lie apart, rms in shares of each output's spread, and how far may be.

    That is the variant's bound, or, where the reference itself is further off, what parts two roundings of the same
    numbers that have nothing to do with each other: the square root of 2 of what one is off.
    """
    spread = truth.std(axis=0)
    away, off = (np.sqrt(np.mean(np.square(each - expected), axis=0)) / spread for each in (y, truth))
    return away, np.maximum(np.sqrt(2) * off, QUANTIZED_BOUNDS[variant])


@EVERY
@BOTH
def test_file_and_reference_run_freely_side_by_side_on_sources_of_other_lengths(name: str, variant: str) -> None:
    """Rounding may differ by a step here and there; what comes of it is no more than what the variant itself is off."""
    made = family(name)
    file = on_onnxruntime(made, variant)
    reference = on_the_reference(made, variant)
    rows: list[list[Array]] = []
    for length in OTHERS:
        source, target = made.source(length), made.target(STEPS)
        truth = made.model.outputs(source, target, made.model.double)
        rows.append([file.logits(source, target), reference.logits(source, target), truth])
    y, expected, truth = (np.concatenate(parts).astype(np.float64) for parts in zip(*rows, strict=True))
    away, most = apart(y, expected, truth, variant)
    assert (away <= most).all(), (away, most)
    assert most.max() < 10 * np.sqrt(2) * QUANTIZED_BOUNDS[variant], most


@EVERY
def test_products_run_in_what_the_program_says(name: str) -> None:
    made = family(name)
    program = made.programs("int8")[-1]
    model = writer.quantized_step(program, ["y"])
    examples = {held.name: held.examples[0] for held in made.halves.memory}
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, np.shape(examples.get(value.name)), strict=False):
            dim.dim_value = dim.dim_value or size
    del model.graph.value_info[:]
    given = {name: example for name, example in examples.items() if example.dtype.kind != "f"}
    found, said = macs.count(model, given), program.precisions()
    assert (found.integer, found.floating) == (said.get("int8", 0), said.get("int16", 0) + said.get("float32", 0))
    assert "MatMulNBits" not in found.ops


# ---- bundles


@pytest.fixture(scope="module", params=["gru", "two layers", "t5"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    module = layers.made(request.param) if request.param != "t5" else small()
    path = tmp_path_factory.mktemp("pair") / request.param
    return export.export((module, models.tokens()), path, about=layers.GENERATES, default="int8")


def test_a_bundle_holds_all_variants_within_their_bounds(bundle: bundles.Bundle) -> None:
    manifest = bundle.manifest
    backends = "ort", "litert", "native"
    proven = [(entry.variant, entry.backend) for entry in manifest.parity]
    assert proven == [(variant, backend) for variant in VARIANTS for backend in backends]
    assert all(entry.passed and entry.steps >= 10_000 for entry in manifest.parity)
    found = verify.verify(bundle)
    assert sorted((verdict.variant, verdict.backend) for verdict in found) == sorted(proven)
    assert all(verdict.passed for verdict in found)
    assert all(pair.reference.keys() == {"int8", "w8a16"} for pair in goldens.read_pairs(bundle))
    assert next(iter(manifest.defaults)) == "native"
    for backend in backends:
        model = edgeseq.load(bundle, backend=backend)
        assert (model.backend, model.variant) == (backend, "int8")
        assert len(model.generate(np.arange(6)).tokens) <= layers.LENGTH


def test_native_integers_are_the_references_where_all_is_whole(bundle: bundles.Bundle) -> None:
    exactly = {(entry.variant, entry.backend) for entry in bundle.manifest.parity if entry.exact}
    assert exactly == ({("int8", "native"), ("w8a16", "native")} if bundle.path.name == "gru" else set())
    found = {(v.variant, v.backend): v.reference_rms_err for v in verify.verify(bundle)}
    assert all(found[choice] == 0 for choice in exactly)
    assert all(found[variant, "ort"] != 0 for variant in ("int8", "w8a16"))


def test_products_are_integer_in_every_graph(bundle: bundles.Bundle) -> None:
    for graph in bundle.manifest.graphs:
        assert f"{graph.name}, int8: " in bundle.manifest.origin.note
        assert bundle.file("int8", "onnx", graph.name).integer_macs > 0


def test_a_patched_scale_is_found_and_named(
    bundle: bundles.Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    for file in (tmp_path / "b").glob("*.onnx"):
        if file.name != "decoder.int8.onnx":
            file.rename(tmp_path / file.name)
    spoil(tmp_path / "b", ".weight.scale", 1.5)
    for file in tmp_path.glob("*.onnx"):
        file.rename(tmp_path / "b" / file.name)
    resum(tmp_path / "b")
    assert cli.main(["verify", str(tmp_path / "b"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)["variants"]
    assert all(entry["passed"] for entry in told if entry["backend"] != "ort")
    verdicts = {entry["variant"]: entry for entry in told if entry["backend"] == "ort"}
    assert {name: verdict["passed"] for name, verdict in verdicts.items()} == {
        "float32": True, "int8": False, "w8a16": True,
    }  # fmt: skip
    assert "its rms error is" in verdicts["int8"]["reason"]
    assert verdicts["float32"]["reason"] is None


CHANGES: Mapping[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "reference": (lambda a: a["int8.integers"].__iadd__(3000), "against the integer reference"),
    "greedy": (lambda a: a["greedy"].__setitem__((0, 0), (a["greedy"][0, 0] + 1) % 11), "generates other tokens"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_verify_says_why(bundle: bundles.Bundle, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    with np.load(bundle.path / bundles.GOLDENS) as file:
        arrays = dict(file)
    CHANGES[what][0](arrays)
    np.savez(tmp_path / "b" / bundles.GOLDENS, **arrays)
    resum(tmp_path / "b")
    assert cli.main(["verify", str(tmp_path / "b")]) == 1
    assert CHANGES[what][1] in capsys.readouterr().out


def test_a_reference_that_does_not_fit_is_refused(bundle: bundles.Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    with np.load(bundle.path / bundles.GOLDENS) as file:
        arrays = dict(file)
    arrays["int8.integers"] = arrays["int8.integers"][:-1]
    np.savez(tmp_path / "b" / bundles.GOLDENS, **arrays)
    resum(tmp_path / "b")
    with pytest.raises(edgeseq.errors.BundleError, match="its reference is not of the shape"):
        verify.verify(bundles.read(tmp_path / "b"))
