"""What an encoder-decoder's variants are calibrated on: seeded sources and targets, others than those of the proof.

Sources of one length run side by side; lengths go down to a single frame: a mean varies most over few of them, and the
last states of both directions are far apart only where there are few steps between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeseq import encoder as encoders
from export.encoder_decoder.encoder import Encoder
from export.encoder_decoder.part import Part
from export.errors import ExportError
from export.frontends import EncoderDecoder
from export.graph import Array, first_line, session
from export.quantize.calibrate import Batch

SHARES = (1, 2, 4, 8, 16, 32, 64)
"""The longest source's length, divided by these; of the shorter ones there are as many, to show as much of a source."""
SEQUENCES = 12
"""Of a length, at least."""
FIRST_SEED = 10**6
NOTHING = np.empty((1, 0), np.float32)
"""The rows of what runs once."""


class Calibration:
    """Draws sources and targets and runs the float encoder on them.

    groups: (seed, sources, what each part gives by name) of one length.
    """

    def __init__(self, model: EncoderDecoder, encoder: Encoder, longest_source: int, longest_target: int) -> None:
        self._model, self._target = model, longest_target
        names = [str(value.name) for value in encoder.model.graph.outputs]
        run = session(ir.to_proto(encoder.model))
        self._groups: list[tuple[int, list[Array], dict[str, list[Array]]]] = []
        counts = {max(longest_source // share, 1): max(share, SEQUENCES) for share in SHARES}
        seeds = itertools.accumulate(counts.values(), initial=FIRST_SEED)
        for place, (length, seed) in enumerate(zip(counts, seeds, strict=False)):
            if place and not encoder.long_enough(model.source, length):
                continue
            sources = [model.source.noise(length, seed + number) for number in range(counts[length])]
            try:
                found = [run.run(None, {model.source.name: source}) for source in sources]
            except Exception as cause:
                if place == 0:
                    raise ExportError(f"the encoder does not run: {first_line(cause)}") from cause
                continue  # a source that is too short for the model
            if place and any(np.isnan(value).any() for values in found for value in values):
                continue  # too short for a spread, say
            given = {name: [*values] for name, values in zip(names, zip(*found, strict=True), strict=True)}
            self._groups.append((seed, sources, given))

    def of(self, part: Part) -> list[Batch]:
        """Return what a part of the encoder takes: rows of a step's sequences, float32[T, width], and what it holds."""
        batches = []
        for _, sources, given in self._groups:
            known = {**given, self._model.source.name: sources}
            columns = [[_rows(each, entry.time_axis) for each in known[entry.name]] for entry in part.stream.frames]
            rows = [np.concatenate(parts, axis=1) for parts in zip(*columns, strict=True)] or [NOTHING] * len(sources)
            if len(rows[0]) < part.stream.frames_per_step:
                continue  # too short for a step
            rows = [encoders.turned(each) for each in rows] if part.backwards else rows
            held = {name: np.stack(known[name]) for name in part.stream.held}
            batches.append(Batch(rows, held, anew=True))
        return batches

    def targets(self, memory: Mapping[str, str]) -> list[Batch]:
        """Return targets as rows, each with the memory of a source; memory: what it is called in the encoder."""
        target, batches = self._model.target, []
        for seed, sources, given in self._groups:
            noise = (target.noise(self._target, seed + number) for number in range(len(sources)))
            held = {name: np.stack(given[inner]) for name, inner in memory.items()}
            batches.append(Batch([_rows(each, target.time_axis) for each in noise], held, anew=True))
        return batches


def _rows(array: Array, axis: int) -> NDArray[np.float32]:
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float32)
