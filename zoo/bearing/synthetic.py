"""Made-up bearings: they stand in for data that may not be passed on, in calibration, in goldens and in tests.

A shaft's harmonics in noise; from the onset of a fault of the outer race on, each ball that passes it strikes a
resonance at 4 kHz, harder and harder, as in the model of McFadden & Smith, "Model for the vibration produced by a
single point defect in a rolling element bearing", Journal of Sound and Vibration 96, 1984.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edgeseq import bearings
from zoo.bearing.data import BEARING, RATE_HZ, SAMPLES, SPEEDS_RPM, Floats, Run

RESONANCE_HZ: Final = 4000.0
DECAY_S: Final = 8e-4
STEP_S: Final = 100
"""From one record to the next, as in the data that the recipe learns from."""


def run(seed: int, records: int = 60, condition: int = 1) -> Run:
    """Make a bearing that fails behind its last record; its fault begins after 60 to 90 % of its life."""
    random = np.random.default_rng(seed)
    turns_hz = SPEEDS_RPM[condition] / 60
    onset = random.uniform(0.6, 0.9)
    share = np.clip((np.arange(records) + 1 - onset * records) / (records - onset * records), 0, 1)
    wear = np.expm1(3 * share) / np.expm1(3)
    samples = np.empty((records, SAMPLES, 3), np.float32)
    for place, worn in enumerate(wear.tolist()):
        samples[place] = _record(random, turns_hz, worn)
    return Run(f"Made{condition}_{seed}", np.arange(records, dtype=np.int64) * STEP_S, samples)


def _record(random: np.random.Generator, turns_hz: float, wear: float) -> Floats:
    """Make one record, float32[2560, 3]; wear from 0, sound, to 1."""
    t = np.arange(SAMPLES) / RATE_HZ
    outer = bearings.per_turn(BEARING)[0] * turns_hz * random.uniform(0.99, 1.0)  # the balls slip a little
    strikes = np.zeros(SAMPLES)
    at = np.arange(random.uniform(0, 1 / outer), t[-1], 1 / outer)
    strikes[(at * RATE_HZ).astype(int)] = random.uniform(0.7, 1.3, len(at))
    rings = np.exp(-t / DECAY_S) * np.sin(2 * np.pi * RESONANCE_HZ * t)
    struck = np.convolve(strikes, rings[:256])[:SAMPLES]
    columns = []
    for strength in (1.0, 0.8):
        shaft = 0.1 * np.sin(2 * np.pi * turns_hz * t + random.uniform(0, 2 * np.pi))
        noise = random.normal(scale=0.3 * (1 + 2 * wear), size=SAMPLES)
        columns.append(shaft + noise + strength * (0.2 + 20 * wear) * struck)
    columns.append(np.full(SAMPLES, 60 * turns_hz))
    return np.stack(columns, axis=1).astype(np.float32)
