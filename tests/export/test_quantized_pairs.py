"""int8 and w8a16 of encoder-decoders: Programs for sources of any length, their files, and whole bundles."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import op_by_op
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
from edgeseq import cli, goldens, verify
from edgeseq.backends._file_step import entries
from edgeseq.backends.ort import OrtStep
from edgeseq.encoder_decoder import EncoderDecoder
from export import macs, variants
from export.encoder_decoder import exporter
from export.encoder_decoder.calibration import Calibration
from export.encoder_decoder.goldens import whole
from export.encoder_decoder.pairs import Graphs
from export.encoder_decoder.split import Halves, split
from export.errors import NoIntegerForm
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
OTHERS = (3, 17, 41)
"""Lengths of sources, none of them among the calibration's, one beyond them all."""
FLOAT_ENCODERS = {"backwards", "masked"}


def small() -> nn.Module:
    torch.manual_seed(5)
    return loops.sharpened(models.T5(width=8, layers=1))


def layered(name: str) -> tuple[nn.Module, Any]:
    return layers.made(name), models.tokens()


LAYERED = ("gru", "lstm", "rnn with dot attention", "lstm with additive attention", "backwards", "transformer")
FAMILIES: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    **{name: functools.partial(layered, name) for name in LAYERED},
    "t5": lambda: (small(), models.tokens()),
    "loop, additive": lambda: (loops.made(spread=True), loops.example()),
    "loop, dot": lambda: (loops.made(cell="LSTM", attention="dot"), loops.example()),
    "loop, frames": lambda: (loops.made(attention="dot", features=5), loops.example(5)),
    "loop, fed": lambda: (loops.made(attention="dot", fed=True), loops.example()),
    "masked": lambda: (loops.sharpened(loops.Layer(masked=True)), loops.example()),
}


@dataclass(frozen=True, eq=False)
class Family:
    """A model, its two graphs, and for each the float Program and what it is calibrated on."""

    model: Original
    parts: Halves
    graphs: Graphs
    streams: tuple[StreamGraph, StreamGraph]
    floats: tuple[Program | None, Program]
    batches: tuple[list[Any], list[Batch]]

    @functools.cache  # noqa: B019 - families live as long as the tests
    def programs(self, variant: str) -> tuple[Program | None, Program]:
        """Quantize both, every part of them; None for an encoder without an integer form."""
        encoder, decoder = (
            None if program is None else quantize(program, calibrate(program, batches), variant)
            for program, batches in zip(self.floats, self.batches, strict=True)
        )
        assert decoder is not None
        return encoder, decoder

    def memory(self, length: int) -> dict[str, Array]:
        """Run the float encoder on a source."""
        runtime = session(writer.float_step(StreamGraph(self.parts.encoder.clone(), ())))
        given = runtime.run(None, {self.model.source.name: self.model.source.noise(length, 7)})
        return {held.name: value[None] for held, value in zip(self.parts.memory, given, strict=True)}

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
    parts = split(model.model, model.source, model.target)
    decoder, step = exporter._decoder(parts, model.target, STEPS), exporter._encoder(parts, model.source)
    encoder = exporter._whole(parts, model.source) if isinstance(step, str) else step
    calibration = Calibration(model, parts, LONGEST, TARGET)
    try:
        first = lower(encoder)
    except NoIntegerForm:
        first = None
    assert (first is None) == (name in FLOAT_ENCODERS)
    return Family(
        model, parts, exporter._describe(encoder, decoder, parts, model.source), (encoder, decoder),
        (first, lower(decoder)),
        (calibration.steps() if encoder.frames else calibration.wholes(), calibration.targets()),
    )  # fmt: skip


EVERY = pytest.mark.parametrize("name", FAMILIES)
BOTH = pytest.mark.parametrize("variant", ["int8", "w8a16"])


# ---- Programs


@EVERY
def test_the_float_program_is_the_decoder_for_sources_of_any_length(name: str) -> None:
    made = family(name)
    program, stream = made.floats[1], made.streams[1]
    assert any(isinstance(size, Growing) for shape in program.shapes.values() for size in shape) or not program.held
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
    encoder, decoder = made.programs(variant)
    checked = op_by_op.compared(decoder, made.target(15), held=made.memory(OTHERS[1]))
    assert checked["Linear"]
    if encoder is not None and encoder.inputs:
        op_by_op.compared(encoder, made.source(15))
    elif encoder is not None:
        source = {made.model.source.name: made.model.source.noise(OTHERS[1])[None]}
        assert op_by_op.compared(encoder, np.empty((1, 0), np.float32), held=source)["MatMul"]


def in_the_file(program: Program, variant: str) -> bundles.ModelFile:
    states = [variants._stored(program, state) for state in program.states]
    return msgspec.structs.replace(described(program, variant), states=states)


def on_onnxruntime(made: Family, variant: str) -> EncoderDecoder:
    encoder, decoder = made.programs(variant)
    streams = made.streams
    files = [writer.quantized_step(p, [str(v.name) for v in s.outputs]) if p else None
             for p, s in zip((encoder, decoder), streams, strict=True)]  # fmt: skip
    second = OrtStep(session(files[1]), made.graphs[1], in_the_file(decoder, variant))
    if encoder is not None and encoder.inputs:
        step = OrtStep(session(files[0]), made.graphs[0], in_the_file(encoder, variant))
        return EncoderDecoder(step, second, made.graphs)
    first = session(files[0] or writer.float_step(streams[0]))
    names = [tensor.name for tensor in made.graphs[0].outputs]

    def run(rows: Array) -> dict[str, Array]:
        feeds = {entry.name: entry.enter(rows) for entry in entries(made.graphs[0], len(rows))}
        return dict(zip(names, first.run(names, feeds), strict=True))

    return EncoderDecoder(run, second, made.graphs)


def on_the_reference(made: Family, variant: str, other: EncoderDecoder) -> EncoderDecoder:
    """other: gives the encoder where that computes in float32."""
    encoder, decoder = made.programs(variant)
    first: Any = other._encoder
    if encoder is not None:
        first = ReferenceStep(encoder, made.graphs[0], variant) if encoder.inputs else whole(encoder, made.graphs[0])
    return EncoderDecoder(first, ReferenceStep(decoder, made.graphs[1], variant), made.graphs)


@EVERY
@BOTH
def test_file_and_reference_run_freely_side_by_side_on_sources_of_other_lengths(name: str, variant: str) -> None:
    """Rounding may differ by a step here and there; what comes of it stays below what the variant itself is off."""
    made = family(name)
    file = on_onnxruntime(made, variant)
    reference = on_the_reference(made, variant, file)
    rows: list[list[Array]] = []
    for length in OTHERS:
        source, target = made.source(length), made.target(STEPS)
        truth = made.model.outputs(source, target, made.model.double)
        rows.append([file.logits(source, target), reference.logits(source, target), truth])
    y, expected, truth = (np.concatenate(parts).astype(np.float64) for parts in zip(*rows, strict=True))
    apart, off = (np.sqrt(np.mean(np.square(a - expected), axis=0)) / truth.std(axis=0) for a in (y, truth))
    assert (apart <= np.maximum(off, QUANTIZED_BOUNDS[variant])).all(), (apart, off)
    assert off.max() < 10 * QUANTIZED_BOUNDS[variant], off


@EVERY
def test_products_run_in_what_the_program_says(name: str) -> None:
    made = family(name)
    program = made.programs("int8")[1]
    model = writer.quantized_step(program, ["y"])
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_value = dim.dim_value or made.parts.lengths[0]
    del model.graph.value_info[:]
    given = {held.name: held.examples[0] for held in made.parts.memory if held.examples[0].dtype.kind != "f"}
    found, said = macs.count(model, given), program.precisions()
    assert (found.integer, found.floating) == (said.get("int8", 0), said.get("int16", 0) + said.get("float32", 0))
    assert "MatMulNBits" not in found.ops


def test_what_the_source_is_too_long_a_list_for_is_refused_by_node() -> None:
    with pytest.raises(NoIntegerForm, match=r"'/encoder/GRU' \(GRU\): it goes through the source to its end"):
        lower(family("backwards").streams[0])


# ---- bundles


@pytest.fixture(scope="module", params=["gru", "backwards", "t5"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    module = layers.made(request.param) if request.param != "t5" else small()
    path = tmp_path_factory.mktemp("pair") / request.param
    return export.export((module, models.tokens()), path, about=layers.GENERATES, default="int8")


def test_a_bundle_holds_all_variants_within_their_bounds(bundle: bundles.Bundle) -> None:
    manifest = bundle.manifest
    backends = ("ort",) if bundle.path.name == "backwards" else ("ort", "litert", "native")
    proven = [(entry.variant, entry.backend) for entry in manifest.parity]
    assert proven == [(variant, backend) for variant in VARIANTS for backend in backends]
    assert all(entry.passed and entry.steps >= 10_000 for entry in manifest.parity)
    found = verify.verify(bundle)
    assert sorted((verdict.variant, verdict.backend) for verdict in found) == sorted(proven)
    assert all(verdict.passed for verdict in found)
    assert all(pair.reference.keys() == {"int8", "w8a16"} for pair in goldens.read_pairs(bundle))
    assert next(iter(manifest.defaults)) == ("ort" if len(backends) == 1 else "native")
    for backend in backends:
        model = edgeseq.load(bundle, backend=backend)
        assert (model.backend, model.variant) == (backend, "int8")
        assert len(model.generate(np.arange(6)).tokens) <= layers.LENGTH


def test_native_integers_are_the_references_where_all_is_whole(bundle: bundles.Bundle) -> None:
    exactly = {(entry.variant, entry.backend) for entry in bundle.manifest.parity if entry.exact}
    assert exactly == ({("int8", "native")} if bundle.path.name == "gru" else set())
    found = {(v.variant, v.backend): v.reference_rms_err for v in verify.verify(bundle)}
    assert all(found[choice] == 0 for choice in exactly)
    assert all(found[variant, "ort"] != 0 for variant in ("int8", "w8a16"))


def test_what_computes_in_float32_is_told(bundle: bundles.Bundle) -> None:
    files = {(file.graph, file.variant): file for file in bundle.manifest.files}
    if bundle.path.name == "backwards":
        macs = files["encoder", "int8"].float_macs
        told = f"int8: the encoder computes in float32, {macs:,} MACs: node '/encoder/GRU' (GRU): it goes through"
        assert told in bundle.manifest.origin.note
        assert files["encoder", "int8"].integer_macs == 0
    else:
        assert files["encoder", "int8"].integer_macs > 0
    assert "decoder, int8: " in bundle.manifest.origin.note
    assert files["decoder", "int8"].integer_macs > 0


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
