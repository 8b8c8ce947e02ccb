"""A panel of a GRU's step in vectors: sums over the inputs and over the state, then the gates of LANES units."""

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
SUMS = 4
"""What gates begin with, in vectors: the sums of z and of r, and those of n over the inputs and over the state."""
OVER_INPUTS, OVER_STATE = 1, 2
"""Sums over the inputs are one, for those over the state, which come beside them, are under way meanwhile."""


def gru_sums(rows: int, *, known: bool, state_first: bool = False) -> Any:
    """Return what sums up a panel of so many rows, and puts SUMS vectors of each into a room.

    It takes addresses, and strides from row to row in bytes: x, its stride, its panel and how many inputs there are (or
    where sums over the inputs are known these, their stride, how far gates lie apart, 0); the same four of the state;
    the room. Vectors are read whole. state_first: whether to sum over the state before the inputs, to the same bits.
    """

    @intrinsic
    def sums(
        typingctx: Any, x: Any, x_row: Any, x_panel: Any, inputs: Any, h: Any, h_row: Any, h_panel: Any, numbers: Any,
        room: Any,
    ) -> Any:  # fmt: skip
        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
            *of_x, h, h_row, h_panel, numbers, room = args
            over_inputs = _given if known else _over_inputs
            if state_first:
                of_state = sums_f32(builder, rows, GATES, OVER_STATE, h, h_row, h_panel, numbers)
                of_inputs = over_inputs(builder, rows, *of_x)
            else:
                of_inputs = over_inputs(builder, rows, *of_x)
                of_state = sums_f32(builder, rows, GATES, OVER_STATE, h, h_row, h_panel, numbers)
            for r in range(rows):
                (z_x, r_x, n_x), (z_h, r_h, n_h) = of_inputs[r], of_state[r]
                vectors = builder.fadd(z_x, z_h), builder.fadd(r_x, r_h), n_x, n_h
                for place, vector in enumerate(vectors, len(vectors) * r):
                    to = moved(builder, room, VECTOR * place)
                    builder.store(vector, builder.inttoptr(to, vector.type.as_pointer()), align=4)
            return ir.Constant(I64, 0)

        return types.int64(*(types.int64,) * 9), generate

    return sums


def gru_gates(rows: int) -> Any:
    """Return what gives y = n + z (h - n) of so many rows: z, r = sigmoid(sum), n = tanh(x + r h) of its two sums.

    It takes addresses, and strides from row to row in bytes: the room with the sums; the state that is mixed with, its
    stride; y, its stride, how many units it takes.
    """

    @intrinsic
    def gates(typingctx: Any, room: Any, mixed: Any, mixed_row: Any, y: Any, y_row: Any, count: Any) -> Any:
        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
            room, mixed, mixed_row, y, y_row, count = args
            for row in range(rows):
                z, r, n_x, n_h = (
                    Number(builder, _read(builder, moved(builder, room, VECTOR * (SUMS * row + k))))
                    for k in range(SUMS)
                )
                new = tanh(sigmoid(r).times(n_h, n_x))
                old = Number(builder, _read(builder, _row(builder, mixed, mixed_row, row)))
                unit = sigmoid(z).times(old - new, new)
                store(builder, [unit.value], _row(builder, y, y_row, row), count)
            return ir.Constant(I64, 0)

        return types.int64(*(types.int64,) * 6), generate

    return gates


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
