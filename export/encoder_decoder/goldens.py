"""parity.npz of an encoder-decoder: sources, targets, what the original gives, and what each quantized variant does."""

from __future__ import annotations

from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import backends
from edgeseq.backends._file_step import entries
from edgeseq.bundle import GenerateTable, Graph
from edgeseq.models import encoder_decoder as runtime
from edgeseq.models.encoder import Encoder, Memory
from edgeseq.types import Frames
from edgeseq.verification import goldens
from export.encoder_decoder import parity as proof
from export.encoder_decoder.pairs import Graphs, Pair
from export.frontends import EncoderDecoder
from export.program import Program
from export.quantize.reference import Interpreter
from export.quantize.step import ReferenceStep, recorded
from export.variants import Variant

NO_FRAME = np.empty((1, 1, 0), np.float32)


def arrays(
    model: EncoderDecoder,
    generate: GenerateTable | None,
    known: Items[proof.Case],
    tolerances: NDArray[np.float64],
) -> dict[str, NDArray[Any]]:
    """Return sources and targets one behind another, the original's outputs, and its greedy tokens."""
    found: dict[str, NDArray[Any]] = {
        "sources": np.concatenate([case.source for case in known]),
        "source_lengths": np.array([len(case.source) for case in known], np.int64),
        "targets": np.concatenate([case.target for case in known]),
        "target_lengths": np.array([len(case.target) for case in known], np.int64),
        "outputs": np.concatenate([case.outputs for case in known]),
    }
    if generate is not None:
        steps = min(generate.max_length, proof.GREEDY_STEPS)
        tokens = np.full((len(known), steps), goldens.NO_TOKEN, np.int64)
        for row, case in zip(tokens, known, strict=True):
            given = proof.greedy(model, case.source, generate, steps, 2 * float(tolerances.max()))
            row[: len(given)] = given
        found["greedy"] = tokens
    return found


def reference(pair: Pair, folder: Path, graphs: Graphs, known: Items[proof.Case]) -> dict[str, NDArray[Any]]:
    """Return what a quantized variant's reference gives for the targets, under its name; nothing for any other."""
    *parts, last = pair.graphs
    if last.program is None:
        return {}
    decoder = ReferenceStep(last.program, graphs[-1], last.name)
    encoder = Encoder([_part(part, folder, graph) for part, graph in zip(parts, graphs[:-1], strict=True)], graphs[:-1])
    model = runtime.EncoderDecoder(encoder, decoder, graphs[-1])
    outputs = np.concatenate([model.logits(case.source, case.target) for case in known])
    return {f"{last.name}.{key}": array for key, array in recorded(decoder, outputs).items()}


def _part(part: Variant, folder: Path, graph: Graph) -> Any:
    """Return a part of the encoder on the reference; from its file where it computes in float32."""
    if part.program is None:
        opening = backends.open_whole if graph.whole else backends.open_file
        return opening(folder / part.file.path, "ort", graph, part.file)
    return whole(part.program, graph) if graph.whole else ReferenceStep(part.program, graph, part.name)


def whole(program: Program, graph: Graph) -> backends.Whole:
    """Return what runs once on the reference."""
    interpreter = Interpreter(program)

    def run(rows: Frames, held: Memory) -> dict[str, NDArray[Any]]:
        source = {entry.name: entry.enter(rows) for entry in entries(graph, len(rows))}
        interpreter.hold({name: value[None] for name, value in (source | dict(held)).items()})
        interpreter.step(NO_FRAME)
        names = [tensor.name for tensor in graph.outputs]
        return {name: interpreter.values[at][0] for name, at in zip(names, program.outputs, strict=True)}

    return run
