"""Makes the variants of an encoder-decoder: two files each, the encoder's and the decoder's; writes and proves them.

1. A quantized variant needs a decoder in integers. An encoder without an integer form (it goes through the source to
   its end and back, say) computes in float32 there, which is told.
2. Both are made for a share of the tolerance; where they miss it together, for a lesser one.
3. TFLite and native files stand beside the ONNX files where there are forms for both graphs; else a note says why not.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import onnx

from edgeseq import backends
from edgeseq import encoder_decoder as runtime
from edgeseq.bundle import Graph, ModelFile, ParityTable
from edgeseq.errors import ModelError
from export import beside, macs, parity
from export.encoder_decoder import parity as proof
from export.encoder_decoder.calibration import Calibration
from export.encoder_decoder.split import Parts
from export.errors import FLOAT_ALONE, ExportError, NoIntegerForm
from export.graph import StreamGraph
from export.progress import Progress, counted
from export.proof import MissedError
from export.quantize.step import exact
from export.variants import KNOWN, Maker, Variant

GOALS = (0.75, 0.6, 0.45, 0.3)
"""Shares of the tolerance that either graph is made for (2): errors of two as good as independent parts add up."""
Graphs = tuple[Graph, Graph]


@dataclass(frozen=True)
class Proven:
    """Both halves' files of a format, and how they did together."""

    files: tuple[ModelFile, ModelFile]
    entry: ParityTable
    drift: parity.Drift


@dataclass(frozen=True)
class Pair:
    """One variant: its two halves, its files, ONNX's first, and what is to be told of it."""

    encoder: Variant
    decoder: Variant
    proven: Items[Proven]
    notes: Items[str]


class Makers:
    """Makes both graphs' variants; calibration begins when the first quantized one is asked for."""

    def __init__(
        self, encoder: StreamGraph, decoder: StreamGraph, parts: Parts, calibration: Calibration, progress: Progress
    ) -> None:
        shapes = {held.name: held.examples[0] for held in parts.memory if held.examples[0].dtype.kind != "f"}
        count = partial(_counted, length=parts.lengths[0])
        given = calibration.steps() if encoder.frames else calibration.wholes()
        self._encoder = Maker(encoder, given, progress, graph="encoder", count=count)
        self._decoder = Maker(
            decoder, calibration.targets(), progress, graph="decoder", count=partial(count, given=shapes)
        )

    @property
    def both(self) -> tuple[Maker, Maker]:
        """The encoder's and the decoder's."""
        return self._encoder, self._decoder

    def make(self, name: str, goal: float) -> tuple[Variant, Variant, list[str]]:
        """Return both graphs' variant and what is to be told. Raises NoIntegerForm where the decoder has none (1)."""
        decoder = self._decoder.make(name, goal)
        notes = []
        try:
            encoder = self._encoder.make(name, goal)
        except NoIntegerForm as cause:
            encoder = _called(name, self._encoder.make("float32"))
            reason = str(cause).removesuffix(FLOAT_ALONE).removesuffix(".")
            notes.append(f"{name}: the encoder computes in float32, {encoder.file.float_macs:,} MACs: {reason}")
        for graph, variant in (("encoder", encoder), ("decoder", decoder)):
            notes += [f"{graph}, {note}" for note in variant.notes]
        return encoder, decoder, notes


def _called(name: str, variant: Variant) -> Variant:
    """Return a variant as another's half: its file goes by that one's name."""
    file = msgspec.structs.replace(variant.file, variant=name, path=f"{variant.file.graph}.{name}.onnx")
    return replace(variant, name=name, file=file)


def _counted(model: onnx.ModelProto, length: int, given: macs.Values | None = None) -> macs.Macs:
    """Count for a source of one length."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = length
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
        encoder, decoder, notes = makers.make(name, goal)
        for half in (encoder, decoder):
            onnx.save(half.model, str(folder / half.file.path))
        last = goal == GOALS[-1] or all(part.kept == "float32" for part in (*encoder.parts, *decoder.parts))
        halves = encoder, decoder
        proven = [_measured(halves, (encoder.file, decoder.file), folder, graphs, known, progress)]
        for file_format, write in beside.WRITERS.items():
            try:
                files = _written(write, makers, halves, folder, graphs)
                found = _measured(halves, files, folder, graphs, known, progress)
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
            return Pair(encoder, decoder, proven, notes)
        if last:
            break
    _keep(folder, name, [])
    raise MissedError(parity.missed(entries[0]))


def _written(
    write: beside.Write, makers: Makers, halves: tuple[Variant, Variant], folder: Path, graphs: Graphs
) -> tuple[ModelFile, ModelFile]:
    """Write both halves' files of a format. Raises ExportError naming the half that has none, and why."""
    files = []
    for maker, half, graph in zip(makers.both, halves, graphs, strict=True):
        try:
            files.append(write(maker, half, folder, graph))
        except ExportError as cause:
            raise ExportError(f"{graph.name}: {cause}") from cause
    first, second = files
    return first, second


def _measured(  # noqa: PLR0917 - two calls, above
    halves: tuple[Variant, Variant],
    files: tuple[ModelFile, ModelFile],
    folder: Path,
    graphs: Graphs,
    known: Items[proof.Case],
    progress: Progress,
) -> Proven:
    """Hold both halves' files against the original, opened from them and their description just as a device does."""
    backend = backends.reader(files[0])
    tick = counted(progress, f"proving {files[0].variant} on {backend}", sum(len(case.target) for case in known))
    entry, drift = proof.measure(runtime.opened(folder, backend, graphs, files), known, tick)
    same = backend == "native" and all(half.program is not None and exact(half.program) for half in halves)
    return Proven(files, msgspec.structs.replace(entry, exact=same), drift)


def _keep(folder: Path, variant: str, kept: Items[str]) -> None:
    """Remove a variant's model files but those that are kept."""
    for file in folder.glob(f"*.{variant}.*"):
        if file.name not in kept:
            file.unlink()
