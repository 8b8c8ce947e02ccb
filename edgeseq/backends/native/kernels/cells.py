"""The step of a recurrent cell in one pass over its weights: gates are computed while the next ones' weights come.

So a panel's gates are computed after the next panel's sums: what they begin with is long there, and they wait for
nothing that is still on its way from memory, while the sums after them need none of theirs.

A panel holds what LANES units need, a vector for each of z, r and n: first the biases, then each input's weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends.native.kernels.gru_panel import (
    GATES,
    OVER_INPUTS,
    PANEL,
    SUMS,
    VECTOR,
    gru_gates,
    gru_sums,
)
from edgeseq.backends.native.kernels.vectors import BLOCK, LANES, panel_f32
from edgeseq.jit import inline, kernel
from edgeseq.pointers import f32, i64

SCRATCH = GATES * LANES * BLOCK
"""Numbers that sums over the inputs need room for, of BLOCK rows."""
_ANYTHING = np.float32(-np.inf)
_inputs1, _inputs_block = panel_f32(1, GATES, OVER_INPUTS), panel_f32(BLOCK, GATES, OVER_INPUTS)
_sums1, _sums_block, _state_first1 = (
    gru_sums(1, known=False), gru_sums(BLOCK, known=False), gru_sums(1, known=False, state_first=True),
)  # fmt: skip
_known1, _known_block = gru_sums(1, known=True), gru_sums(BLOCK, known=True)
_gates1, _gates_block = gru_gates(1), gru_gates(BLOCK)
_HALF = BLOCK * SUMS * VECTOR
ROOM = 2 * BLOCK * SUMS * LANES
"""Numbers that a step's sums need room for: those that are being made, and those whose gates are still to come."""


def packed(weight: NDArray[Any], bias: NDArray[Any], units: int) -> NDArray[np.float32]:
    """Return weight [z, r and n of all units, inputs] and its bias as panels; filled with zeros.

    The biases stand where the weights are read anyhow: as an array of their own each panel would wait for its part.
    """
    panels = -(-units // LANES)
    whole = np.zeros((GATES, panels * LANES, 1 + weight.shape[1]), np.float32)
    whole[:, :units, 0], whole[:, :units, 1:] = bias.reshape(GATES, units), weight.reshape(GATES, units, -1)
    # To [panels, bias and inputs, gates, LANES].
    return np.ascontiguousarray(whole.reshape(GATES, panels, LANES, -1).transpose(1, 3, 0, 2))


# A row: 1 rows; 2 x, 3 its row stride, 4 panels, 5 units, 6 inputs, 7 y [z, r and n of all units], 8 its row stride, 9
# room for sums; strides in bytes.
@kernel()
def gru_inputs(row: Any) -> None:
    """Give a GRU's sums over its inputs, in the order in which `gru` sums them."""
    for p in range(-(-row[5] // LANES)):
        bias, left = row[4] + p * (1 + row[6]) * PANEL, min(LANES, row[5] - p * LANES)
        w = bias + PANEL
        r = 0
        while r < row[1]:
            x, many = row[2] + r * row[3], row[1] - r >= BLOCK
            if many:
                _inputs_block(x, row[3], w, PANEL, row[6], bias, row[9], PANEL, GATES * LANES, _ANYTHING)
            else:
                _inputs1(x, row[3], w, PANEL, row[6], bias, row[9], PANEL, GATES * LANES, _ANYTHING)
            for k in range(BLOCK if many else 1):
                for gate in range(GATES):
                    y = f32(row[7] + (r + k) * row[8] + 4 * (gate * row[5] + p * LANES))
                    sums = f32(row[9] + k * PANEL + gate * VECTOR)
                    for i in range(left):
                        y[i] = sums[i]
            r += BLOCK if many else 1


@inline
def _gates(rows: int, room: int, mixed: int, mixed_row: int, y: int, y_row: int, left: int) -> None:
    """Compute the gates of BLOCK rows, of one, or of none."""
    if rows == BLOCK:
        _gates_block(room, mixed, mixed_row, y, y_row, left)
    elif rows:
        _gates1(room, mixed, 0, y, 0, left)


# A row: 1 rows; 2 the state that is summed over, 3 its row stride, 4 panels, 5 units, 6 numbers of the state; 7 where
# stands where the sums over the inputs are, as gru_inputs gives them without gaps, 0 if they are not known; 8 y, 9 its
# row stride; 10 whether to begin with the last panel, as in products.py; 11 x, 12 its row stride, 13 panels, 14 inputs;
# 15 the state that is mixed with, 16 its row stride; 17 room for sums; in bytes.
@kernel()
def gru(row: Any) -> None:
    """Give n + z (h - n): z, r = sigmoid(x + h), n = tanh(x + r h), each x and h a sum of its own."""
    row[10] = 1 - row[10]
    panels, known, room = -(-row[5] // LANES), i64(row[7])[0], row[17]
    both = 2 * row[17] + _HALF
    waiting = mixed_before = y_before = left_before = 0
    for k in range(panels):
        p = panels - 1 - k if row[10] else k
        w, left, units = row[4] + p * (1 + row[6]) * PANEL, row[5] - p * LANES, p * VECTOR
        if known:
            x, x_row, v = known + units, 4 * GATES * row[5], 4 * row[5]
        else:
            x, x_row, v = row[11], row[12], row[13] + p * (1 + row[14]) * PANEL
        h, mixed, y, r = row[2], row[15] + units, row[8] + units, 0
        while r < row[1]:
            many = row[1] - r >= BLOCK
            if many and known:
                _known_block(x, x_row, v, 0, h, row[3], w, row[6], room)
            elif many:
                _sums_block(x, x_row, v, row[14], h, row[3], w, row[6], room)
            elif known:
                _known1(x, 0, v, 0, h, 0, w, row[6], room)
            elif k:
                _sums1(x, 0, v, row[14], h, 0, w, row[6], room)
            else:
                # A step begins with the panel that the last one ended with: its state's weights, which were read last,
                # are still in the first cache, unless those of the inputs drive them out.
                _state_first1(x, 0, v, row[14], h, 0, w, row[6], room)
            room = both - room
            _gates(waiting, room, mixed_before, row[16], y_before, row[9], left_before)
            waiting, mixed_before, y_before, left_before = BLOCK if many else 1, mixed, y, left
            x, h, mixed, y, r = (
                x + waiting * x_row, h + waiting * row[3], mixed + waiting * row[16], y + waiting * row[9], r + waiting,
            )  # fmt: skip
    _gates(waiting, both - room, mixed_before, row[16], y_before, row[9], left_before)
