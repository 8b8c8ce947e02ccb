"""From windows of samples to spectra, mel bands and cepstra: what stft, log_mel and mfcc have in common.

One compiled call takes a block of samples, cuts it into windows by itself and takes each one all the way: a hop takes a
microsecond or less, so that arrays made in Python on the way would cost more than what is computed.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from edgeseq import direct
from edgeseq.errors import StateError
from edgeseq.features import _banks
from edgeseq.features._board import board, numbers_at
from edgeseq.features._fft import SQUARES, plan, run
from edgeseq.features._lanes import LANES
from edgeseq.features._logarithm import levels
from edgeseq.features._recipe import LOG_FLOOR, Recipe
from edgeseq.features._weighting import AT_ONCE, total, weighted
from edgeseq.jit import REASSOCIATED, inline, kernel, method
from edgeseq.pointers import call, f32, f64, i64, moved
from edgeseq.states import Remembering
from edgeseq.types import Frames, TimesNs

FEW = 8
"""Windows that take no longer than it takes to hand the interpreter over."""
EMPHASIS, GAIN, ADDED, LEAST, FACTOR, MEAN, LEVEL = range(7)
"""Where among the real numbers."""
(
    KERNEL, PYTHON, PLAN, SIZE, HOP, POINTS, CHANNELS, LAST, WIDTH, BANDS, GROUPS, ROWS, CENTRED, ENERGY, MAGNITUDE,
    LOGARITHM, REALS, PLACES, WINDOW, COUNTS, FIRST, WEIGHTS, MATRIX, KEPT, ROW, LINES, SUMS, WAITING, SOURCE, APART,
    ASIDE, SAMPLES, TO, WINDOWS, COLUMNS, STRIDE, BUSY, NUMBERS,
) = range(38)  # fmt: skip
"""Where on the board: the kernel's address, Python's own things (direct.py), the transform's plan; sizes and switches
of a Recipe, the last channel that is taken; where arrays stand: real numbers, the channels, the window's weights, a
bank as _banks.py has it, the matrix, samples that wait, what is transformed, its lines, sums over bands; how many
samples the next window waits for; then of a push: where samples stand, bytes from one to the next and from channel to
channel, how many; where what comes of them goes, windows and columns; how far the channels' waiting samples lie apart;
and whether a thread is at work here without the interpreter's lock: it is looked at, and changed, under that lock."""


@inline
def _weighted(board: Any, kept: Any) -> None:
    """Write what is transformed of a window's samples."""
    size, samples, reals = board[SIZE], f32(kept), f64(board[REALS])
    reals[LEVEL] = 0.0
    if board[CENTRED]:
        total(kept, -(-size // AT_ONCE), board[SUMS])
        mean, sums = 0.0, f64(board[SUMS])
        for lane in range(LANES):
            mean += sums[lane]
        reals[MEAN] = mean / size
        reals[LEVEL] = (1.0 - reals[EMPHASIS]) * reals[MEAN]
    # The first sample stands for the one before it.
    f32(kept - 4)[0] = samples[0]
    at = board[REALS]
    weighted(kept, board[WINDOW], at + 8 * EMPHASIS, at + 8 * LEVEL, -(-size // LANES), board[ROW])


@numba.njit(error_model="numpy", fastmath={*REASSOCIATED})
def _energy(samples: Any, size: Any, reals: Any) -> float:
    """Return ln of the sum of the squares of samples less their mean."""
    squares = 0.0
    for i in range(size):
        squares += (samples[i] - reals[MEAN]) ** 2
    return np.log(np.maximum(squares * reals[GAIN] * reals[GAIN], LOG_FLOOR))


@numba.njit(error_model="numpy", fastmath={*REASSOCIATED})
def _product(matrix: Any, rows: Any, values: Any, size: Any, y: Any) -> None:
    """Write y[rows] = matrix[rows * size], row by row, times values[size]."""
    for k in range(rows):
        total = 0.0
        for i in range(size):
            total += matrix[k * size + i] * values[i]
        y[k] = np.float32(total)


@inline
def _banded(board: Any) -> None:
    """Write the sums over bands."""
    counts, first, weights, to = i64(board[COUNTS]), board[FIRST], board[WEIGHTS], board[SUMS]
    for group in range(board[GROUPS]):
        _banks.summed(board[LINES], first, weights, counts[group], to)
        first += 8 * LANES
        weights += 8 * LANES * LANES * counts[group]
        to += 8 * LANES


@numba.njit(error_model="numpy")
def _computed(board: Any, kept: Any, y: Any) -> None:
    """Write y[width] of the samples of a window that are kept at an address."""
    _weighted(board, kept)
    run(i64(board[PLAN]), board[ROW], board[LINES], SQUARES)
    count, at = board[POINTS] // 2 + 1, board[LINES]
    if board[MAGNITUDE]:
        lines = f64(at)
        for k in range(count):
            lines[k] = np.sqrt(lines[k])
    if board[GROUPS]:
        _banded(board)
        count, at = board[BANDS], board[SUMS]
    if board[LOGARITHM]:
        reals = board[REALS]
        for k in range(0, count, LANES):
            levels(at + 8 * k, reals + 8 * ADDED, reals + 8 * LEAST, reals + 8 * FACTOR)
    values = f64(at)
    if board[ROWS]:
        _product(f64(board[MATRIX]), board[ROWS], values, count, y)
    else:
        for k in range(count):
            y[k] = np.float32(values[k])
    if board[ENERGY]:
        y[0] = np.float32(_energy(f32(kept), board[SIZE], f64(board[REALS])))


@inline
def _taken(to: Any, source: Any, apart: Any, count: Any) -> None:
    """Copy samples that lie so many bytes apart."""
    if apart == 4:  # noqa: PLR2004 - side by side
        moved(to, source, 4 * count)
    else:
        for i in range(count):
            f32(to)[i] = f32(source + i * apart)[0]


@kernel()
def windows(board: Any) -> None:
    """Write [window, channels * width] of [sample, channel], of which WAITING make the first window complete."""
    size, hop, channels, width = board[SIZE], board[HOP], board[CHANNELS], board[WIDTH]
    at = wait = 0
    for c in range(channels):
        x, kept = board[SOURCE] + i64(board[PLACES])[c] * board[ASIDE], board[KEPT] + 4 * (c * board[STRIDE] + LANES)
        wait, at = board[WAITING], 0
        for k in range(board[WINDOWS]):
            new = min(wait, size)
            at += wait
            _taken(kept + 4 * (size - new), x + (at - new) * board[APART], board[APART], new)
            _computed(board, kept, f32(board[TO] + 4 * (k * channels + c) * width))
            if hop < size:
                moved(kept, kept + 4 * hop, 4 * (size - hop))
            wait = hop
        # What has come since the last window, as far as the next one takes it.
        first = at + max(0, wait - size)
        if first < board[SAMPLES]:
            behind = kept + 4 * (size - wait + first - at)
            _taken(behind, x + first * board[APART], board[APART], board[SAMPLES] - first)
    board[WAITING] = wait - (board[SAMPLES] - at)


@inline
def _complete(board: Any, samples: Any) -> int:
    """Return how many windows so many more samples make complete."""
    more = samples - board[WAITING]
    return more // board[HOP] + 1 if more >= 0 else 0


@method()
def push(self: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """Push times and samples that are arrays without gaps, int64[n] and float32[n, channels]; others, Python does."""
    at = direct.board(self)
    if at != 0 and count == 2 and keywords == 0 and not i64(at)[BUSY] and _fits(i64(at), i64(arguments)):  # noqa: PLR2004
        return _pushed(at, i64(arguments))
    return direct.in_python(self, arguments, count, keywords)


@inline
def _fits(board: Any, given: Any) -> bool:
    """Say whether objects are times and samples as they are taken here."""
    python, t_ns, x = i64(board[PYTHON]), given[0], given[1]
    if not (direct.is_plain(python, t_ns, direct.INT64, 1) and direct.is_plain(python, x, direct.FLOAT32, 2)):
        return False
    return direct.shape(t_ns)[0] == direct.shape(x)[0] and direct.shape(x)[1] > board[LAST]


@inline
def _pushed(at: Any, given: Any) -> Any:
    """Return the windows' times and what comes of them; 0 with MemoryError set."""
    board, t_ns, x = i64(at), given[0], given[1]
    python, samples, columns = i64(board[PYTHON]), direct.shape(x)[0], direct.shape(x)[1]
    first, board[WINDOWS] = board[WAITING] - 1, _complete(board, samples)
    lengths = at + 8 * WINDOWS
    times, y = direct.made(python, direct.INT64, 1, lengths), direct.made(python, direct.FLOAT32, 2, lengths)
    pair = direct.pair(times, y)
    if not pair:
        return pair
    came, ends = i64(direct.data(t_ns)), i64(direct.data(times))
    for k in range(board[WINDOWS]):
        ends[k] = came[first + k * board[HOP]]
    board[SOURCE], board[APART], board[ASIDE], board[SAMPLES] = direct.data(x), 4 * columns, 4, samples
    board[TO] = direct.data(y)
    # Others may have the interpreter meanwhile where it takes longer than handing it over.
    board[BUSY] = board[WINDOWS] > FEW
    thread = direct.let_go(()) if board[BUSY] else 0
    call(board[KERNEL], board)
    if thread:
        direct.take((thread,))
        board[BUSY] = 0
    return pair


class Spectra(Remembering, direct.Boarded):
    """Applies a Recipe to channels of a stream: float32[windows, channels * width], at the windows' last samples."""

    _remembers = ("_kept", "_waiting")

    def _begin(self, recipe: Recipe, channels: NDArray[np.intp]) -> None:
        """Prepare for a stream, of which these channels are taken."""
        self._plan = plan(recipe.points)
        self._board = _board(recipe, channels, self._plan)
        self._first = recipe.lead + len(recipe.window)
        kept = numbers_at(self._board, KEPT, np.float32, len(channels) * self._board[STRIDE])
        self._kept = kept.reshape(len(channels), -1)[:, LANES : LANES + len(recipe.window)]
        direct.put(Spectra, "push", push, self)
        self._board[PYTHON] = direct.address()
        self.reset()

    @property
    def _waiting(self) -> int:
        return int(self._board[WAITING])

    @_waiting.setter
    def _waiting(self, value: int) -> None:
        most = max(self._first, int(self._board[HOP]))
        if not 1 <= value <= most:
            raise StateError(f"{value} samples until the next window is complete is no state: it takes 1 to {most}.")
        self._begin_alone()
        self._board[[WAITING, BUSY]] = value, 0

    def _begin_alone(self) -> None:
        """Keep other threads away until BUSY is 0 again. Raises RuntimeError where one is at work."""
        if not direct.taken.compiled(self._board.ctypes.data, BUSY):
            raise RuntimeError("another thread is at work with this feature; give each thread one of its own.")

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Take int64[n] ns and float32[n, channels]; return the windows that are complete with them."""
        # For arrays of any form; those without gaps are taken by the compiled push, in this one's place.
        board, hop, count = self._board, int(self._board[HOP]), len(t_ns)
        values = np.asarray(values, np.float32)
        if values.ndim != 2 or len(values) != count or values.shape[1] <= board[LAST]:  # noqa: PLR2004
            raise ValueError(
                f"{count} times and samples of shape {values.shape}: there must be as many samples as times, of "
                f"{board[LAST] + 1} or more channels."
            )
        self._begin_alone()
        try:
            first = self._waiting
            y = np.empty(((count - first) // hop + 1 if count >= first else 0, board[COLUMNS]), np.float32)
            board[[SOURCE, APART, ASIDE, SAMPLES]] = values.ctypes.data, *values.strides, count
            board[WINDOWS], board[TO] = len(y), y.ctypes.data
            windows.compiled.ctypes(ctypes.cast(board.ctypes.data, windows.compiled.ctypes.argtypes[0]))
        finally:
            board[BUSY] = 0
        return t_ns[first - 1 :: hop], y

    def reset(self) -> None:
        """Forget the samples of unfinished windows."""
        self._waiting = self._first


def _board(recipe: Recipe, channels: NDArray[np.intp], plan: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers that the kernel reads and writes, and where its arrays stand, with the arrays behind."""
    size, bands, bins = len(recipe.window), len(recipe.bank), recipe.points // 2 + 1
    padded = -(-size // AT_ONCE) * AT_ONCE
    counts, first, weights, read = _banks.grouped(recipe.bank)
    decibels = (20 if recipe.magnitude else 10) / np.log(10)
    reals = np.zeros(7)
    reals[[EMPHASIS, GAIN, FACTOR]] = recipe.emphasis, recipe.gain, decibels if recipe.logarithm == "db" else 1.0
    offset = recipe.logarithm == "log_offset"
    reals[[ADDED, LEAST]] = (recipe.floor, -np.inf) if offset else (0.0, recipe.floor)
    made = board(
        NUMBERS,
        {
            REALS: reals,
            PLACES: np.asarray(channels, np.int64),
            WINDOW: np.pad(recipe.window * recipe.gain, (0, padded - size)),
            COUNTS: counts,
            FIRST: first,
            WEIGHTS: weights,
            MATRIX: recipe.matrix,
            KEPT: np.zeros((len(channels), LANES + padded), np.float32),
            ROW: np.zeros(max(recipe.points, padded)),
            LINES: np.zeros(max(read, bins + LANES)),
            SUMS: np.zeros(max(1, len(counts)) * LANES),
        },
    )
    made[[SIZE, HOP, POINTS, CHANNELS, WIDTH]] = size, recipe.hop, recipe.points, len(channels), recipe.width
    made[[BANDS, GROUPS, ROWS, LAST]] = bands, len(counts), len(recipe.matrix), channels.max()
    made[[CENTRED, ENERGY, MAGNITUDE]] = recipe.centred, recipe.energy, recipe.magnitude
    made[[LOGARITHM, COLUMNS]] = recipe.logarithm != "none", len(channels) * recipe.width
    made[STRIDE] = LANES + padded
    made[KERNEL], made[PLAN] = windows.address, plan.ctypes.data
    return made
