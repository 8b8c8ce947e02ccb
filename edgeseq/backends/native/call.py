"""A step as a function that Python calls as it calls those written in C."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import direct
from edgeseq.backends.native import engine
from edgeseq.jit import inline, method
from edgeseq.pointers import i64, invoke


@method()
def step(self: Any, arguments: Any, count: Any) -> Any:
    """Make a step: self is the board, an array; the arguments are x and y. Gives the outputs, or None.

    None means that nothing was done: what x and y are is not what this takes, or a step can't be made with it.
    """
    board = i64(direct.data(self))
    python = i64(board[engine.PYTHON])
    if count != 2:  # noqa: PLR2004 - x and y
        return direct.owned(python, python[direct.NONE])
    given = i64(arguments)
    x, y, missing = given[0], given[1], given[1] == python[direct.NONE]
    code = engine.SHAPE
    if _enters(board, python, x) and (missing or _takes(board, python, y)):
        to = board[engine.RESULT] if missing else direct.data(y)
        # Others may have the interpreter meanwhile where a step takes longer than handing it over.
        thread = invoke(python[direct.LET_GO], ()) if board[engine.LONG] else 0
        code = engine.stepped(board, direct.data(x), to)
        if thread:
            invoke(python[direct.TAKE], (thread,))
    if code == engine.DONE and missing:
        y = direct.made(python, direct.FLOAT32, 1, direct.data(self) + 8 * engine.LEAVE)
        if y:
            engine.moved(direct.data(y), to, 4 * board[engine.LEAVE])
        return y
    return direct.owned(python, y if code == engine.DONE else python[direct.NONE])


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


def bound(board: NDArray[np.int64]) -> Any:
    """Return step(x, out or None) over a board, called with two arguments; None where arrays are not as expected."""
    return direct.bound(step, board, engine.PYTHON)
