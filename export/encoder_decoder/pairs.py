"""Makes the variants of an encoder-decoder: a file for each part of the encoder and one for the decoder; proves them.

1. A quantized variant needs a decoder in integers. A part of the encoder without an integer form (it draws random
   numbers, say) computes in float32 there, which is told.
2. All are made for a share of the tolerance; where they miss it together, for a lesser one.
3. TFLite and native files stand beside the ONNX files where there are forms for all graphs; else a note says why not.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import onnx

from edgeseq import backends
from edgeseq.bundle import Graph, ModelFile, ParityTable
from edgeseq.errors import ModelError
from edgeseq.models import encoder_decoder as runtime
from edgeseq.parts import called
from export import beside, macs, parity
from export.encoder_decoder import parity as proof
from export.encoder_decoder.calibration import Calibration
from export.encoder_decoder.encoder import Encoder, Examples
from export.encoder_decoder.split import Halves
from export.errors import FLOAT_ALONE, ExportError, NoIntegerForm
from export.graph import StreamGraph
from export.progress import Progress, counted
from export.proof import MissedError
from export.quantize.step import exact
from export.variants import GOAL, KNOWN, Maker, Variant

GOALS = (GOAL, 0.6, 0.45, 0.3)
"""Shares of the tolerance that each graph is made for (2): errors of as good as independent graphs add up."""
Graphs = tuple[Graph, ...]
"""The encoder's parts in their order, then the decoder; so are all lists of what is made for each."""


@dataclass(frozen=True)
class Proven:
    """All graphs' files of a format, and how they did together."""

    files: Items[ModelFile]
    entry: ParityTable
    drift: parity.Drift


@dataclass(frozen=True)
class Pair:
    """One variant: each graph's, its files, ONNX's first, and what is to be told of it."""

    graphs: Items[Variant]
    proven: Items[Proven]
    notes: Items[str]


class Makers:
    """Makes all graphs' variants; calibration begins when the first quantized one is asked for."""

    def __init__(
        self, encoder: Encoder, decoder: StreamGraph, halves: Halves, calibration: Calibration, progress: Progress
    ) -> None:
        taken = {held.name: name for held, name in zip(halves.memory, encoder.memory, strict=True)}
        examples = {**encoder.examples, **{held.name: held.examples for held in halves.memory}}
        parts = [(part.stream, part.name, calibration.of(part)) for part in encoder.parts]
        self.all = [
            Maker(stream, given, progress, graph=name, count=partial(_counted, examples=examples))
            for stream, name, given in [*parts, (decoder, "decoder", calibration.targets(taken))]
        ]

    def make(self, name: str, goal: float) -> tuple[list[Variant], list[str]]:
        """Return all graphs' variant and what is to be told. Raises NoIntegerForm where the decoder has none (1)."""
        *parts, last = self.all
        decoder = last.make(name, goal)
        made, notes = [], []
        for part in parts:
            try:
                made.append(part.make(name, goal))
            except NoIntegerForm as cause:
                made.append(_called(name, part.make("float32")))
                reason = str(cause).removesuffix(FLOAT_ALONE).removesuffix(".")
                file = made[-1].file
                notes.append(f"{name}: {called(file.graph)} computes in float32, {file.float_macs:,} MACs: {reason}")
        made.append(decoder)
        return made, [*notes, *(f"{variant.file.graph}, {note}" for variant in made for note in variant.notes)]


def _called(name: str, variant: Variant) -> Variant:
    """Return a variant as another's half: its file goes by that one's name."""
    file = msgspec.structs.replace(variant.file, variant=name, path=f"{variant.file.graph}.{name}.onnx")
    return replace(variant, name=name, file=file)


def _counted(model: onnx.ModelProto, examples: Examples) -> macs.Macs:
    """Count for a source of the first of two lengths."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    given = {}
    for value in copy.graph.input:
        if value.name not in examples:
            continue
        example, dims = examples[value.name][0], value.type.tensor_type.shape.dim
        if example.dtype.kind != "f" and not all(dim.HasField("dim_value") for dim in dims):
            given[value.name] = example
        for dim, size in zip(dims, example.shape, strict=True):
            if not dim.HasField("dim_value"):
                dim.dim_value = size
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    return macs.count(copy, given)


def prove(  # noqa: PLR0917 - one call, in the exporter
    makers: Makers,
    asked: Items[str] | None,
    folder: Path,
    graphs: Graphs,
    known: Items[proof.Case],
    notes: list[str],
    progress: Progress,
) -> list[Pair]:
    """Make, write and prove the variants asked for, or all that the model has a form for.

    Raises ExportError for one that was asked for and has no form, or misses its tolerance, and for a float32 that does.
    """
    made = []
    for name in KNOWN if asked is None else asked:
        try:
            made.append(_one(makers, name, folder, graphs, known, progress))
        except (NoIntegerForm, MissedError) as cause:
            if asked is not None or name == "float32":
                raise
            notes.append(f"{name} was left out: {str(cause).removesuffix(FLOAT_ALONE)}")
            continue
        notes.extend(made[-1].notes)
    return made


def _one(  # noqa: PLR0917 - one call, above
    makers: Makers, name: str, folder: Path, graphs: Graphs, known: Items[proof.Case], progress: Progress
) -> Pair:
    """Make a variant, again and again until it keeps its tolerance (2).

    Files beside the ONNX files that still miss it, or that do not run on every source, are left out (3).
    """
    for goal in GOALS:
        progress(f"making {name}")
        made, notes = makers.make(name, goal)
        for variant in made:
            onnx.save(variant.model, str(folder / variant.file.path))
        last = goal == GOALS[-1] or all(variant.closest for variant in made)
        proven = [_measured(made, [variant.file for variant in made], folder, graphs, known, progress)]
        for file_format, write in beside.WRITERS.items():
            try:
                files = _written(write, makers, made, folder, graphs)
                found = _measured(made, files, folder, graphs, known, progress)
            except (ExportError, ModelError) as cause:
                notes.append(beside.left_out(file_format, name, str(cause).replace(f"{folder}/", "")))
                continue
            if last and not found.entry.passed:
                notes.append(beside.left_out(file_format, name, parity.by_how_much(found.entry)))
                continue
            proven.append(found)
        _keep(folder, name, [file.path for found in proven for file in found.files])
        entries = [found.entry for found in proven]
        if all(entry.passed for entry in entries) and (last or not any(map(parity.narrow, entries))):
            return Pair(made, proven, notes)
        if last:
            break
    _keep(folder, name, [])
    raise MissedError(parity.missed(entries[0]))


def _written(
    write: beside.Write, makers: Makers, made: Items[Variant], folder: Path, graphs: Graphs
) -> list[ModelFile]:
    """Write all graphs' files of a format. Raises ExportError naming the graph that has none, and why."""
    files = []
    for maker, variant, graph in zip(makers.all, made, graphs, strict=True):
        try:
            files.append(write(maker, variant, folder, graph))
        except ExportError as cause:
            raise ExportError(f"{graph.name}: {cause}") from cause
    return files


def _measured(  # noqa: PLR0917 - two calls, above
    made: Items[Variant],
    files: Items[ModelFile],
    folder: Path,
    graphs: Graphs,
    known: Items[proof.Case],
    progress: Progress,
) -> Proven:
    """Hold all graphs' files against the original, opened from them and their description just as a device does."""
    backend = backends.reader(files[0])
    tick = counted(progress, f"proving {files[0].variant} on {backend}", sum(len(case.target) for case in known))
    entry, drift = proof.measure(runtime.opened(folder, backend, graphs, files), known, tick)
    same = backend == "native" and all(each.program is not None and exact(each.program) for each in made)
    return Proven(files, msgspec.structs.replace(entry, exact=same), drift)


def _keep(folder: Path, variant: str, kept: Items[str]) -> None:
    """Remove a variant's model files but those that are kept."""
    for file in folder.glob(f"*.{variant}.*"):
        if file.name not in kept:
            file.unlink()
