"""The one compiled function that runs any program: it checks the frames, calls the kernels row by row, keeps the count.

A program is a table of rows; a row is the address of a kernel, then what the kernel takes. Beside it stands a board of
numbers (the constants below say which) that Python and the compiled code share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq import direct
from edgeseq.jit import entry, inline
from edgeseq.pointers import call, f32, i8, i32, i64

WIDTH = 24
"""Numbers in a row."""
TABLE, ROWS, ENTERING, ENTER, LEAVING, LEAVE, STEPS, DELAY, END, WAITING = range(10)
TOKENS, TOKEN_COUNT, FEATURES, FRAMES, BLOCK, STATES, STATE_COUNT, LONG, PYTHON = range(10, 19)
FIRST, SECOND, TURN, AHEAD, LINKS, LINK_COUNT, SPARES = range(19, 26)
BUSY = SPARES + direct.SPARES
"""Where on the board: the table and its rows; where frames enter and how many numbers; where outputs leave and how
many; steps taken; outputs that do not exist; the last step there is room for; frames that wait; (column, how many) of
each token and their number; numbers of a frame; frames of a step; streams that the rows compute side by side; and of
every state (STATE numbers, see _carried) and their number; where a step puts outputs that have no place of their own;
whether a step takes long; Python's own things (direct.py); where the rows that read no state end, and those that read
nothing else; which of both go first; what computes the first of them ahead (ahead.py), and how it comes here; outputs
that were given (direct.py); whether a thread is at work here, which has let go of the interpreter's lock or works on
the addresses themselves: it is looked at, and changed, under that lock."""
BOARD, STATE = 32, 6
NO_END = 2**62
SLICE = 1 << 12
"""Steps of a run between which it can be interrupted."""
DONE, SHAPE, FULL, UNFINISHED, NOT_FINITE, NO_TOKEN, IN_USE = range(7)
"""What a step may come to."""
IN_USE_TEXT = "another thread is at work with this model; give each thread one of its own, which fork() makes."
_F = types.float32


def end(frames: int | None, frames_per_step: int) -> int:
    """Return the last step there is room for, of so many frames from a reset."""
    return NO_END if frames is None else frames // frames_per_step


def tokens(counts: Mapping[int, int]) -> NDArray[np.int64]:
    """Return the table of how many tokens there are of each column, int64[columns, 2]."""
    return np.array(sorted(counts.items()), np.int64).reshape(-1, 2)


def plain(x: NDArray[Any]) -> NDArray[np.float32]:
    """Return numbers as compiled code takes them, a copy where they are otherwise: float32, in rows, writeable."""
    return np.require(x, np.float32, ["C", "A", "W", "E"])


@inline
def begun(board: Any) -> Any:
    """Take a board that is not in use, and let go of the interpreter's lock. Returns what `ended` takes."""
    board[BUSY] = 1
    return direct.let_go(())


@inline
def ended(board: Any, thread: Any) -> None:
    """Take the interpreter's lock again, and give the board back."""
    direct.take((thread,))
    board[BUSY] = 0


@inline
def _looked_at(board: Any, source: int, numbers: int) -> int:
    """Say whether frames, one after the other, are what frames may be."""
    bits, largest = i32(source), np.int32(0)
    for i in range(numbers):
        largest = max(largest, bits[i] & np.int32(0x7FFFFFFF))
    # The bits of NaN and infinity, less the sign, are above those of any number.
    if largest >= np.int32(0x7F800000):
        return NOT_FINITE
    x, pairs = f32(source), i64(board[TOKENS])
    for k in range(board[TOKEN_COUNT]):
        for i in range(pairs[2 * k], numbers, board[FEATURES]):
            if x[i] < 0 or x[i] >= pairs[2 * k + 1] or x[i] != np.rint(x[i]):
                return NO_TOKEN
    return DONE


@inline
def moved(to: int, source: int, numbers: int) -> None:
    """Copy bytes."""
    a, b = i8(to), i8(source)
    for i in range(numbers):
        a[i] = b[i]


@inline
def _carried(state: Any, side: int, stream: int, enters: int) -> None:
    """Copy a stream's state from where all streams' are kept to where it is computed with, beside others, or back.

    state: 0 where the address stands at which it is computed with; 1 from stream to stream there; 2 blocks without gaps
    of a stream, 3 from one to the next there, 4 their size; 5 where all are kept; in bytes.
    """
    here = i64(state[0])[0] + side * state[1]
    for k in range(state[2]):
        a, b = here + k * state[3], state[5] + (stream * state[2] + k) * state[4]
        moved(a if enters else b, b if enters else a, state[4])


@inline
def _computed(board: Any, source: int) -> None:
    """Compute a step on frames that were looked at."""
    moved(board[ENTERING], source, 4 * board[ENTER])
    _run_all(board)


@inline
def _run_all(board: Any) -> None:
    """Run the rows on the frames that have entered.

    The first two parts go first in turns, for the weights that were read last are those that a cache still holds.
    """
    board[TURN] = 1 - board[TURN]
    if board[TURN]:
        _run_rows(board, 0, board[SECOND])
    else:
        _run_rows(board, board[FIRST], board[SECOND])
        _run_rows(board, 0, board[FIRST])
    _run_rows(board, board[SECOND], board[ROWS])


@inline
def _run_rows(board: Any, first: int, last: int) -> None:
    table = board[TABLE]
    for r in range(first, last):
        row = i64(table + r * (8 * WIDTH))
        call(row[0], row)


@inline
def _left(board: Any, to: int) -> None:
    """Count a step that was computed and give its outputs; what does not exist yet is NaN."""
    board[STEPS] += 1
    y, leaving = f32(to), f32(board[LEAVING])
    if board[STEPS] <= board[DELAY]:
        for i in range(board[LEAVE]):
            y[i] = np.float32(np.nan)
    else:
        for i in range(board[LEAVE]):
            y[i] = leaving[i]


@inline
def stepped(board: Any, source: int, to: int) -> int:
    """Make a step on as many numbers as enter, whose outputs go to an address; say what it came to."""
    if board[WAITING]:
        return UNFINISHED
    if board[STEPS] >= board[END]:
        return FULL
    code = _looked_at(board, source, board[ENTER])
    if code == DONE:
        _computed(board, source)
        _left(board, to)
    return code


@entry(types.int64(types.int64, _F[:, ::1], _F[:, ::1]), nogil=False)
def run(address: Any, x: Any, y: Any) -> Any:
    """Make as many steps as y float32[steps, outputs] has rows; x float32[steps * frames, features]."""
    board = i64(address)
    if board[BUSY]:
        return IN_USE
    if x.shape[1] != board[FEATURES] or x.shape[0] != y.shape[0] * board[FRAMES] or y.shape[1] != board[LEAVE]:
        return SHAPE
    if board[STEPS] + y.shape[0] > board[END]:
        return FULL
    thread = begun(board)
    code = _ran(board, x.ctypes.data, x.size, y.ctypes.data, y.shape[0])
    ended(board, thread)
    return code


@inline
def _linked(link: Any, s: int) -> None:
    """Bring over, or tell where it stands, what was computed ahead for the step number s of those at once."""
    source = link[1] + s * link[3]
    if link[2]:
        moved(link[0], source, link[2])
    else:
        i64(link[0])[0] = source


@inline
def _unlinked(link: Any) -> None:
    """Have what is only told of computed again in each step."""
    if not link[2]:
        i64(link[0])[0] = 0


@inline
def _ran(board: Any, source: int, numbers: int, to: int, steps: int) -> int:
    """Make so many steps; say what they came to."""
    # All frames are looked at before the first of them is computed with.
    code = _looked_at(board, source, numbers)
    if code == DONE:
        t = 0
        if board[AHEAD]:
            ahead, links = i64(board[AHEAD]), board[LINKS]
            while t + ahead[BLOCK] <= steps:
                moved(ahead[ENTERING], source + 4 * t * board[ENTER], 4 * board[ENTER] * ahead[BLOCK])
                _run_rows(ahead, 0, ahead[ROWS])
                for s in range(ahead[BLOCK]):
                    for k in range(board[LINK_COUNT]):
                        _linked(i64(links + 32 * k), s)
                    _run_rows(board, board[FIRST], board[ROWS])
                    _left(board, to + 4 * t * board[LEAVE])
                    t += 1
            for k in range(board[LINK_COUNT]):
                _unlinked(i64(links + 32 * k))
        while t < steps:
            _computed(board, source + 4 * t * board[ENTER])
            _left(board, to + 4 * t * board[LEAVE])
            t += 1
    return code


@entry(types.int64(types.int64, _F[::1], _F[::1]), nogil=False)
def compute(address: Any, x: Any, y: Any) -> Any:
    """Compute one step on checked frames, all of them in a row, without counting it."""
    board = i64(address)
    if board[BUSY]:
        return IN_USE
    if x.size != board[ENTER] or y.size != board[LEAVE]:
        return SHAPE
    thread = begun(board)
    _computed(board, x.ctypes.data)
    moved(y.ctypes.data, board[LEAVING], 4 * y.size)
    ended(board, thread)
    return DONE


@entry(types.int64(types.int64, types.int64[::1], types.int64[::1], _F[:, :, ::1], _F[:, :, ::1]), nogil=False)
def streams(address: Any, chosen: Any, steps: Any, x: Any, y: Any) -> Any:
    """Make steps of the chosen streams: x float32[steps, streams, frames * features], y [steps, streams, outputs].

    steps: those that each stream has taken. A block of streams makes all its steps before the next one begins, so that
    its states and the weights stay near the processor. What is not chosen becomes NaN in y and stays as it is.
    """
    board = i64(address)
    if board[BUSY]:
        return IN_USE
    thread = begun(board)
    code = _streams(board, chosen, steps, x, y)
    ended(board, thread)
    return code


@inline
def _streams(  # noqa: C901, PLR0912 - compiled as one
    board: Any, chosen: Any, steps: Any, x: Any, y: Any
) -> Any:
    count, most, last = x.shape[0], x.shape[1], chosen.size
    if y.shape[0] != count or y.shape[1] != most or x.shape[2] != board[ENTER] or y.shape[2] != board[LEAVE]:
        return SHAPE
    flat, out = x.ctypes.data, y.ctypes.data
    for k in range(last):
        if chosen[k] < 0 or chosen[k] >= most:
            return SHAPE
        if steps[chosen[k]] + count > board[END]:
            return FULL
        for t in range(count):
            code = _looked_at(board, flat + 4 * (t * most + chosen[k]) * board[ENTER], board[ENTER])
            if code != DONE:
                return code
    for i in range(y.size):
        f32(out)[i] = np.float32(np.nan)
    first = 0
    while first < last:
        here = min(board[BLOCK], last - first)
        for b in range(here):
            for k in range(board[STATE_COUNT]):
                _carried(i64(board[STATES] + 8 * STATE * k), b, chosen[first + b], 1)
        for t in range(count):
            for b in range(here):
                source = flat + 4 * (t * most + chosen[first + b]) * board[ENTER]
                moved(board[ENTERING] + 4 * b * board[ENTER], source, 4 * board[ENTER])
            _run_all(board)
            for b in range(here):
                if steps[chosen[first + b]] + t >= board[DELAY]:
                    to = out + 4 * (t * most + chosen[first + b]) * board[LEAVE]
                    moved(to, board[LEAVING] + 4 * b * board[LEAVE], 4 * board[LEAVE])
        for b in range(here):
            steps[chosen[first + b]] += count
            for k in range(board[STATE_COUNT]):
                _carried(i64(board[STATES] + 8 * STATE * k), b, chosen[first + b], 0)
        first += here
    return DONE
