"""The native files of a bundle: one beside each variant's ONNX file, where edgeseq's own engine has the step's ops."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq import backends
from edgeseq.bundle import STORAGE, Graph, ModelFile, StateTensors
from edgeseq.errors import EdgeseqError
from export.errors import FLOAT_ALONE, ExportError
from export.program import Program
from export.quantize.step import stored_states
from export.variants import Maker, Variant, file_of
from export.writers import native as writer


def write(maker: Maker, variant: Variant, folder: Path, graph: Graph) -> ModelFile:
    """Write a variant's file of one of a bundle's graphs. Raises ExportError naming the operation that is missing."""
    path = folder / f"{graph.name}.{variant.name}.npz"
    try:
        program, storage = _program(maker, variant), variant.name if variant.name in STORAGE else ""
        writer.write(path, program, storage)
        size = writer.weight_bytes(program, storage)
        file = file_of(program, variant.name, "npz", size, states(program), graph.name)
        opening = backends.open_whole if graph.whole else backends.open_file
        opening(path, "native", graph, file)  # it says which operation it lacks
    except EdgeseqError as cause:
        path.unlink(missing_ok=True)
        raise ExportError(str(cause).removesuffix(FLOAT_ALONE).removeprefix(f"{path}: ")) from cause
    return file


def _program(maker: Maker, variant: Variant) -> Program:
    """Return what a variant's file says; what computes in float32 has no Program of its own."""
    if variant.name in STORAGE:
        return maker.rounded(variant)
    return maker.lowered() if variant.program is None else variant.program


def states(program: Program) -> list[StateTensors]:
    """Return how states enter and leave: by the names that their tensors have in the program."""
    return [
        msgspec.structs.replace(entry, input=state.input, output=state.output)
        for entry, state in zip(stored_states(program), program.states, strict=True)
    ]
