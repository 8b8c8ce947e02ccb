"""Judges any model of remaining life: float PyTorch, ONNX and int8 steps go through the same functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from zoo.turbofan.data import CAP, Floats, labels

Run = Callable[[Floats], Floats]
"""frames float32[T, features] -> remaining life float32[T], cycles; the state is zero before the first frame."""

RECENT: Final = 30
"""Cycles that a device has seen which was fitted to an engine late."""


@dataclass(frozen=True)
class Score:
    """How far the estimates lie from the truth, over engines.

    rmse_capped: cycles, the truth capped at CAP, as published results have it. rmse: cycles, the truth as it is.
    nasa, nasa_capped: NASA's score against the truth as it is and as capped; lower is better, a sum over engines.
    """

    rmse_capped: float
    rmse: float
    nasa_capped: float
    nasa: float


@dataclass(frozen=True)
class Report:
    """A model's scores at the last cycle of every test engine.

    whole: the state carried from cycle 1. half: the device saw only the last half of the history, rounded up, from zero
    state. recent: only the last RECENT cycles (or what there is), from zero state.
    """

    whole: Score
    half: Score
    recent: Score


def rmse(estimate: ArrayLike, truth: ArrayLike) -> float:
    """Root of the mean squared error; both [engines], cycles."""
    error = np.asarray(estimate, np.float64) - np.asarray(truth, np.float64)
    return float(np.sqrt(np.mean(error**2)))


def nasa_score(estimate: ArrayLike, truth: ArrayLike) -> float:
    """Sum of exp(-d / 13) - 1 where d = estimate - truth is negative (early), of exp(d / 10) - 1 elsewhere (late).

    Both [engines], cycles. Source: Saxena et al. 2008, section on performance evaluation.
    """
    d = np.asarray(estimate, np.float64) - np.asarray(truth, np.float64)
    return float(np.sum(np.expm1(np.where(d < 0, -d / 13, d / 10))))


def score(estimate: ArrayLike, truth: ArrayLike) -> Score:
    """Score estimates [engines] against true remaining lives [engines], not capped, cycles."""
    capped = np.minimum(np.asarray(truth), CAP)
    return Score(
        rmse(estimate, capped), rmse(estimate, truth), nasa_score(estimate, capped), nasa_score(estimate, truth)
    )


def last_half(frames: Floats) -> Floats:
    """Give the last half, rounded up."""
    return frames[len(frames) // 2 :]


def last_recent(frames: Floats) -> Floats:
    """Give the last RECENT frames."""
    return frames[-RECENT:]


def report(run: Run, histories: Sequence[Floats], truth: ArrayLike) -> Report:
    """Score a model on standardized histories, each float32[T, features], and true remaining lives [engines]."""

    def last(view: Callable[[Floats], Floats]) -> list[float]:
        return [float(run(view(frames))[-1]) for frames in histories]

    return Report(
        score(last(lambda frames: frames), truth), score(last(last_half), truth), score(last(last_recent), truth)
    )


def truncated_mse(estimates: Sequence[Floats], shortest: int = 30, longest_life: int = 150) -> float:
    """Mean squared error that engines have, cut at random as a test set's are, cycles squared.

    Each engine is scored at every cycle that has a history of at least `shortest` cycles and at most `longest_life`
    cycles to go (far above the label's cap, the plateau alone would be measured); an engine's errors are averaged, then
    the engines'. All cuts at once, since a streaming model's estimates do not depend on what comes later.
    estimates: for each engine, run to failure, float32[cycles] from cycle 1. Labels are capped at CAP.
    """
    errors = []
    for estimate in estimates:
        first = max(shortest - 1, len(estimate) - 1 - longest_life)
        scored = (estimate - labels(len(estimate)))[first:]
        if len(scored):
            errors.append(np.mean(scored**2, dtype=np.float64))
    return float(np.mean(errors)) if errors else float("nan")
