"""When an alert comes, and how often in vain: the model and the plain rule on vibration levels, by the same decider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.types import Output
from zoo.bearing.data import Floats, Run

DECIDER: Final[dict[str, Any]] = {
    "type": "hysteresis",
    "direction": "below",
    "warning": 500.0,
    "warning_clear": 750.0,
}
"""Seconds of remaining life: half of the cap, and three quarters of it. Not fitted to any bearing."""

HEALTHY: Final = 10
"""Records after the start of which the level is the bearing's own healthy one."""

FACTORS: Final = (2.5, 2.0, 5.0)
"""How many times its healthy level a bearing may reach: 2.5 is the step from one zone of ISO 10816-1 to the next (0.71,
1.8, 4.5 mm/s), 2 a usual, more careful choice. ISO 20816's own limits are of velocity from 10 Hz on; a record of 0.1 s
has one period of that, so they cannot be applied, and the change against the baseline stands in. 5 is what one would
choose with hindsight: of the whole numbers up to 8 the one that warns of all six ends of FEMTO's without a false
alarm."""


@dataclass(frozen=True)
class Alerts:
    """What the alerts of one life were worth.

    lead_s: from the alert that stands at the last record back to when it was raised; None where none stands.
    false: alerts that were taken back, and one that stands but was raised in the first half of the life.
    """

    lead_s: int | None
    false: int


def alerts(t_s: NDArray[np.int64], scores: Floats, decider: dict[str, Any]) -> Alerts:
    """Run the decider over the scores of one life, float32[records]."""
    judge = Hysteresis(**{key: value for key, value in decider.items() if key != "type"})
    raised: int | None = None
    false = 0
    for at, score in zip(t_s.tolist(), scores, strict=True):
        judge.gap()  # as before each record of a device
        for event in judge.update(Output(at * 1_000_000_000, "", np.array([score], np.float32))):
            if event.kind == "raised":
                raised = at
            elif event.kind == "cleared":
                raised, false = None, false + 1
    if raised is None:
        return Alerts(None, false)
    return Alerts(int(t_s[-1]) - raised, false + bool(raised < t_s[-1] / 2))


def growth(run: Run) -> Floats:
    """Give by how much the acceleration's RMS exceeds its median over the first HEALTHY records: float32[records].

    Of the two axes the greater; 1 for those first records themselves.
    """
    rms = np.sqrt(np.square(run.samples[:, :, :2], dtype=np.float64).mean(axis=1))
    times = (rms / np.median(rms[:HEALTHY], axis=0)).max(axis=1)
    times[:HEALTHY] = 1
    found: Floats = times.astype(np.float32)
    return found


def rule(factor: float) -> dict[str, Any]:
    """Give the decider's table for an alert at a factor of the healthy level, taken back at four fifths of it."""
    return {"type": "hysteresis", "direction": "above", "warning": factor, "warning_clear": 0.8 * factor}
