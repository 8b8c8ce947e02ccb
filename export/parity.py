"""Does the step compute what was trained? Held against the original in float64, offline, over whole sequences."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import STORAGE, ParityTable
from edgeseq.types import StepModel
from edgeseq.verification import verify
from export.errors import ExportError
from export.frontends.onnx_reference import rounding_otherwise
from export.frontends.sequence import Sequence
from export.progress import Progress, Tick, counted, silent, still

STEPS = 10_000
"""Free-running steps at least, per variant and backend."""
PREFIXES = 40
"""For a model that gives its last step only: how many random prefixes the original is run on. Each takes its length in
steps, so they are spread over its orders of magnitude, as many of 10 to 100 steps as of 1,000 to 10,000."""
WINDOWS = 200
"""For a model run on windows: on how many random ones of a sequence the original is run, if so many lie in it side by
side."""
QUANTIZED_BOUNDS = {"int8": 0.04, "w8a16": 0.01, "w8": 0.04, "float16": 1e-3}
"""Greatest rms error, as a share of the output's standard deviation.

float16 rounds each weight by 2e-4 of itself rms (2**-11 at most), and so each sum of products; some layers and a
state's feedback make 5e-4 of it. Its greatest error over 10,000 steps is four times that: no bound of 1e-3 on that one.
"""
FLOAT_SHARE = 1e-5
"""Greatest error of float variants, as a share of the output's standard deviation …"""
OWN_ERRORS = 4
"""… or as a multiple of the original's own float32 error, where that is greater.

A model that is quantized already rounds to integers: what lies at the edge between two may fall to the other side in
float32 than in float64, once in many thousand steps, and the output is off by a whole integer then. So of such a model
the rms error is judged, and its own error is at least that of the original when all that lies near enough to an edge
falls to either side: a few such steps pass, an error that stays does not.
"""
SEGMENTS = 10
MARGIN = 0.9
"""Share of its tolerance that a quantized variant should keep within, if keeping more of it in float32 allows that."""
NOTHING = " Nothing was written."
Outputs = NDArray[np.floating]


@dataclass(frozen=True)
class Truth:
    """The original's outputs. frames: float32[T, features]; outputs: float64[len(at), outputs] at the steps `at`."""

    frames: NDArray[np.float32]
    at: NDArray[np.int64]
    outputs: NDArray[np.float64]
    own_error: NDArray[np.float64]
    """Each output's greatest difference of the original in float32 from itself in float64; where it rounds, the rms."""
    rounds: bool = False


@dataclass(frozen=True)
class Steps:
    """The steps of a stream: how many frames each takes, and how many of the first give nothing."""

    frames: int = 1
    delay: int = 0


EACH = Steps()


@dataclass(frozen=True)
class Drift:
    """The rms error in ten parts of the longest sequence, in order, so that drift is seen."""

    variant: str
    backend: str
    rms: tuple[float, ...]


def truths(
    sequence: Sequence,
    calibration: Items[NDArray[np.float32]],
    window: int = 0,
    longest: int | None = None,
    progress: Progress = silent,
    *,
    steps: Steps = EACH,
) -> list[Truth]:
    """Run the original: once over one long sequence of at least STEPS, then over the given ones from a reset each.

    window: where not 0, over windows of so many frames at random places instead of over the whole. longest: after how
    many frames at most a stream is reset; a longer sequence is cut there. steps: of a model that gives its last output
    alone, those that give one.
    """
    joined = np.concatenate(list(calibration))
    long = np.tile(joined, (-(-STEPS // len(joined)), 1))[: max(STEPS, min(len(joined), 2 * STEPS))]
    # Each sequence ends in another place of a step.
    cut = [frames[: len(frames) - place] for place, frames in enumerate(calibration[:SEGMENTS])]
    cases = resets([frames for frames in (long, *cut) if len(frames) >= max(window, 1)], longest)
    if not (window or sequence.every_step):
        cases = [case for case in cases if len(case) > steps.delay * steps.frames]
    total = sum(len(part) for case in cases for part in _parts(sequence, case, window, steps)[1])
    tick = counted(progress, "running the original in float64", total)
    return [truth(sequence, frames, window, tick, steps) for frames in cases]


def resets(cases: Items[NDArray[np.float32]], longest: int | None) -> list[NDArray[np.float32]]:
    """Cut sequences where a stream would be reset: after so many frames at most."""
    return [
        case[at : at + (longest or len(case))] for case in cases for at in range(0, len(case), longest or len(case))
    ]


def truth(
    sequence: Sequence, frames: NDArray[np.float32], window: int = 0, tick: Tick = still, steps: Steps = EACH
) -> Truth:
    """Run the original over one sequence, in float64 and in float32."""
    at, parts = _parts(sequence, frames, window, steps)
    double, single, edges = [], [], []
    for part in parts:
        double.append(sequence.outputs(part, sequence.double))
        single.append(sequence.outputs(part, sequence.single))
        if sequence.rounds:
            with rounding_otherwise():
                edges.append(sequence.outputs(part, sequence.double))
        tick(len(part))
    if at is None:
        return _truth(frames, np.arange(len(double[0])), double[0], single[0], *edges)
    last = [np.stack([y[-1] for y in given]) for given in (double, single, edges) if given]
    return _truth(frames, at, *last)


def _parts(
    sequence: Sequence, frames: NDArray[np.float32], window: int, steps: Steps, seed: int = 0
) -> tuple[NDArray[np.int64] | None, list[NDArray[np.float32]]]:
    """Return what the original is run on, and the steps that the last output of each part is for; None: the whole."""
    rng = np.random.default_rng(seed)
    if window:
        last = len(frames) - window
        at = np.unique(np.concatenate([[0, last], rng.integers(0, last + 1, min(WINDOWS, len(frames) // window))]))
        return at, [frames[start : start + window] for start in at]
    if sequence.every_step:
        return None, [frames]
    # Every prefix ends with a whole step.
    count = len(frames) // steps.frames - steps.delay
    spread = np.exp(rng.uniform(0, np.log(count), min(PREFIXES, count))).astype(np.int64) - 1
    at = np.unique([0, *spread, count - 1])
    return at, [frames[: (place + steps.delay + 1) * steps.frames] for place in at]


def _truth(
    frames: NDArray[np.float32], at: NDArray[np.int64], double: Outputs, single: Outputs, edges: Outputs | None = None
) -> Truth:
    outputs = np.asarray(double, np.float64)
    # What float32 cannot hold is infinity, too, and no error could be squared.
    held = (np.abs(outputs) <= np.finfo(np.float32).max) & np.isfinite(single)
    if not held.all():
        step = int(at[np.argwhere(~held)[0, 0]])
        raise ExportError(f"the model itself gives NaN or infinity at step {step} of the calibration frames.")
    if edges is None:
        return Truth(frames, at, outputs, np.abs(outputs - single).max(axis=0))
    own = [np.sqrt(np.mean(np.square(outputs - other), axis=0)) for other in (single, edges)]
    return Truth(frames, at, outputs, np.maximum(*own), rounds=True)


def tolerances(variant: str, known: Items[Truth]) -> tuple[Literal["max", "rms"], NDArray[np.float64]]:
    """Return the metric and each output's limit for a variant. Outputs vary in units of their own: each has its limit.

    float32: the greater of 1e-5 of the output's spread (its standard deviation over time) and four times the original's
    own float32 error. Others: the variant's share of the output's spread, on the rms error. No limit is below the
    spacing of float32 at the output's greatest value: an output that never varies has no spread.
    """
    spread, own, greatest = _scales(known)
    least = np.finfo(np.float32).eps * greatest
    if variant in QUANTIZED_BOUNDS:
        return "rms", np.maximum(QUANTIZED_BOUNDS[variant] * spread, least)
    metric: Literal["max", "rms"] = "rms" if any(truth.rounds for truth in known) else "max"
    return metric, np.maximum.reduce([FLOAT_SHARE * spread, OWN_ERRORS * own, least])


def chaos(known: Items[Truth]) -> list[str]:
    """Report the outputs where the original's own float32 error, not its spread, sets what a step is held to.

    Raises ExportError where that error reaches the spread: a step that gave the mean would then pass.
    """
    spread, own, greatest = _scales(known)
    notes = []
    for output in np.flatnonzero(OWN_ERRORS * own > QUANTIZED_BOUNDS["w8a16"] * spread):
        told = (
            f"output {output} is chaotic or random: the model in float32 departs from itself in float64 by "
            f"{own[output]:.3g}, while the output varies by {spread[output]:.3g}"
        )
        if OWN_ERRORS * own[output] >= max(spread[output], FLOAT_SHARE * greatest[output]):
            raise ExportError(f"{told}: no step could be held against it. Nothing was written.")
        notes.append(told)
    return notes


def _scales(known: Items[Truth]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return each output's spread, own float32 error and greatest size."""
    own = np.max([truth.own_error for truth in known], axis=0)
    if any(truth.rounds for truth in known):  # an rms over all of them, as the error that is held against it
        own = np.sqrt(np.average([truth.own_error**2 for truth in known], axis=0, weights=[len(t.at) for t in known]))
    return known[0].outputs.std(axis=0), own, np.max([np.abs(truth.outputs).max(axis=0) for truth in known], axis=0)


def measure(model: StepModel, known: Items[Truth], tick: Tick = still, seed: int = 0) -> tuple[ParityTable, Drift]:
    """Run a step model over the same sequences, each from a reset, in chunks of random length; compare."""
    rng = np.random.default_rng(seed)
    errors = []
    for case in known:
        model.reset()
        errors.append(in_chunks(model, case.frames, rng, tick)[case.at].astype(np.float64) - case.outputs)
    metric, limits = tolerances(model.variant, known)
    found = verify.worst(np.concatenate(errors), metric, limits)
    table = ParityTable(
        variant=model.variant, backend=model.backend, steps=sum(len(case.frames) for case in known),
        max_abs_err=found.max_abs_err, rms_err=found.rms_err, metric=metric, tolerance=found.tolerance,
        passed=found.passed, output=found.output, tolerances=limits.tolist(),
    )  # fmt: skip
    parts = np.array_split(errors[0], SEGMENTS)
    rms = tuple(float(np.sqrt(np.mean(np.square(part)))) for part in parts if len(part))
    return table, Drift(model.variant, model.backend, rms)


def replayed(model: StepModel, golden: Truth, entry: ParityTable) -> ParityTable:
    """Return how a model did, or, where it fails on the goldens alone, how it did on those.

    They are fewer steps than it was measured on: what errs most at the start has its rms error from that.
    """
    model.reset()
    given = np.concatenate([model.run(golden.frames), model.flush()])[model.delay :][golden.at]
    found = verify.worst(given.astype(np.float64) - golden.outputs, entry.metric, np.array(entry.tolerances))
    if not entry.passed or found.passed:
        return entry
    return msgspec.structs.replace(
        entry, steps=len(golden.frames), max_abs_err=found.max_abs_err, rms_err=found.rms_err,
        tolerance=found.tolerance, passed=False, output=found.output,
    )  # fmt: skip


def in_chunks(
    model: StepModel, frames: NDArray[np.float32], rng: np.random.Generator, tick: Tick = still
) -> NDArray[np.float32]:
    """Run frames through a model in chunks of random length; return what the original gives, flushed outputs too."""
    rows, start = [], 0
    while start < len(frames):
        size = int(rng.choice([1, 2, 7, 64, 500]))
        chunk = frames[start : start + size]
        alone = len(chunk) == 1 == model.frames_per_step
        rows.append(model.step(chunk[0])[None] if alone else model.run(chunk))
        start += size
        tick(len(chunk))
    return np.concatenate([*rows, model.flush()])[model.delay :]


def missed(entry: ParityTable) -> str:
    """Say which variant missed its tolerance, and what to do."""
    advice = (
        "The tolerance is a share of how much the output varies over the calibration frames: calibrate with more of "
        "the real ones, or leave the variant out with --variants."
        if entry.variant in QUANTIZED_BOUNDS
        else "The step is not the model: part of it works over time in a way that was not recognized."
    )
    return f"{by_how_much(entry)}{NOTHING} {advice}"


def narrow(entry: ParityTable) -> bool:
    """Say whether a variant keeps its tolerance so narrowly that another processor's rounding may miss it.

    One that computes in float32 rounds the same anywhere, but for the last bits.
    """
    error = entry.rms_err if entry.metric == "rms" else entry.max_abs_err
    return entry.variant not in STORAGE and error > MARGIN * entry.tolerance


def by_how_much(entry: ParityTable) -> str:
    """Say by how much a variant misses its tolerance."""
    error = entry.rms_err if entry.metric == "rms" else entry.max_abs_err
    return (
        f"{entry.variant} on {entry.backend} misses its tolerance at output {entry.output}: {entry.metric} error "
        f"{error:.3g} over {entry.steps:,} steps, {entry.tolerance:.3g} allowed."
    )
