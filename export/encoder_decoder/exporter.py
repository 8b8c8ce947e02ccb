"""The export of an encoder-decoder in order: split → passes → parity → files."""

from __future__ import annotations

from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import msgspec

from edgeseq import bundle as bundles
from edgeseq.bundle import HeldTable, Manifest
from export import diagram, origin, parity, passes, report, variants
from export.about import About
from export.encoder_decoder import calibration as calibrations
from export.encoder_decoder import encoder as encoders
from export.encoder_decoder import goldens, recorded
from export.encoder_decoder import parity as proof
from export.encoder_decoder.calibration import Calibration
from export.encoder_decoder.encoder import Encoder
from export.encoder_decoder.pairs import Graphs, Makers, prove
from export.encoder_decoder.split import Halves, Held, split
from export.errors import ExportError
from export.feature_goldens import Raw
from export.frontends import EncoderDecoder
from export.graph import Input, StreamGraph
from export.progress import Progress, counted
from export.variants import defaults
from export.writers import bundle as writer

RANDOM = "the integers were calibrated on seeded random sources and targets, which fit standardized features only"


def export(  # noqa: PLR0917 - one call, from the exporter
    model: EncoderDecoder,
    output: Path,
    described: About,
    calibration: str | Path | Items[Any] | None,
    asked: Items[str] | None,
    default: str | None,
    max_steps: int | None,
    progress: Progress,
    raw: Raw,
) -> bundles.Bundle:
    """Export an encoder-decoder to a bundle of several graphs. Raises ExportError naming the node that cannot stream.

    calibration: pairs of a source and a target, or where they are (see recorded.py); seeded ones without it.
    asked: the variants, all that it has a form for if not said; default: which of them `auto` loads, the first if not
    said. max_steps: how long a target may get, where the decoder's attention or positions need an end; the most that
    [generate] of the description gives, if not said.
    """
    _check_generate(model, described)
    progress("splitting it into encoder and decoder")
    halves = split(model.model, model.source, model.target)
    longest = max_steps or (described.generate.max_length if described.generate else None)
    progress("rewriting them to steps")
    decoder = _decoder(halves, model.target, longest)
    encoder = encoders.made(halves, model.source)
    length = f"multiply-accumulates are those for a source of {halves.lengths[0]} frames"
    notes = [*encoder.notes, *decoder.notes, length, *raw.notes]
    limit = decoder.max_steps if decoder.limited else None
    longest_target = min(limit or proof.LONGEST, proof.LONGEST)
    pairs, told = ([], [RANDOM]) if calibration is None else recorded.pairs(calibration, model, limit)
    short = [length for length in proof.SHORT if encoder.long_enough(model.source, length)]
    tick = counted(progress, "running the original in float64", parity.STEPS)
    known = proof.cases(model, longest_target, tick, short=short, pairs=pairs)
    notes += proof.left_out(known)
    notes.extend(parity.chaos(proof.truths(known)))
    if pairs:
        groups = calibrations.recorded(model, pairs)
    else:
        groups = calibrations.drawn(model, proof.longest_source(model), longest_target)
    with writer.folder(output) as folder:
        graphs = describe(encoder, decoder, halves, model.source)
        makers = Makers(encoder, decoder, halves, Calibration(model, encoder, groups), progress)
        made = prove(makers, asked, folder, graphs, known, notes, progress)
        if any(pair.graphs[-1].program is not None for pair in made):
            notes += told
        _, limits = parity.tolerances("float32", proof.truths(known))
        golden = known[: proof.GOLDENS]
        arrays = goldens.arrays(model, described.generate, golden, limits)
        for pair in made:
            arrays |= goldens.reference(pair, folder, graphs, golden)
        writer.goldens(folder, arrays)
        raw.write(folder)
        proven = [found for pair in made for found in pair.proven]
        files = [file for found in proven for file in found.files]
        manifest = Manifest(
            schema=bundles.SCHEMA,
            name=described.name_for(output),
            version=described.version,
            description=described.description,
            stream=described.stream_for(model.source.features),
            features=described.features,
            output=described.output_for(known[0].outputs.shape[1]),
            decider=described.decider,
            calibration=described.calibration,
            generate=described.generate,
            graphs=list(graphs),
            files=files,
            defaults=defaults(files, default or made[0].graphs[-1].name),
            parity=[found.entry for found in proven],
            origin=origin.of(model, [*model.notes, *notes]),
        )
        pictures = diagram.pictures(
            diagram.as_trained(model),
            {
                **{
                    part.name: diagram.whole(part.model) if part.whole else diagram.as_step(part.stream)
                    for part in encoder.parts
                },
                "decoder": diagram.as_step(decoder),
            },
        )
        each = [variant for pair in made for variant in pair.graphs]
        text = report.markdown(manifest, [found.drift for found in proven], each, [*model.notes, *notes], pictures)
        writer.finish(folder, manifest, text)
        progress("verifying the bundle")
        writer.verified(folder)
    return bundles.read(output)


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


def _decoder(halves: Halves, target: Input, longest: int | None) -> StreamGraph:
    stream = StreamGraph(halves.decoder.clone(), (target,), held={held.name: held.examples for held in halves.memory})
    stream.max_steps = longest
    passes.rewrite(stream)
    timing = stream.output_timing
    if timing is None or timing.delay or stream.frames_per_step != 1:
        raise ExportError(f"the decoder gives its output late or not at every step of '{target.name}'.")
    for value in list(stream.graph.inputs):
        if value.name in stream.held and not value.uses():
            stream.graph.inputs.remove(value)
    return stream


def describe(encoder: Encoder, decoder: StreamGraph, halves: Halves, source: Input) -> Graphs:
    """Return all graphs' descriptions."""
    parts = encoder.describe(source)
    given = {
        name: (part.name, tensor.name)
        for part, graph in zip(encoder.parts, parts, strict=True)
        for name, tensor in zip(part.gives, graph.outputs, strict=True)
    }
    entering = {value.name for value in decoder.graph.inputs}
    held = [
        _held(entry, *given[name], enters=entry.name in entering)
        for entry, name in zip(halves.memory, encoder.memory, strict=True)
    ]
    return *parts, msgspec.structs.replace(variants.describe(decoder, "decoder"), held=held)


def _held(entry: Held, part: str, output: str, *, enters: bool) -> HeldTable:
    shape = [-1 if axis in entry.axes else dim for axis, dim in enumerate(entry.shape)]
    dtype = str(entry.examples[0].dtype)
    return HeldTable(name=entry.name, part=part, output=output, shape=shape, dtype=dtype, enters=enters)
