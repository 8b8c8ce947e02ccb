"""What becomes of a window of samples on its way to a spectrum, mel bands or cepstra: the same in plain NumPy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._per_window import Number
from edgeseq.features._windows import MAX_SAMPLES, samples
from edgeseq.types import StreamSpec

Logarithm = Literal["none", "db", "log", "log_offset"]
"""Of a value x: as it is; 10 log10(max(x, floor)), 20 log10 of magnitudes; ln(max(x, floor)); ln(x + floor)."""
LOG_FLOOR = float(np.finfo(np.float32).eps)
"""Kaldi's, for energies too."""
NEARLY = 1e-3
"""Samples by which a time may miss a whole number of them: seconds are written with some digits."""
LOGARITHMS = get_args(Logarithm)
MAX_POINTS = 1 << 20
"""Of a transform, half of which are numbers in a frame: beyond it a mistake is more likely than a use."""
NONE = np.empty((0, 0))


@dataclass(frozen=True)
class Recipe:
    """What becomes of a window of samples, in this order; what is left at its default is left out.

    hop: samples from one window to the next. window: float64[size], the weights of its samples. points: of the Fourier
    transform; samples are followed by zeros. lead: samples before the first window. gain: what samples are multiplied
    by. centred: the window's mean is subtracted. emphasis: so much of the sample before is, from the first sample that
    much of itself. magnitude: the spectrum's magnitude is taken, else its square. bank: float64[bands, bins], the
    weights of bins in bands. logarithm, floor: of what there is then. matrix: float64[coefficients, bands], what the
    bands are multiplied by. energy: the first coefficient gives way to ln of the sum of the squares of the samples
    less their mean.
    """

    hop: int
    window: NDArray[np.float64]
    points: int
    lead: int = 0
    gain: float = 1.0
    centred: bool = False
    emphasis: float = 0.0
    magnitude: bool = False
    bank: NDArray[np.float64] = field(default_factory=lambda: NONE)
    logarithm: Logarithm = "none"
    floor: float = 0.0
    matrix: NDArray[np.float64] = field(default_factory=lambda: NONE)
    energy: bool = False

    @property
    def width(self) -> int:
        """How many numbers come of a window."""
        return len(self.matrix) or len(self.bank) or self.points // 2 + 1


def reference(x: NDArray[Any], recipe: Recipe) -> NDArray[np.float64]:
    """Return float64[frames, width] of x [samples]: a Recipe in plain NumPy.

    Sources stand with the features, which make the recipes: librosa, Kaldi and TensorFlow differ in them alone.
    """
    x = np.asarray(x, np.float64)[recipe.lead :] * recipe.gain
    size = len(recipe.window)
    if len(x) < size:
        return np.empty((0, recipe.width))
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[:: recipe.hop]
    if recipe.centred:
        frames = frames - frames.mean(axis=1, keepdims=True)
    energy = np.log(np.maximum((frames**2).sum(axis=1), LOG_FLOOR))
    frames = frames - recipe.emphasis * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    values = np.abs(np.fft.rfft(frames * recipe.window, recipe.points))
    values = values if recipe.magnitude else values**2
    if len(recipe.bank):
        values = values @ recipe.bank.T
    if recipe.logarithm == "db":
        values = (20 if recipe.magnitude else 10) * np.log10(np.maximum(values, recipe.floor))
    elif recipe.logarithm == "log":
        values = np.log(np.maximum(values, recipe.floor))
    elif recipe.logarithm == "log_offset":
        values = np.log(values + recipe.floor)
    if len(recipe.matrix):
        values = values @ recipe.matrix.T
    if recipe.energy:
        values[:, 0] = energy
    return values


def whole(name: str, seconds: float, spec: StreamSpec, least: int = 1) -> int:
    """Return how many samples a time is at a stream's rate. Raises ConfigError where they are too few, or not whole.

    Libraries round what is not whole in different ways, so that the frames would differ from those of the training.
    """
    count = samples(name, seconds, spec)
    if count > MAX_SAMPLES:
        raise ConfigError(f"{name} = {seconds:g} s is {count:,} samples; {MAX_SAMPLES:,} is the most.")
    if abs(seconds * spec.rate_hz - count) > NEARLY:
        down = int(seconds * spec.rate_hz)
        fitting = " or ".join(f"{n / spec.rate_hz:.9g} ({n} samples)" for n in (down, down + 1) if n)
        raise ConfigError(
            f"{name} = {seconds:g} s is {seconds * spec.rate_hz:g} samples at {spec.rate_hz:g} Hz, no whole number, "
            f"which libraries round differently: give what the training took, {fitting}."
        )
    if count < least:
        raise ConfigError(f"{name} = {seconds:g} s is {count} sample at {spec.rate_hz:g} Hz; it takes {least} or more.")
    return count


def numbers(what: str, recipe: Recipe) -> list[Number]:
    """Return what a recipe gives of a window: `what` and its place, in the unit of the spectrum or its logarithm."""
    units = {"none": "{}" if recipe.magnitude else "{}²", "db": "dB"}
    return [Number(f"{what}{place}", units.get(recipe.logarithm, "")) for place in range(recipe.width)]


def transform(points: int | None, size: int, default: int) -> int:
    """Return the points of the transform of a window of `size`. Raises ConfigError where it does not fit in."""
    points = default if points is None else points
    if not size <= points <= MAX_POINTS:
        raise ConfigError(f"points = {points} must be the window's {size} samples at least, and at most {MAX_POINTS}.")
    return points


def not_causal(*, center: bool, top_db: float | None = None) -> None:
    """Raise ConfigError, with what to use instead, for what librosa can do because it has a whole recording."""
    if center:
        raise ConfigError(
            "center = true pads both ends of a recording; a stream has none. Leave it out and train with center=False: "
            "the frames are the same but for their times, half the points later."
        )
    if top_db is not None:
        raise ConfigError(
            f"top_db = {top_db:g} cuts off what lies so far below the loudest moment of a recording, which a stream "
            "has not heard yet. Leave it out, train with top_db=None, and set 'floor' to the least energy of interest."
        )
