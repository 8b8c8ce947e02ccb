"""The export of an encoder-decoder in order: split → passes → parity → files."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgeseq import bundle as bundles
from edgeseq import encoder_decoder as runtime
from edgeseq import goldens
from edgeseq.bundle import Graph, HeldTable, Manifest, ModelFile, StateTensors, Tensor
from export import diagram, macs, origin, parity, passes, report, storage, variants
from export.about import About
from export.encoder_decoder import parity as proof
from export.encoder_decoder.split import Held, Parts, split
from export.errors import ExportError, OptionError
from export.frontends import EncoderDecoder
from export.graph import Input, StreamGraph
from export.progress import Progress, counted
from export.writers import bundle as writer
from export.writers import onnx as onnx_writer

VARIANTS = ("float32", *bundles.STORAGE)


def export(  # noqa: PLR0917 - one call, from the exporter
    model: EncoderDecoder,
    output: Path,
    described: About,
    asked: Items[str] | None,
    default: str | None,
    max_steps: int | None,
    progress: Progress,
) -> bundles.Bundle:
    """Export an encoder-decoder to a bundle of two graphs. Raises ExportError naming the node that cannot stream.

    asked: the variants, float32 alone if not said; default: which of them `auto` loads, the first if not said.
    max_steps: how long a target may get, where the decoder's attention or positions need an end; the most that
    [generate] of the description gives, if not said.
    """
    chosen = list(asked or VARIANTS[:1])
    for name in (*chosen, default or chosen[0]):
        if name not in VARIANTS:
            raise OptionError(f"an encoder-decoder is exported as {', '.join(VARIANTS)}, not as {name}.")
    _check_generate(model, described)
    progress("splitting it into encoder and decoder")
    parts = split(model.model, model.source, model.target)
    longest = max_steps or (described.generate.max_length if described.generate else None)
    progress("rewriting them to steps")
    decoder = _decoder(parts, model.target, longest)
    encoder = _encoder(parts, model.source)
    notes = _notes(encoder, decoder, parts.length)
    longest_target = decoder.max_steps or proof.LONGEST if decoder.limited else proof.LONGEST
    known = proof.cases(model, longest_target, counted(progress, "running the original in float64", parity.STEPS))
    notes.extend(parity.chaos(proof.truths(known)))
    with writer.folder(output) as folder:
        graphs, steps = _describe(encoder, decoder, parts, model.source)
        files = [_file(folder, step, variant, parts, notes) for variant in chosen for step in steps]
        _, limits = parity.tolerances("float32", proof.truths(known))
        writer.goldens(folder, _goldens(model, described, known[: proof.GOLDENS], limits))
        manifest = Manifest(
            schema=bundles.SCHEMA,
            name=described.name or output.name,
            version=described.version,
            description=described.description,
            stream=described.stream_for(model.source.features),
            features=described.features,
            output=described.output_for(known[0].outputs.shape[1]),
            decider=described.decider,
            calibration=described.calibration,
            generate=described.generate,
            graphs=graphs,
            files=files,
            defaults={"ort": default or chosen[0]},
            origin=origin.of(model, [*model.notes, *notes]),
        )
        writer.manifest(folder, manifest)
        writer.sums(folder)
        entries, drifts = _prove(bundles.read(folder), chosen, known, progress)
        manifest = msgspec.structs.replace(manifest, parity=entries)
        pictures = diagram.pictures(
            diagram.as_trained(model),
            {
                "encoder": diagram.whole(parts.encoder) if isinstance(encoder, str) else diagram.as_step(encoder),
                "decoder": diagram.as_step(decoder),
            },
        )
        text = report.markdown(manifest, drifts, (), [*model.notes, *notes], pictures)
        writer.finish(folder, manifest, text)
        progress("verifying the bundle")
        writer.verified(folder)
    return bundles.read(output)


def _prove(
    bundle: bundles.Bundle, chosen: Items[str], known: Items[proof.Case], progress: Progress
) -> tuple[list[bundles.ParityTable], list[parity.Drift]]:
    """Hold every variant against the original. Raises ExportError for one that misses its tolerance."""
    entries, drifts = [], []
    for variant in chosen:
        tick = counted(progress, f"proving {variant}", sum(len(case.target) for case in known))
        # Opened from its files and their description, just as a device opens it.
        entry, drift = proof.measure(runtime.load(bundle, variant=variant), known, tick)
        if not entry.passed:
            raise ExportError(parity.missed(entry))
        entries.append(entry)
        drifts.append(drift)
    return entries, drifts


def _check_generate(model: EncoderDecoder, described: About) -> None:
    generate = described.generate
    if generate is None:
        return
    if model.target.dtype != "int64":
        raise ExportError("[generate] is for decoders of tokens; this one's target is float32.")
    known = model.target.tokens or bundles.MAX_TOKENS
    for key, token in (("start", generate.start), ("stop", generate.stop)):
        if token is not None and not 0 <= token < known:
            raise ExportError(f"[generate] {key} = {token} is none of the target's tokens, 0 to {known - 1}.")
    if generate.max_length < 1:
        raise ExportError(f"[generate] max_length is at least 1, not {generate.max_length}.")


def _decoder(parts: Parts, target: Input, longest: int | None) -> StreamGraph:
    stream = StreamGraph(parts.decoder.clone(), (target,), held={held.name: held.examples for held in parts.memory})
    stream.max_steps = longest
    passes.rewrite(stream)
    timing = stream.output_timing
    if timing is None or timing.delay or stream.frames_per_step != 1:
        raise ExportError(f"the decoder gives its output late or not at every step of '{target.name}'.")
    for value in list(stream.graph.inputs):
        if value.name in stream.held and not value.uses():
            stream.graph.inputs.remove(value)
    return stream


def _encoder(parts: Parts, source: Input) -> StreamGraph | str:
    """Return the encoder as a step, or why it runs over the whole source."""
    if any(len(held.axes) > 1 or held.examples[0].dtype != np.float32 for held in parts.memory):
        return "what it gives is no sequence of numbers along the source"
    stream = StreamGraph(parts.encoder.clone(), (source,))
    try:
        passes.rewrite(stream)
    except ExportError as cause:
        return str(cause)
    return stream


def _notes(encoder: StreamGraph | str, decoder: StreamGraph, length: int) -> list[str]:
    told = (
        [f"the encoder runs once over the whole source, since it is no step: {encoder}"]
        if isinstance(encoder, str)
        else ["the encoder steps through the source as it comes", *encoder.notes]
    )
    return [*told, *decoder.notes, f"multiply-accumulates are those for a source of {length} frames"]


@dataclass(frozen=True)
class _Step:
    """One of the two graphs as a float32 model, whose states enter and leave as they are."""

    graph: str
    model: onnx.ModelProto
    states: list[StateTensors]


def _describe(
    encoder: StreamGraph | str, decoder: StreamGraph, parts: Parts, source: Input
) -> tuple[list[Graph], list[_Step]]:
    """Return both graphs' descriptions and models."""
    if isinstance(encoder, str):
        first = onnx_writer.whole(parts.encoder)
        tensor = Tensor(
            name=source.name, shape=source.shaped(1), dtype=source.dtype, time_axis=source.time_axis,
            tokens=source.tokens,
        )  # fmt: skip
        names = [value.name for value in first.graph.output]
        outputs = [
            Tensor(name=name, shape=[1 if axis in held.axes else dim for axis, dim in enumerate(held.shape)])
            for name, held in zip(names, parts.memory, strict=True)
        ]
        graph = Graph(name="encoder", inputs=[tensor], outputs=outputs, states=[], whole=True)
        step = _Step("encoder", first, [])
    else:
        step = _Step("encoder", onnx_writer.float_step(encoder), variants.state_tensors(encoder))
        graph = variants.describe(encoder, "encoder")
    second = onnx_writer.float_step(decoder)
    entering = {value.name for value in decoder.graph.inputs}
    held = [
        _held(entry, tensor.name, enters=entry.name in entering)
        for entry, tensor in zip(parts.memory, graph.outputs, strict=True)
    ]
    described = msgspec.structs.replace(variants.describe(decoder, "decoder"), held=held)
    return [graph, described], [step, _Step("decoder", second, variants.state_tensors(decoder))]


def _held(entry: Held, output: str, *, enters: bool) -> HeldTable:
    shape = [-1 if axis in entry.axes else dim for axis, dim in enumerate(entry.shape)]
    return HeldTable(name=entry.name, output=output, shape=shape, dtype=str(entry.examples[0].dtype), enters=enters)


def _file(folder: Path, step: _Step, variant: str, parts: Parts, notes: list[str]) -> ModelFile:
    """Write a variant of one graph; return its description, and add to `notes` what is to be told of it."""
    model = step.model
    if variant in bundles.STORAGE:
        model, told = storage.stored(model, variant)
        notes.extend(f"{step.graph}, {note}" for note in told)
    path = f"{step.graph}.{variant}.onnx"
    onnx.save(model, str(folder / path))
    shapes = {held.name: held.examples[0] for held in parts.memory if held.examples[0].dtype.kind != "f"}
    counted = macs.count(_of_length(model, parts.length), shapes if step.graph == "decoder" else None)
    return ModelFile(
        path=path, graph=step.graph, variant=variant, format="onnx", weight_bytes=variants.weight_bytes(model),
        integer_macs=counted.integer, float_macs=counted.floating, states=step.states,
    )  # fmt: skip


def _of_length(model: onnx.ModelProto, length: int) -> onnx.ModelProto:
    """Return a model for sources of one length."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = length
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    return copy


def _goldens(
    model: EncoderDecoder, described: About, known: Items[proof.Case], tolerances: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Return parity.npz's arrays: sources and targets one behind another, the original's outputs, its greedy tokens."""
    arrays: dict[str, NDArray[Any]] = {
        "sources": np.concatenate([case.source for case in known]),
        "source_lengths": np.array([len(case.source) for case in known], np.int64),
        "targets": np.concatenate([case.target for case in known]),
        "target_lengths": np.array([len(case.target) for case in known], np.int64),
        "outputs": np.concatenate([case.outputs for case in known]),
    }
    if described.generate is not None:
        steps = min(described.generate.max_length, proof.GREEDY_STEPS)
        tokens = np.full((len(known), steps), goldens.NO_TOKEN, np.int64)
        for row, case in zip(tokens, known, strict=True):
            given = proof.greedy(model, case.source, described.generate, steps, 2 * float(tolerances.max()))
            row[: len(given)] = given
        arrays["greedy"] = tokens
    return arrays
