"""The step of a recurrent cell in one pass over its weights: gates are computed while the next ones' weights come.

A panel holds what LANES units need, for each input the weights of z, of r and of n, a vector of each; so does a bias.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends.native.kernels.functions import fma, sigmoid, tanh
from edgeseq.backends.native.kernels.vectors import BLOCK, LANES, panel_f32
from edgeseq.jit import inline, kernel
from edgeseq.pointers import f32, i64

GATES = 3
_VECTOR = 4 * LANES
_PANEL = GATES * _VECTOR
SCRATCH = 2 * GATES * LANES * BLOCK
"""Numbers that a cell needs room for: sums over inputs and over the state, of BLOCK rows."""
_ANYTHING = np.float32(-np.inf)
# Sums over the inputs are one, for those over the state, which come beside them, are under way meanwhile.
_inputs1, _inputs_block = panel_f32(1, GATES, 1), panel_f32(BLOCK, GATES, 1)
_state1, _state_block = panel_f32(1, GATES, 2), panel_f32(BLOCK, GATES, 2)


def packed(weight: NDArray[Any], bias: NDArray[Any], units: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight [z, r and n of all units, inputs] and its bias as panels; filled with zeros."""
    panels = -(-units // LANES)
    whole = np.zeros((GATES, panels * LANES, weight.shape[1] + 1), np.float32)
    whole[:, :units, :-1], whole[:, :units, -1] = weight.reshape(GATES, units, -1), bias.reshape(GATES, units)
    # To [panels, inputs, gates, LANES].
    turned = whole.reshape(GATES, panels, LANES, -1).transpose(1, 3, 0, 2)
    return np.ascontiguousarray(turned[:, :-1]), np.ascontiguousarray(turned[:, -1])


# A row: 1 rows; 2 x, 3 its row stride, 4 panels, 5 bias, 6 units, 7 inputs, 8 y [z, r and n of all units], 9 its row
# stride, 10 room for sums; strides in bytes.
@kernel()
def gru_inputs(row: Any) -> None:
    """Give a GRU's sums over its inputs, in the order in which `gru` sums them."""
    for p in range(-(-row[6] // LANES)):
        w, bias, left = row[4] + p * row[7] * _PANEL, row[5] + p * _PANEL, min(LANES, row[6] - p * LANES)
        r = 0
        while r < row[1]:
            x, many = row[2] + r * row[3], row[1] - r >= BLOCK
            if many:
                _inputs_block(x, row[3], w, _PANEL, row[7], bias, row[10], _PANEL, GATES * LANES, _ANYTHING)
            else:
                _inputs1(x, row[3], w, _PANEL, row[7], bias, row[10], _PANEL, GATES * LANES, _ANYTHING)
            for k in range(BLOCK if many else 1):
                for gate in range(GATES):
                    y = f32(row[8] + (r + k) * row[9] + 4 * (gate * row[6] + p * LANES))
                    sums = f32(row[10] + k * _PANEL + gate * _VECTOR)
                    for i in range(left):
                        y[i] = sums[i]
            r += BLOCK if many else 1


@inline
def _gated(y: Any, h: Any, x: Any, apart: int, sums: Any, count: int) -> None:
    """Give n + z (h - n) of some units. x: where their sums over the inputs are, gates so many bytes apart."""
    z_x, r_x, n_x = f32(x), f32(x + apart), f32(x + 2 * apart)
    z_h, r_h, n_h = f32(sums), f32(sums + _VECTOR), f32(sums + 2 * _VECTOR)
    for i in range(count):
        new = tanh(fma(sigmoid(r_x[i] + r_h[i]), n_h[i], n_x[i]))
        y[i] = fma(sigmoid(z_x[i] + z_h[i]), h[i] - new, new)


@inline
def _row(row: Any, r: int, p: int, sums: int) -> None:
    """Compute a panel's gates of a row. sums: where the sums of both are."""
    at, x, apart = p * _VECTOR, sums, _VECTOR
    if i64(row[8])[0]:
        x, apart = row[9] + r * row[10] + at, 4 * row[6]
    y, h, left = f32(row[11] + r * row[12] + at), f32(row[22] + r * row[23] + at), row[6] - p * LANES
    if left >= LANES:
        _gated(y, h, x, apart, sums + _PANEL, LANES)
    else:
        _gated(y, h, x, apart, sums + _PANEL, left)


# A row: 1 rows; 2 the state that is summed over, 3 its row stride, 4 panels, 5 bias, 6 units, 7 numbers of the state;
# 8 where stands whether the sums over the inputs are known, 9 where these are, as gru_inputs gives them, 10 their row
# stride; 11 y, 12 its row stride; 13 whether to begin with the last panel, as in products.py; 14 room for sums; 15 x,
# 16 its row stride, 17 panels, 18 bias, 19 inputs; 22 the state that is mixed with, 23 its row stride; in bytes.
@kernel()
def gru(row: Any) -> None:
    """Give n + z (h - n): z, r = sigmoid(x + h), n = tanh(x + r h), each x and h a sum of its own."""
    row[13] = 1 - row[13]
    panels, known, room = -(-row[6] // LANES), i64(row[8])[0], row[14]
    for k in range(panels):
        p = panels - 1 - k if row[13] else k
        r = 0
        while r < row[1]:
            x, h, many = row[15] + r * row[16], row[2] + r * row[3], row[1] - r >= BLOCK
            w, bias = row[4] + p * row[7] * _PANEL, row[5] + p * _PANEL
            v, offset = row[17] + p * row[19] * _PANEL, row[18] + p * _PANEL
            if many:
                if not known:
                    _inputs_block(x, row[16], v, _PANEL, row[19], offset, room, 2 * _PANEL, GATES * LANES, _ANYTHING)
                _state_block(h, row[3], w, _PANEL, row[7], bias, room + _PANEL, 2 * _PANEL, GATES * LANES, _ANYTHING)
                for s in range(BLOCK):
                    _row(row, r + s, p, room + 2 * s * _PANEL)
                r += BLOCK
            else:
                # A step begins with the panel that the last one ended with: its state's weights, which were read last,
                # are still in the first cache, unless those of the inputs drive them out.
                if not known and k:
                    _inputs1(x, 0, v, _PANEL, row[19], offset, room, 0, GATES * LANES, _ANYTHING)
                _state1(h, 0, w, _PANEL, row[7], bias, room + _PANEL, 0, GATES * LANES, _ANYTHING)
                if not known and not k:
                    _inputs1(x, 0, v, _PANEL, row[19], offset, room, 0, GATES * LANES, _ANYTHING)
                _row(row, r, p, room)
                r += 1
