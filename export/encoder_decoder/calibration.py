"""What an encoder-decoder's variants are calibrated on: seeded sources and targets, others than those of the proof.

Sources of one length run side by side; lengths go down to a few frames, where a mean over the source varies most.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.encoder_decoder.split import Parts
from export.errors import ExportError
from export.frontends import EncoderDecoder
from export.graph import Array, first_line, session
from export.quantize.calibrate import Batch

SHARES = (1, 2, 4, 8, 16)
"""The longest source's length, divided by these."""
SEQUENCES = 12
FIRST_SEED = 10**6


class Calibration:
    """Draws sources and targets and runs the float encoder on them; groups: (seed, sources, memories) of one length."""

    def __init__(self, model: EncoderDecoder, parts: Parts, longest_source: int, longest_target: int) -> None:
        self._model, self._target = model, longest_target
        encoder, names = session(ir.to_proto(parts.encoder)), [held.name for held in parts.memory]
        self._groups: list[tuple[int, list[Array], dict[str, Array]]] = []
        for place, length in enumerate(dict.fromkeys(max(longest_source // share, 1) for share in SHARES)):
            seed = FIRST_SEED + place * SEQUENCES
            sources = [model.source.noise(length, seed + number) for number in range(SEQUENCES)]
            try:
                memories = [encoder.run(None, {model.source.name: source}) for source in sources]
            except Exception as cause:
                if place == 0:
                    raise ExportError(f"the encoder does not run: {first_line(cause)}") from cause
                continue  # a source that is too short for the model
            held = {name: np.stack(values) for name, values in zip(names, zip(*memories, strict=True), strict=True)}
            self._groups.append((seed, sources, held))

    def steps(self) -> list[Batch]:
        """Return sources as rows, float32[T, features]: an encoder's that is a step."""
        axis = self._model.source.time_axis
        return [Batch([_rows(source, axis) for source in sources], anew=True) for _, sources, _ in self._groups]

    def wholes(self) -> list[Batch]:
        """Return sources as an encoder that is no step takes them: all at once, and nothing else."""
        nothing = [np.empty((1, 0), np.float32)] * SEQUENCES
        name = self._model.source.name
        return [Batch(nothing, {name: np.stack(sources)}, anew=True) for _, sources, _ in self._groups]

    def targets(self) -> list[Batch]:
        """Return targets as rows, each with the memory of a source."""
        target, batches = self._model.target, []
        for seed, _, held in self._groups:
            noise = (target.noise(self._target, seed + number) for number in range(SEQUENCES))
            batches.append(Batch([_rows(given, target.time_axis) for given in noise], held, anew=True))
        return batches


def _rows(array: Array, axis: int) -> NDArray[np.float32]:
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float32)
