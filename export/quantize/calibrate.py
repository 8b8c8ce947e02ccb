"""Ranges of every tensor of a float Program, seen while the state runs freely over real frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.program import Program, float_step, initial_state
from export.progress import Tick, still

SAMPLE_ROWS = 4096
"""Rows kept of each tensor for choosing its range; minimum and maximum are over all rows."""
BLOCK = 256
"""Steps whose extremes are looked for at once: one by one, that would take longer than the steps themselves."""
SHRINK = np.linspace(1.0, 0.4, 31)
"""Shares of the full range that are tried as the quantized range."""


@dataclass(frozen=True)
class Seen:
    """What calibration saw of one tensor: its elements' extremes [size], and a sample of its values [rows, size]."""

    lows: NDArray[np.float32]
    highs: NDArray[np.float32]
    sample: NDArray[np.float32]

    @property
    def low(self) -> float:
        """The least value of all elements."""
        return float(self.lows.min())

    @property
    def high(self) -> float:
        """The greatest value of all elements."""
        return float(self.highs.max())

    def best_range(self, levels: int) -> tuple[float, float]:
        """Return the range, with zero in it, whose `levels` steps give the least mean squared error.

        Cutting rare extremes off buys finer steps for the rest (Banner et al., "Post training 4-bit quantization of
        convolutional networks", NeurIPS 2019, section 3); the best cut is searched for instead of assumed.
        """
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if low == high:
            return 0.0, 1.0
        errors = []
        for share in SHRINK:
            scale = (high - low) * share / (levels - 1)
            zero = np.rint(-low * share / scale)
            stored = np.clip(np.rint(self.sample / scale) + zero, 0, levels - 1)
            errors.append(float(np.mean(np.square((stored - zero) * scale - self.sample))))
        share = float(SHRINK[int(np.argmin(errors))])
        return low * share, high * share


def calibrate(
    program: Program, sequences: Sequence[NDArray[np.float32]], tick: Tick = still, seed: int = 0
) -> dict[str, Seen]:
    """Run the Program over sequences of frames, float32[T, features], each from its reset; return what was seen.

    Sequences run side by side, the shorter ones ending earlier, so that the state runs as freely as on a device.
    """
    order = sorted(sequences, key=len, reverse=True)
    total = sum(len(sequence) for sequence in order)
    rng = np.random.default_rng(seed)
    state = initial_state(program, len(order))
    lows: dict[str, NDArray[np.float32]] = {}
    highs: dict[str, NDArray[np.float32]] = {}
    rows: dict[str, list[NDArray[np.float32]]] = {}
    block: dict[str, list[NDArray[np.float32]]] = {}
    for t in range(len(order[0])):
        alive = sum(1 for sequence in order if len(sequence) > t)
        x = np.stack([sequence[t] for sequence in order[:alive]])
        values, state = float_step(program, x, {name: value[:alive] for name, value in state.items()})
        keep = (rng.random(alive) < SAMPLE_ROWS / total) | (t == 0)
        for name, value in values.items():
            block.setdefault(name, []).append(np.atleast_2d(value))
            if keep.any():
                spread = np.broadcast_to(value, (alive, value.shape[-1]))  # a constant has no rows of its own
                rows.setdefault(name, []).append(spread[keep])
        if t % BLOCK == BLOCK - 1 or t == len(order[0]) - 1:
            for name, held in block.items():
                together = np.concatenate(held)
                lows[name] = np.minimum(lows.get(name, np.float32(np.inf)), together.min(axis=0))
                highs[name] = np.maximum(highs.get(name, np.float32(-np.inf)), together.max(axis=0))
            block.clear()
        tick(1)
    return {name: Seen(lows[name], highs[name], np.concatenate(rows[name])) for name in lows}
