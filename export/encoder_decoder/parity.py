"""Do encoder and decoder together compute what was trained? Held against the original in float64, teacher-forced."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import GenerateTable, ParityTable
from edgeseq.errors import ModelError
from edgeseq.models.encoder_decoder import EncoderDecoder as StepPair
from edgeseq.types import Frames
from edgeseq.verification import verify
from export import parity
from export.encoder_decoder.recorded import Pair
from export.errors import ExportError
from export.frontends import EncoderDecoder
from export.frontends.lengths import PADDING
from export.progress import Tick, still

LONGEST = 64
"""Frames of the sources and targets that are compared."""
SHORT = (1, 2, 3, 7)
"""Frames of further sources: what is wrong where there is but one entry, or no pair of them, shows there alone."""
EACH = 3
"""Sources of each short length."""
GOLDENS = 8
GREEDY_STEPS = 24


@dataclass(frozen=True)
class Case:
    """A source and a target, as rows, and the original's outputs on them: float64 and, from float32, its own error."""

    source: NDArray[np.float32]
    target: NDArray[np.float32]
    outputs: NDArray[np.float64]
    own_error: NDArray[np.float64]


def cases(  # noqa: PLR0917 - one call, in the exporter
    model: EncoderDecoder,
    longest_target: int,
    tick: Tick = still,
    seed: int = 0,
    short: Items[int] = (),
    pairs: Items[Pair] = (),
) -> list[Case]:
    """Run the original on sources and targets of random lengths, `parity.STEPS` target steps at least.

    pairs: recorded ones, all of them, then each source with other targets; without them they are seeded. short: lengths
    of further sources, which it is run on where it runs on them. Where it takes lengths, every second source has
    padding behind it.
    """
    rng = np.random.default_rng(seed)
    most, longest = longest_source(model), min(longest_target, LONGEST)
    found: list[Case] = []

    def given(number: int, source_length: int | None = None) -> Pair:
        if pairs:
            source, target = pairs[number % len(pairs)][0], pairs[(number + number // len(pairs)) % len(pairs)][1]
            return source[:source_length], target
        source_length = source_length or int(rng.integers(most // 2, most + 1))
        noise = model.noise(source_length, int(rng.integers(1, longest + 1)), 2 * number)
        return model.rows(noise[0], 0), model.rows(noise[1], 1)

    def case(number: int, source: Frames, target: Frames) -> Case:
        room = len(source) + PADDING <= most and len(target) + PADDING <= longest
        padded = model.padded if number % 2 and room else None
        single, double = (model.outputs(source, target, run) for run in padded or (model.single, model.double))
        return Case(source, target, double.astype(np.float64), np.abs(double - single).max(axis=0))

    steps = 0
    while steps < parity.STEPS or len(found) < len(pairs):
        found.append(case(len(found), *given(len(found))))
        new = len(found[-1].target)
        steps += new
        tick(max(min(new, parity.STEPS - steps + new), 0))
    for length in (length for length in short if length < most // 2):
        numbers = range(len(found), len(found) + EACH)
        runs = [given(number, length) for number in numbers]
        try:
            tried = [case(number, *run) for number, run in zip(numbers, runs, strict=True)]
        except ExportError:
            continue  # too short for the model
        found += [run for run in tried if np.isfinite(run.own_error).all()]  # or for a spread, say
    return found


def left_out(known: Items[Case]) -> list[str]:
    """Say which short sources are no part of the proof."""
    there = {len(case.source) for case in known}
    missing = ", ".join(str(length) for length in SHORT if length not in there)
    told = f"sources of {missing} frames are no part of the proof: they are, or may be, too short for the model"
    return [told] if missing else []


def truths(known: Items[Case]) -> list[parity.Truth]:
    """Return the cases as one sequence, as tolerances are taken from it."""
    outputs = np.concatenate([case.outputs for case in known])
    frames = np.concatenate([case.target for case in known])
    return [parity.Truth(frames, np.arange(len(outputs)), outputs, np.max([case.own_error for case in known], axis=0))]


def measure(model: StepPair, known: Items[Case], tick: Tick = still, seed: int = 0) -> tuple[ParityTable, parity.Drift]:
    """Run encoder and decoder on every case, the target in chunks of random length; compare.

    The first cases, the goldens, are held to the tolerance by themselves as well: they alone are replayed later.
    Drift is seen along the targets' steps, all cases together.
    """
    rng = np.random.default_rng(seed)
    errors = []
    for case in known:
        try:
            given = parity.in_chunks(model.decoder(model.encode(case.source)), case.target, rng, tick)
        except ModelError as cause:
            raise ExportError(
                f"{model.variant} on {model.backend} does not run on a source of {len(case.source)} frames, as the "
                f"original does: {cause}"
            ) from cause
        errors.append(given.astype(np.float64) - case.outputs)
    metric, limits = parity.tolerances(model.variant, truths(known))
    found = verify.worst(np.concatenate(errors), metric, limits)
    goldens = verify.worst(np.concatenate(errors[:GOLDENS]), metric, limits)
    found = goldens if found.passed and not goldens.passed else found
    table = ParityTable(
        variant=model.variant, backend=model.backend, steps=sum(len(case.target) for case in known),
        max_abs_err=found.max_abs_err, rms_err=found.rms_err, metric=metric, tolerance=found.tolerance,
        passed=found.passed, output=found.output, tolerances=limits.tolist(),
    )  # fmt: skip
    at = np.concatenate([np.arange(len(rows)) for rows in errors])
    parts = [
        np.concatenate(errors)[np.isin(at, steps)] for steps in np.array_split(np.arange(at.max() + 1), parity.SEGMENTS)
    ]
    rms = tuple(float(np.sqrt(np.mean(np.square(part)))) for part in parts if len(part))
    return table, parity.Drift(model.variant, model.backend, rms)


def greedy(
    model: EncoderDecoder, source: NDArray[np.float32], generate: GenerateTable, steps: int, margin: float
) -> list[int]:
    """Return the tokens that the original gives in float64, each time run over all it has given so far.

    They end where two tokens lie within `margin`: which of them comes next is not for a step model to tell.
    """
    given: list[int] = []
    while len(given) < steps:
        target = np.array([generate.start, *given], np.float32)[:, None]
        outputs = model.outputs(source, target, model.double)[-1]
        second, first = np.argsort(outputs)[-2:]
        if first == generate.stop or outputs[first] - outputs[second] <= margin:
            break
        given.append(int(first))
    return given


def longest_source(model: EncoderDecoder) -> int:
    """Return how long sources may be, up to LONGEST: tables of positions end somewhere."""
    length = LONGEST
    while length > 1:
        try:
            model.single(model.noise(length, 5))
        except ExportError:
            length //= 2
        else:
            return length
    raise ExportError(f"{model.origin}: it runs on no source of {LONGEST} frames or fewer.")
