"""The one compiled function that runs any program: it checks the frames, calls the kernels row by row, keeps the count.

A program is a table of rows; a row is the address of a kernel, then what the kernel takes. Beside it stands a board of
numbers (the constants below say which) that Python and the compiled code share.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core import types

from edgeseq.backends.native.kernels.memory import call, f32, i64
from edgeseq.jit import entry

WIDTH = 24
"""Numbers in a row."""
TABLE, ROWS, ENTERING, ENTER, LEAVING, LEAVE, STEPS, DELAY, END, WAITING, TOKENS, TOKEN_COUNT, FEATURES, FRAMES = range(14)
"""Where on the board: the table and its rows; where frames enter and how many numbers; where outputs leave and how
many; steps taken; outputs that do not exist; the last step there is room for; frames that wait; (column, how many) of
each token and their number; numbers of a frame; frames of a step."""
BOARD = 16
DONE, SHAPE, FULL, UNFINISHED, NOT_FINITE, NO_TOKEN = range(6)
"""What a step may come to."""
_F = types.float32


@numba.njit(inline="always", error_model="numpy")
def _checked(board: Any, x: Any, numbers: int) -> int:
    """Look at frames before anything is changed."""
    # Zero times a number is zero, times NaN or infinity it is NaN.
    bad = 0
    for i in range(numbers):
        bad |= x[i] * np.float32(0) != np.float32(0)
    if bad:
        return NOT_FINITE
    if board[TOKEN_COUNT]:
        pairs, features = i64(board[TOKENS]), board[FEATURES]
        for k in range(board[TOKEN_COUNT]):
            for i in range(pairs[2 * k], numbers, features):
                if x[i] < 0 or x[i] >= pairs[2 * k + 1] or x[i] != np.rint(x[i]):
                    return NO_TOKEN
    return DONE


@numba.njit(inline="always")
def _computed(board: Any, x: Any) -> None:
    """Compute one step on checked frames, without counting it."""
    entering = f32(board[ENTERING])
    for i in range(board[ENTER]):
        entering[i] = x[i]
    table = board[TABLE]
    for r in range(board[ROWS]):
        row = i64(table + r * (8 * WIDTH))
        call(row[0], row)


@numba.njit(inline="always")
def _stepped(board: Any, x: Any, y: Any) -> None:
    """Make one step on checked frames and count it; what does not exist yet is NaN."""
    _computed(board, x)
    leaving = f32(board[LEAVING])
    board[STEPS] += 1
    if board[STEPS] <= board[DELAY]:
        for i in range(board[LEAVE]):
            y[i] = np.float32(np.nan)
    else:
        for i in range(board[LEAVE]):
            y[i] = leaving[i]


@entry(types.int64(types.int64, _F[::1], _F[::1]), types.int64(types.int64, _F[:, ::1], _F[::1]))
def step(address: Any, x: Any, y: Any) -> Any:
    """Make a step: x float32[features] or [frames, features], y float32[outputs]. Return what it came to."""
    board = i64(address)
    if x.size != board[ENTER] or x.shape[-1] != board[FEATURES] or y.size != board[LEAVE]:
        return SHAPE
    if board[WAITING]:
        return UNFINISHED
    if board[STEPS] >= board[END]:
        return FULL
    flat, out = f32(x.ctypes.data), f32(y.ctypes.data)
    code = _checked(board, flat, x.size)
    if code == DONE:
        _stepped(board, flat, out)
    return code


@entry(types.int64(types.int64, _F[:, ::1], _F[:, ::1]))
def run(address: Any, x: Any, y: Any) -> Any:
    """Make as many steps as y float32[steps, outputs] has rows; x float32[steps * frames, features]."""
    board = i64(address)
    if x.shape[1] != board[FEATURES] or x.shape[0] != y.shape[0] * board[FRAMES] or y.shape[1] != board[LEAVE]:
        return SHAPE
    if board[STEPS] + y.shape[0] > board[END]:
        return FULL
    flat, out = x.ctypes.data, y.ctypes.data
    code = _checked(board, f32(flat), x.size)
    if code == DONE:
        for t in range(y.shape[0]):
            _stepped(board, f32(flat + 4 * t * board[ENTER]), f32(out + 4 * t * board[LEAVE]))
    return code


@entry(types.int64(types.int64, _F[::1], _F[::1]))
def compute(address: Any, x: Any, y: Any) -> Any:
    """Compute one step on checked frames, all of them in a row, without counting it."""
    board = i64(address)
    if x.size != board[ENTER] or y.size != board[LEAVE]:
        return SHAPE
    _computed(board, f32(x.ctypes.data))
    leaving = f32(board[LEAVING])
    for i in range(y.size):
        y[i] = leaving[i]
    return DONE
