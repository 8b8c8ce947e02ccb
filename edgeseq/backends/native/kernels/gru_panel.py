"""A panel of a GRU's step in vectors: sums over the inputs and over the state, and the gates of LANES units.

What is summed stays in registers until the units have their numbers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from edgeseq.backends.native.kernels.curves import Number, sigmoid, tanh
from edgeseq.backends.native.kernels.vectors import F32, I64, LANES, load, moved, store, sums_f32

GATES = 3
VECTOR = 4 * LANES
PANEL = GATES * VECTOR
"""Bytes of a vector, and of what an input has in a panel: its weights of z, of r and of n."""
OVER_INPUTS, OVER_STATE = 1, 2
"""Sums over the inputs are one, for those over the state, which come beside them, are under way meanwhile."""


def gru_panel(rows: int, *, known: bool, state_first: bool = False) -> Any:
    """Return y = n + z (h - n) of so many rows: z, r = sigmoid(x + h), n = tanh(x + r h), each x and h a sum.

    It takes addresses, and strides from row to row in bytes: x, its stride, its panel and how many inputs there are (or
    where sums over the inputs are known these, their stride, how far gates lie apart, 0); the same four of the state
    that is summed over; the state that is mixed with, its stride; y, its stride, how many units it takes. Vectors are
    read whole. state_first: whether to sum over the state before the inputs, to the same bits.
    """

    @intrinsic
    def panel(
        typingctx: Any, x: Any, x_row: Any, x_panel: Any, inputs: Any, h: Any, h_row: Any, h_panel: Any, numbers: Any,
        mixed: Any, mixed_row: Any, y: Any, y_row: Any, count: Any,
    ) -> Any:  # fmt: skip
        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
            *of_x, h, h_row, h_panel, numbers, mixed, mixed_row, y, y_row, count = args
            over_inputs = _given if known else _over_inputs
            if state_first:
                of_state = sums_f32(builder, rows, GATES, OVER_STATE, h, h_row, h_panel, numbers)
                of_inputs = over_inputs(builder, rows, *of_x)
            else:
                of_inputs = over_inputs(builder, rows, *of_x)
                of_state = sums_f32(builder, rows, GATES, OVER_STATE, h, h_row, h_panel, numbers)
            for r in range(rows):
                z_x, r_x, n_x = (Number(builder, each) for each in of_inputs[r])
                z_h, r_h, n_h = (Number(builder, each) for each in of_state[r])
                new = tanh(sigmoid(r_x + r_h).times(n_h, n_x))
                old = Number(builder, _read(builder, _row(builder, mixed, mixed_row, r)))
                unit = sigmoid(z_x + z_h).times(old - new, new)
                store(builder, [unit.value], _row(builder, y, y_row, r), count)
            return ir.Constant(I64, 0)

        return types.int64(*(types.int64,) * 13), generate

    return panel


def _over_inputs(builder: Any, rows: int, x: Any, x_row: Any, panel: Any, inputs: Any) -> list[list[Any]]:
    return sums_f32(builder, rows, GATES, OVER_INPUTS, x, x_row, panel, inputs)


def _given(builder: Any, rows: int, sums: Any, sums_row: Any, apart: Any, _: Any) -> list[list[Any]]:
    """Read the sums over the inputs of each row, of z, r and n."""
    places = [_row(builder, sums, sums_row, r) for r in range(rows)]
    return [[_read(builder, _row(builder, place, apart, gate)) for gate in range(GATES)] for place in places]


def _row(builder: Any, address: Any, stride: Any, r: int) -> Any:
    return moved(builder, address, builder.mul(stride, ir.Constant(I64, r)))


def _read(builder: Any, address: Any) -> Any:
    return load(builder, address, ir.VectorType(F32, LANES))
