"""Each variant is made, written and proven; one that misses its tolerance is made again, closer to the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import onnx

from edgeseq import backends
from edgeseq.bundle import Graph, ModelFile, ParityTable
from edgeseq.types import StepModel
from export import beside, parity
from export.errors import FLOAT_ALONE, ExportError, NoIntegerForm
from export.progress import Progress, counted
from export.quantize.step import exact
from export.variants import GOAL, KNOWN, Maker, Variant

Evaluate = Callable[[StepModel], Mapping[str, float]]
GOALS = (GOAL, 0.5, 0.25)
"""Shares of its tolerance that a variant is made for, one after the other until it keeps it: the proof runs
longer than what sensitivity is measured on, and on real engines."""


@dataclass
class Proven:
    """The variants that were made, their files, and how they did: an entry and a drift a file."""

    made: list[Variant] = field(default_factory=list)
    files: list[ModelFile] = field(default_factory=list)
    entries: list[ParityTable] = field(default_factory=list)
    drifts: list[parity.Drift] = field(default_factory=list)
    accuracy: dict[str, dict[str, float]] = field(default_factory=dict)


def prove(  # noqa: PLR0917 - one call, in export
    maker: Maker,
    asked: Items[str] | None,
    folder: Path,
    graph: Graph,
    known: Items[parity.Truth],
    golden: parity.Truth,
    evaluate: Evaluate | None,
    notes: list[str],
    progress: Progress,
) -> Proven:
    """Make, write and prove the variants asked for, or all that the model has a form for.

    golden: what a device replays; it has to pass by itself.
    Raises ExportError for one that was asked for and has no form, or misses its tolerance, and for a float32 that does.
    """
    found = Proven()
    for name in KNOWN if asked is None else asked:
        try:
            _one(found, maker, name, folder, graph, known, golden, notes, progress)
        except (NoIntegerForm, MissedError) as cause:
            if asked is not None or name == "float32":
                raise
            told = str(cause).removesuffix(FLOAT_ALONE).replace(parity.NOTHING, "")
            notes.append(f"{name} was left out: {told}")
        if evaluate is not None and found.made and found.made[-1].name == name:
            progress(f"judging {name} on the task")
            file = found.made[-1].file
            model = backends.open_file(folder / file.path, backends.reader(file), graph, file)
            found.accuracy[name] = {key: float(value) for key, value in evaluate(model).items()}
    return found


class MissedError(ExportError):
    """A variant misses its tolerance."""


def _one(  # noqa: PLR0917 - one call, above
    found: Proven,
    maker: Maker,
    name: str,
    folder: Path,
    graph: Graph,
    known: Items[parity.Truth],
    golden: parity.Truth,
    notes: list[str],
    progress: Progress,
) -> None:
    """Make a variant, again and again until it keeps its tolerance, and add it to what was found.

    A file beside the ONNX file that still misses it is left out.
    """
    for goal in GOALS:
        progress(f"making {name}")
        variant, told = maker.make(name, goal), list[str]()
        onnx.save(variant.model, str(folder / variant.file.path))
        files = [variant.file]
        for file_format, write in beside.WRITERS.items():
            try:
                files.append(write(maker, variant, folder, graph))
            except ExportError as cause:
                told.append(beside.left_out(file_format, name, cause))
        results = [_measured(variant, file, folder, graph, known, golden, progress) for file in files]
        last = goal == GOALS[-1] or variant.closest
        if last and results[0][0].passed:
            told += _left_out(files, results, folder)
        missed = [entry for entry, _ in results if not entry.passed]
        if not missed and (last or not any(parity.narrow(entry) for entry, _ in results)):
            notes.extend([*variant.notes, *told])
            found.made.append(variant)
            found.files += files
            found.entries += [entry for entry, _ in results]
            found.drifts += [drift for _, drift in results]
            return
        if last:
            break
    for file in files:
        (folder / file.path).unlink()
    raise MissedError(parity.missed(missed[0]))


def _left_out(files: list[ModelFile], results: list[tuple[ParityTable, parity.Drift]], folder: Path) -> list[str]:
    """Take out a file that misses what its ONNX file keeps; say so. Its runtime's own rounding is too coarse."""
    told = []
    for place in range(len(files) - 1, 0, -1):
        if not results[place][0].passed:
            reason = parity.by_how_much(results[place][0])
            told.append(beside.left_out(files[place].format, files[place].variant, reason))
            (folder / files[place].path).unlink()
            del files[place], results[place]
    return told


def _measured(  # noqa: PLR0917 - one call, above
    variant: Variant,
    file: ModelFile,
    folder: Path,
    graph: Graph,
    known: Items[parity.Truth],
    golden: parity.Truth,
    progress: Progress,
) -> tuple[ParityTable, parity.Drift]:
    """Hold a file against the original, opened from the file and its description just as a device opens it."""
    backend = backends.reader(file)
    tick = counted(progress, f"proving {file.variant} on {backend}", sum(len(truth.frames) for truth in known))
    model = backends.open_file(folder / file.path, backend, graph, file)
    entry, drift = parity.measure(model, known, tick)
    same = backend == "native" and variant.program is not None and exact(variant.program)
    return msgspec.structs.replace(parity.replayed(model, golden, entry), exact=same), drift
