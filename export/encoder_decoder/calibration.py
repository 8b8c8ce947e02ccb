"""What an encoder-decoder's variants are calibrated on: recorded pairs, else seeded ones, others than the proof's.

Sources of one length run side by side; lengths go down to a single frame: a mean varies most over few of them, and the
last states of both directions are far apart only where there are few steps between them. Of recorded sources the short
ones are beginnings.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeseq.models import encoder as encoders
from export.encoder_decoder.encoder import Encoder
from export.encoder_decoder.part import Part
from export.encoder_decoder.recorded import Pair
from export.errors import ExportError
from export.frames import evenly
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


@dataclass(frozen=True)
class Group:
    """Sources of one length, as the model takes them, and a target's rows for each.

    short: the model may be unable to run on sources of this length.
    """

    sources: list[Array]
    targets: list[NDArray[np.float32]]
    short: bool


def drawn(model: EncoderDecoder, longest_source: int, longest_target: int) -> list[Group]:
    """Draw sources and targets from seeded noise."""
    counts = {max(longest_source // share, 1): max(share, SEQUENCES) for share in SHARES}
    seeds = itertools.accumulate(counts.values(), initial=FIRST_SEED)
    groups = []
    for (length, count), seed in zip(counts.items(), seeds, strict=False):
        sources = [model.source.noise(length, seed + number) for number in range(count)]
        targets = [model.rows(model.target.noise(longest_target, seed + number), 1) for number in range(count)]
        groups.append(Group(sources, targets, short=length < longest_source))
    return groups


def recorded(model: EncoderDecoder, pairs: Items[Pair]) -> list[Group]:
    """Sort recorded pairs by the lengths of their sources, and add pairs whose sources are beginnings of these."""
    by_length: defaultdict[int, list[Pair]] = defaultdict(list)
    for source, target in pairs:
        by_length[len(source)].append((source, target))
    groups = [_group(model, by_length[length], length) for length in sorted(by_length, reverse=True)]
    longest = max(by_length)
    for length in {max(longest // share, 1): None for share in SHARES[1:]}:
        longer = [pair for pair in pairs if len(pair[0]) > length]
        if picked := evenly(longer, max(longest // length, SEQUENCES)):
            groups.append(_group(model, picked, length, short=length not in by_length))
    return groups


def _group(model: EncoderDecoder, pairs: Items[Pair], length: int, *, short: bool = False) -> Group:
    sources = [model.source.enter(source[:length]) for source, _ in pairs]
    return Group(sources, [target for _, target in pairs], short)


class Calibration:
    """Runs the float encoder on groups of sources.

    groups: each with what each part gives by name.
    """

    def __init__(self, model: EncoderDecoder, encoder: Encoder, groups: Items[Group]) -> None:
        self._model = model
        names = [str(value.name) for value in encoder.model.graph.outputs]
        run = session(ir.to_proto(encoder.model))
        self._groups: list[tuple[Group, dict[str, list[Array]]]] = []
        for group in groups:
            length = group.sources[0].shape[model.source.time_axis]
            if group.short and not encoder.long_enough(model.source, length):
                continue
            try:
                found = [run.run(None, {model.source.name: source}) for source in group.sources]
            except Exception as cause:
                if not group.short:
                    raise ExportError(
                        f"the encoder does not run on a source of {length} frames: {first_line(cause)}"
                    ) from cause
                continue
            if group.short and any(np.isnan(value).any() for values in found for value in values):
                continue  # too short for a spread, say
            given = {name: [*values] for name, values in zip(names, zip(*found, strict=True), strict=True)}
            self._groups.append((group, given))

    def of(self, part: Part) -> list[Batch]:
        """Return what a part of the encoder takes: rows of a step's sequences, float32[T, width], and what it holds."""
        batches = []
        for group, given in self._groups:
            sources = group.sources
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
        batches = []
        for group, given in self._groups:
            held = {name: np.stack(given[inner]) for name, inner in memory.items()}
            batches.append(Batch(group.targets, held, anew=True))
        return batches


def _rows(array: Array, axis: int) -> NDArray[np.float32]:
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float32)
