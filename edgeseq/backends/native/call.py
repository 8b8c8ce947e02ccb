"""A step as a method that Python calls as it calls those written in C."""

from __future__ import annotations

from typing import Any

from edgeseq import direct
from edgeseq.backends.native import engine
from edgeseq.jit import inline, method
from edgeseq.pointers import i64

LEFT = -1
"""No object's address: a step is left to Python."""


@method()
def step(self: Any, arguments: Any, count: Any, keywords: Any) -> Any:
    """Make a step on x, and out by place or by name. What does not go so, and every error, is left to Python."""
    at = direct.board(self)
    if at != 0 and not i64(at)[engine.BUSY]:
        y = _stepped(at, i64(arguments), count, keywords)
        if y != LEFT:
            return y
    return direct.in_python(self, arguments, count, keywords)


@inline
def _stepped(at: Any, given: Any, count: Any, keywords: Any) -> Any:
    """Return the outputs of a step; 0 with MemoryError set, LEFT where nothing was done."""
    board = i64(at)
    python = i64(board[engine.PYTHON])
    y = python[direct.NONE]
    if count == 2 and keywords == 0:  # noqa: PLR2004 - x and out
        y = given[1]
    elif count == 1 and keywords != 0:
        if not direct.is_out(python, keywords):
            return LEFT
        y = given[1]
    elif count != 1:
        return LEFT
    missing = y == python[direct.NONE]
    if not (_enters(board, python, given[0]) and (missing or _takes(board, python, y))):
        return LEFT
    if missing:
        y = direct.spare(python, at + 8 * engine.SPARES, at + 8 * engine.LEAVE)
        if y == 0:
            return 0
    else:
        direct.owned(y)
    # Others may have the interpreter meanwhile where a step takes longer than handing it over.
    thread = engine.begun(board) if board[engine.LONG] else 0
    code = engine.stepped(board, direct.data(given[0]), direct.data(y))
    if thread:
        engine.ended(board, thread)
    if code == engine.DONE:
        return y
    direct.drop((y,))
    return LEFT


@inline
def _enters(board: Any, python: Any, x: Any) -> bool:
    """Say whether an object is the frames of a step: [features], or [frames, features]."""
    axes = 1 if board[engine.FRAMES] == 1 else 2
    if not direct.is_plain(python, x, direct.FLOAT32, axes):
        return False
    shape = direct.shape(x)
    if axes == 1:
        return shape[0] == board[engine.FEATURES]
    return shape[0] == board[engine.FRAMES] and shape[1] == board[engine.FEATURES]


@inline
def _takes(board: Any, python: Any, y: Any) -> bool:
    """Say whether an object can take the outputs of a step."""
    if not direct.is_plain(python, y, direct.FLOAT32, 1) or not direct.is_writeable(y):
        return False
    return direct.shape(y)[0] == board[engine.LEAVE]
