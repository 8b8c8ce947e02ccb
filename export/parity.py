"""Does the step compute what was trained? Held against the original in float64, offline, over whole sequences."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import ParityTable
from edgeseq.types import StepModel
from export.frontends.sequence import Sequence

STEPS = 10_000
"""Free-running steps at least, per variant and backend."""
PREFIXES = 40
"""For a model that gives its last step only: how many random prefixes the original is run on."""
QUANTIZED_BOUNDS = {"int8": 0.04, "w8a16": 0.01}
"""Greatest rms error, as a share of the output's standard deviation."""
SEGMENTS = 10


@dataclass(frozen=True)
class Truth:
    """The original's outputs. frames: float32[T, features]; outputs: float64[len(at), outputs] at the steps `at`."""

    frames: NDArray[np.float32]
    at: NDArray[np.int64]
    outputs: NDArray[np.float64]
    own_error: float
    """The greatest difference of the original in float32 from itself in float64."""

    @property
    def spread(self) -> float:
        """The output's standard deviation."""
        return float(self.outputs.std())


@dataclass(frozen=True)
class Drift:
    """The rms error in each tenth of the longest sequence, so that drift is seen."""

    variant: str
    rms: tuple[float, ...]


def truths(sequence: Sequence, calibration: Items[NDArray[np.float32]], seed: int = 0) -> list[Truth]:
    """Run the original: once over one long sequence of at least STEPS, then over the given ones from a reset each."""
    joined = np.concatenate(list(calibration))
    long = np.tile(joined, (-(-STEPS // len(joined)), 1))[: max(STEPS, min(len(joined), 2 * STEPS))]
    return [truth(sequence, frames, seed) for frames in (long, *calibration[:SEGMENTS])]


def truth(sequence: Sequence, frames: NDArray[np.float32], seed: int = 0) -> Truth:
    """Run the original over one sequence, in float64 and in float32."""
    if sequence.time_of_output is not None:
        double, single = sequence.outputs(frames, sequence.double), sequence.outputs(frames, sequence.single)
        own = float(np.abs(double - single).max())
        return Truth(frames, np.arange(len(double)), np.asarray(double, np.float64), own)
    rng = np.random.default_rng(seed)
    at = np.unique(np.concatenate([[0, len(frames) - 1], rng.integers(0, len(frames), min(PREFIXES, len(frames)))]))
    double = np.concatenate([sequence.outputs(frames[: end + 1], sequence.double) for end in at])
    single = np.concatenate([sequence.outputs(frames[: end + 1], sequence.single) for end in at])
    return Truth(frames, at, np.asarray(double, np.float64), float(np.abs(double - single).max()))


def tolerance(variant: str, known: Items[Truth]) -> tuple[str, float]:
    """Return the metric and its limit for a variant.

    float32: the greater of 1e-5 of the output's spread and four times the original's own float32 error.
    Quantized: the variant's share of the output's standard deviation, on the rms error.
    """
    spread = known[0].spread
    if variant in QUANTIZED_BOUNDS:
        return "rms", QUANTIZED_BOUNDS[variant] * spread
    return "max", max(1e-5 * spread, 4 * max(truth.own_error for truth in known))


def measure(model: StepModel, known: Items[Truth], seed: int = 0) -> tuple[ParityTable, Drift]:
    """Run a step model over the same sequences, each from a reset, in chunks of random length; compare."""
    rng = np.random.default_rng(seed)
    errors = []
    for case in known:
        model.reset()
        errors.append(in_chunks(model, case.frames, rng)[case.at].astype(np.float64) - case.outputs)
    metric, limit = tolerance(model.variant, known)
    everything = np.concatenate(errors)
    greatest, rms = float(np.abs(everything).max()), float(np.sqrt(np.mean(np.square(everything))))
    passed = (greatest if metric == "max" else rms) <= limit
    steps = sum(len(case.frames) for case in known)
    table = ParityTable(
        variant=model.variant, backend=model.backend, steps=steps, max_abs_err=greatest, rms_err=rms,
        metric="max" if metric == "max" else "rms", tolerance=limit, passed=bool(passed),
    )  # fmt: skip
    parts = np.array_split(errors[0], SEGMENTS)
    return table, Drift(model.variant, tuple(float(np.sqrt(np.mean(np.square(part)))) for part in parts if len(part)))


def in_chunks(model: StepModel, frames: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Run frames through a model in chunks of random length; return what the original gives, flushed outputs too."""
    rows, start = [], 0
    while start < len(frames):
        size = int(rng.choice([1, 2, 7, 64, 500]))
        chunk = frames[start : start + size]
        alone = len(chunk) == 1 == model.frames_per_step
        rows.append(model.step(chunk[0])[None] if alone else model.run(chunk))
        start += size
    return np.concatenate([*rows, model.flush()])[model.delay :]
