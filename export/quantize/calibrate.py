"""Ranges of every tensor of a float Program, seen while the state runs freely over real frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from export.frames import evenly
from export.operations import by_rows, float_step, initial_state
from export.program import Array, Growing, Program, Shape
from export.progress import Tick, still

FLOAT32 = np.dtype(np.float32)
SAMPLE_ROWS = 4096
"""Rows kept of each tensor for choosing its range; minimum and maximum are over all rows."""
BLOCK = 256
"""Rows whose extremes are looked for at once: step by step, that would take longer than the steps themselves."""
PERCENTILES = (99.999, 99.99, 99.9)
"""Of the sample's magnitudes: beyond them, a range may be cut off."""
LEVELS = 256
SHARES = np.linspace(1.0, 0.4, 31)
"""Shares of the full range that are tried as the quantized range."""
RESETS, RESET_STEPS = 16, 64
"""From how many places within the sequences the state runs from its reset as well, and for how many steps."""
SAMPLE_NUMBERS = 2**18
"""Numbers kept of each tensor at most."""


@dataclass(frozen=True)
class Seen:
    """What calibration saw of one tensor: its elements' extremes, in its shape, and a sample of it [rows, *shape].

    An axis that grows with the source has one entry here, and each of its places is a row.
    """

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

    @property
    def greatest(self) -> float:
        """The greatest size of any element."""
        return max(abs(self.low), abs(self.high))

    @cached_property
    def best_range(self) -> tuple[float, float, str]:
        """The range, with zero in it, whose 256 levels give the least mean squared error, and its rule.

        Cutting rare extremes off buys finer steps for the rest (Banner et al., "Post training 4-bit quantization of
        convolutional networks", NeurIPS 2019, section 3). Tried are the whole range, percentiles of both tails, and
        shares of the whole range; the rule is named "whole", "percentile 99.9" or "mse".
        """
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if low == high:
            return 0.0, 1.0, "whole"
        tried = [(low, high, "whole")]
        for percentile in PERCENTILES:
            ends = np.percentile(self.sample, [100 - percentile, percentile])
            tried.append((min(float(ends[0]), 0.0), max(float(ends[1]), 0.0), f"percentile {percentile:g}"))
        tried += [(low * share, high * share, "mse") for share in SHARES[1:].tolist()]
        errors = [_error(self.sample, least, most) if least < most else np.inf for least, most, _ in tried]
        return tried[int(np.argmin(errors))]


def _error(sample: NDArray[np.float32], low: float, high: float) -> float:
    scale = (high - low) / (LEVELS - 1)
    zero = np.rint(-low / scale)
    stored = np.clip(np.rint(sample / scale) + zero, 0, LEVELS - 1)
    return float(np.mean(np.square((stored - zero) * scale - sample)))


@dataclass(frozen=True)
class Batch:
    """Sequences of frames, float32[T, features], that run side by side; held: [sequences, *shape] by name.

    anew: a device, too, begins each of them from a reset, as it does a source or a target.
    """

    sequences: Sequence[NDArray[np.float32]]
    held: Mapping[str, Array] = field(default_factory=dict)
    anew: bool = False


def calibrate(
    program: Program, given: Sequence[NDArray[np.float32]] | Sequence[Batch], tick: Tick = still, seed: int = 0
) -> dict[str, Seen]:
    """Run the Program over sequences of frames, float32[T, features], each from its reset; return what was seen.

    A device may be reset at any frame, and what a state goes through then may go beyond all that it is later: so the
    Program runs from resets within the sequences, too, where they do not begin anew in any case. All of a batch run
    side by side, the shorter ones ending earlier, so that the state runs as freely as on a device. Tensors that are not
    of float32 have no ranges.
    """
    batches = [_with_resets(batch, program.frames) for batch in as_batches(given)]
    total = sum(len(sequence) // program.frames for batch in batches for sequence in batch.sequences)
    fixed = {name: content for name, content in program.constants().items() if content.size}
    views = {
        op.output: op.inputs[0]
        for op in program.ops
        if op.kind == "Reshape" and not _grows(program.shapes[op.output]) and not _grows(program.shapes[op.inputs[0]])
    }
    shapes = {name: shape for name, shape in program.shapes.items() if name not in fixed and name not in views}
    gathered: dict[str, _Gathered] = {}
    for batch in batches:
        for values in _run(program, batch):
            for name, value in values.items():
                shape = shapes.get(name)
                if shape is not None and value.dtype == FLOAT32 and value.size:
                    if name not in gathered:
                        gathered[name] = _Gathered(_kept(shape) / total, seed)
                    gathered[name].add(by_rows(value, shape) if _grows(shape) else value)
            tick(1)
    found = {name: entry.seen() for name, entry in gathered.items()}
    found |= {name: Seen(c, c, c[None]) for name, c in fixed.items() if c.dtype == np.float32}
    for view, source in views.items():
        if source in found:
            shape, seen = program.shapes[view], found[source]
            found[view] = Seen(seen.lows.reshape(shape), seen.highs.reshape(shape), seen.sample.reshape(-1, *shape))
    return found


def as_batches(given: Sequence[NDArray[np.float32]] | Sequence[Batch]) -> list[Batch]:
    """Return plain sequences as one batch."""
    batches = [batch for batch in given if isinstance(batch, Batch)]
    return batches or [Batch([sequence for sequence in given if not isinstance(sequence, Batch)])]


def _with_resets(batch: Batch, frames: int) -> Batch:
    if batch.anew:
        return batch
    size = min(RESET_STEPS, max(map(len, batch.sequences)) // frames) * frames
    return Batch([*batch.sequences, *cut(batch, size, RESETS).sequences])


def cut(batch: Batch, size: int, most: int) -> Batch:
    """Return pieces of so many frames, spread evenly over the sequences that are as long, with what those hold."""
    pieces = [
        (place, sequence[at : at + size])
        for place, sequence in enumerate(batch.sequences)
        for at in range(0, len(sequence) - size + 1, max(size, 1))
    ]
    picked = evenly(pieces, most)
    places = [place for place, _ in picked]
    return Batch([piece for _, piece in picked], {name: array[places] for name, array in batch.held.items()})


def _run(program: Program, batch: Batch) -> Iterator[Mapping[str, Array]]:
    """Run a batch; give all tensors of each step."""
    steps = [_steps(program, sequence) for sequence in batch.sequences]
    places = sorted(range(len(steps)), key=lambda place: -len(steps[place]))
    order, held = [steps[place] for place in places], {name: array[places] for name, array in batch.held.items()}
    state = initial_state(program, len(order), held)
    for t in range(len(order[0])):
        alive = sum(1 for sequence in order if len(sequence) > t)
        x = np.stack([sequence[t] for sequence in order[:alive]])
        state, held = ({name: value[:alive] for name, value in part.items()} for part in (state, held))
        values, state = float_step(program, x, state, held)
        yield values


class _Gathered:
    """What is kept of one tensor: its extremes, and a share of its rows, drawn at random; the first are among them."""

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._rng = share, np.random.default_rng(seed)
        self._block: list[Array] = []
        self._held = 0
        self._rows: list[Array] = []
        self._ends: list[Array] = []

    def add(self, value: Array) -> None:
        """Take a step's values, [streams, *shape]."""
        self._block.append(value)
        self._held += len(value)
        if self._held >= BLOCK:
            self._reduce()

    def _reduce(self) -> None:
        together = np.concatenate(self._block)
        self._block.clear()
        self._held = 0
        low, high = together.min(axis=0), together.max(axis=0)
        if self._ends:
            low, high = np.minimum(low, self._ends[0]), np.maximum(high, self._ends[1])
        self._ends = [low, high]
        draw = self._rng.random(len(together)) < self._share
        draw[0] |= not self._rows
        self._rows.append(together[draw])

    def seen(self) -> Seen:
        """Return what was seen."""
        if self._block:
            self._reduce()
        return Seen(self._ends[0], self._ends[1], np.concatenate(self._rows))


def _steps(program: Program, sequence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a sequence as [steps, frames, features]; what does not fill a step is left out."""
    steps = len(sequence) // program.frames
    return sequence[: steps * program.frames].reshape(steps, program.frames, -1)


def _grows(shape: Shape) -> bool:
    return any(isinstance(size, Growing) for size in shape)


def _kept(shape: Shape) -> float:
    """Return how many rows are kept of a tensor, as a share of those that a step gives."""
    rows = math.prod(size for size in shape if isinstance(size, Growing))
    return min(SAMPLE_ROWS, SAMPLE_NUMBERS / max(math.prod(shape) // rows, 1)) / rows
