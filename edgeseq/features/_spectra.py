"""From windows of samples to spectra, mel bands and cepstra: what stft, log_mel and mfcc have in common.

One compiled call takes a block of samples, cuts it into windows by itself and takes each one all the way: a hop costs a
few microseconds, so that arrays made in Python on the way would cost more than what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numba
import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features._fft import forward, power
from edgeseq.features._per_window import Number
from edgeseq.features._windows import MAX_SAMPLES, samples
from edgeseq.jit import REASSOCIATED, entry
from edgeseq.states import Remembering
from edgeseq.types import Frames, StreamSpec, TimesNs

Logarithm = Literal["none", "db", "log", "log_offset"]
"""Of a value x: as it is; 10 log10(max(x, floor)), 20 log10 of magnitudes; ln(max(x, floor)); ln(x + floor)."""
LOG_FLOOR = float(np.finfo(np.float32).eps)
"""Kaldi's, for energies too."""
NEARLY = 1e-3
"""Samples by which a time may miss a whole number of them: seconds are written with some digits."""
LOGARITHMS = get_args(Logarithm)
NONE = np.empty((0, 0))
(
    SIZE, HOP, POINTS, CENTRED, EMPHASIS, GAIN, MAGNITUDE, BANDS, WEIGHTS, LOGARITHM, FLOOR, FACTOR, ROWS, ENERGY,
    CHANNELS, HEAD,
) = range(16)  # fmt: skip
"""Where on the board stand the numbers of a Recipe (sizes where it has arrays) and of channels; what follows them
begins at HEAD: see `_board`."""


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


@numba.njit(error_model="numpy", fastmath={*REASSOCIATED})
def _weighted(kept: Any, window: Any, head: Any, row: Any) -> float:
    """Write what is transformed to row; return ln of the sum of squares, where it is wanted."""
    size, gain, emphasis = len(window), head[GAIN], head[EMPHASIS]
    mean = squares = 0.0
    if head[CENTRED]:
        for i in range(size):
            mean += kept[i]
        mean /= size
    if head[ENERGY]:
        for i in range(size):
            squares += (kept[i] - mean) ** 2
        squares *= gain * gain
    if emphasis:
        before, after = kept[: size - 1], kept[1:]
        row[0] = (1.0 - emphasis) * (kept[0] - mean) * window[0]
        rest, weights = row[1:size], window[1:]
        for i in range(size - 1):
            rest[i] = ((after[i] - mean) - emphasis * (before[i] - mean)) * weights[i]
    else:
        for i in range(size):
            row[i] = (kept[i] - mean) * window[i]
    return np.log(np.maximum(squares, LOG_FLOOR))


@numba.njit(error_model="numpy", fastmath={*REASSOCIATED})
def _banded(values: Any, edges: Any, weights: Any, bands: Any) -> None:
    """Write bands[k], the weighted sum of edges[2 k + 1] values from edges[2 k] on; the weights lie in a row."""
    at = 0
    for k in range(len(bands)):
        first, count = int(edges[2 * k]), int(edges[2 * k + 1])
        part, weight = values[first : first + count], weights[at : at + count]
        total = 0.0
        for i in range(count):
            total += part[i] * weight[i]
        bands[k] = total
        at += count


@numba.njit(error_model="numpy")
def _logarithm(values: Any, head: Any) -> None:
    """Take the logarithm in place; a NaN stays one."""
    kind, floor, factor = LOGARITHMS[int(head[LOGARITHM])], head[FLOOR], head[FACTOR]
    if kind == "none":
        return
    for k in range(len(values)):
        value = values[k] + floor if kind == "log_offset" else np.maximum(values[k], floor)
        values[k] = factor * np.log(value)


@numba.njit(error_model="numpy", fastmath={*REASSOCIATED})
def _product(matrix: Any, values: Any, y: Any) -> None:
    """Write y[rows] = matrix[rows * values], row by row, times values."""
    size = len(values)
    for k in range(len(y)):
        part, total = matrix[k * size : (k + 1) * size], 0.0
        for i in range(size):
            total += part[i] * values[i]
        y[k] = total


@numba.njit(error_model="numpy")
def _computed(board: Any, kept: Any, y: Any) -> None:
    """Write y[width] of kept[size], the samples of a window."""
    size, points, bands, rows = int(board[SIZE]), int(board[POINTS]), int(board[BANDS]), int(board[ROWS])
    bins = points // 2 + 1
    # In the order of `_board`, one array where the one before ends.
    head, start = board[:HEAD], HEAD + int(board[CHANNELS])
    window, start = board[start : start + size], start + size
    edges, start = board[start : start + 2 * bands], start + 2 * bands
    weights, start = board[start : start + int(head[WEIGHTS])], start + int(head[WEIGHTS])
    matrix, start = board[start : start + rows * bands], start + rows * bands
    row, start = board[start : start + points], start + points
    spectrum, start = board[start : start + 2 * bins].view(np.complex128), start + 2 * bins
    values, banded = board[start : start + bins], board[start + bins : start + bins + bands]
    energy = _weighted(kept, window, head, row)
    forward(row, spectrum)
    power(spectrum, values)
    if head[MAGNITUDE]:
        for k in range(bins):
            values[k] = np.sqrt(values[k])
    if bands:
        _banded(values, edges, weights, banded)
        values = banded
    _logarithm(values, head)
    if rows:
        _product(matrix, values, y)
    else:
        y[:] = values
    if head[ENERGY]:
        y[0] = energy


@entry(
    types.void(
        types.Array(types.float32, 2, "A", readonly=True),
        types.float64[::1],
        types.int64,
        types.float32[:, ::1],
    )
)
def spectra(x: Any, board: Any, waiting: Any, y: Any) -> None:
    """Write y[window, channels * width] of x[sample, channel], of which `waiting` make the first window complete."""
    size, hop, channels = int(board[SIZE]), int(board[HOP]), int(board[CHANNELS])
    width, stored = y.shape[1] // channels, board[len(board) - channels * size :]
    for c in range(channels):
        place, kept = int(board[HEAD + c]), stored[c * size : (c + 1) * size]
        wait, at = waiting, 0
        for k in range(len(y)):
            new = min(wait, size)
            at += wait
            for i in range(new):
                kept[size - new + i] = x[at - new + i, place]
            _computed(board, kept, y[k, c * width : (c + 1) * width])
            for i in range(size - hop):
                kept[i] = kept[hop + i]
            wait = hop
        # What has come since the last window, as far as the next one takes it.
        for i in range(at, len(x)):
            behind = size - wait + i - at
            if behind >= 0:
                kept[behind] = x[i, place]


class Spectra(Remembering):
    """Applies a Recipe to channels of a stream: float32[windows, channels * width], at the windows' last samples."""

    _remembers = ("_kept", "_waiting")

    def __init__(self, recipe: Recipe, channels: NDArray[np.intp]) -> None:
        self._hop, self._first = recipe.hop, recipe.lead + len(recipe.window)
        self._width = len(channels) * recipe.width
        self._board = _board(recipe, channels)
        # Where in it the samples stand that wait for their windows.
        self._kept = self._board[len(self._board) - len(channels) * len(recipe.window) :]
        self._kernel = spectra.compiled
        self._waiting = self._first

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Take int64[n] ns and float32[n, channels]; return the windows that are complete with them."""
        count, waiting = len(t_ns), self._waiting
        windows = (count - waiting) // self._hop + 1 if count >= waiting else 0
        y = np.empty((windows, self._width), np.float32)
        self._kernel(values, self._board, waiting, y)
        self._waiting = waiting + windows * self._hop - count
        return t_ns[waiting - 1 :: self._hop], y

    def reset(self) -> None:
        """Forget the samples that wait."""
        self._waiting = self._first


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
    if not size <= points <= MAX_SAMPLES:
        raise ConfigError(f"points = {points} must be the window's {size} samples at least, and at most {MAX_SAMPLES}.")
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


def _board(recipe: Recipe, channels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the numbers that the kernel reads, the arrays that it works in, and the samples it keeps, in a row."""
    head = np.zeros(HEAD)
    head[[SIZE, HOP, POINTS, BANDS]] = len(recipe.window), recipe.hop, recipe.points, len(recipe.bank)
    head[[CENTRED, EMPHASIS, GAIN, MAGNITUDE]] = recipe.centred, recipe.emphasis, recipe.gain, recipe.magnitude
    head[[LOGARITHM, FLOOR, ROWS, ENERGY]] = (
        LOGARITHMS.index(recipe.logarithm), recipe.floor, len(recipe.matrix), recipe.energy,
    )  # fmt: skip
    decibels = (20 if recipe.magnitude else 10) / np.log(10)
    head[FACTOR] = decibels if recipe.logarithm == "db" else 1.0
    edges, weights = [], []
    for band in recipe.bank:
        inside = np.flatnonzero(band)
        first, end = (inside[0], inside[-1] + 1) if len(inside) else (0, 0)
        edges += [first, end - first]
        weights.append(band[first:end])
    constants = [channels, recipe.window * recipe.gain, edges, *weights, recipe.matrix.ravel()]
    head[WEIGHTS], head[CHANNELS] = sum(map(len, weights)), len(channels)
    bins = recipe.points // 2 + 1
    worked_in = np.zeros(recipe.points + 3 * bins + len(recipe.bank) + len(channels) * len(recipe.window))
    return np.concatenate([head, *(np.asarray(part, np.float64) for part in constants), worked_in])
