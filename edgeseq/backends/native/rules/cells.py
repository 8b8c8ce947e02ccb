"""Recurrent cells in one kernel (cells.py): the sums over the inputs come from ahead, or are made on the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq.backends.native.kernels import cells as kernels
from edgeseq.backends.native.kernels.gru_panel import GATES
from edgeseq.backends.native.plan import Array, Plan, address
from edgeseq.backends.native.rules.rule import Given, Rule


def _panels(plan: Plan, op: Given, x: Array) -> tuple[Array, Array, int]:
    """Return x as rows, the panels of a product of it, and the number of units."""
    weight, bias, order = op.arrays["weight"], op.arrays["bias"], op.attributes["order"]
    units = len(weight) // GATES
    if weight.shape != (GATES * units, x.shape[-1]) or bias.shape != weight.shape[:1] or x.dtype != np.float32:
        raise ValueError(f"{x.dtype}{x.shape} does not go with weights {weight.shape} and a bias {bias.shape}")
    if sorted(order) != [*range(GATES)] or not units:
        raise ValueError(f"there is no order {order} of {units} units")
    weight, bias = (_ordered(array, order) for array in (weight, bias))
    panels = plan.stored(kernels.packed(weight, bias, units))
    return plan.solid(x).reshape(-1, x.shape[-1]), panels, units


def _ordered(array: NDArray[np.float32], order: list[int]) -> NDArray[np.float32]:
    """Return gates as z, r, n. order: where each of them is."""
    return array.reshape(GATES, -1, *array.shape[1:])[order].reshape(array.shape)


def _inputs(plan: Plan, op: Given, x: Array) -> Array:
    rows, panels, units = _panels(plan, op, x)
    y = plan.buffer((*x.shape[:-1], GATES * units), np.float32)
    if plan.ahead:
        flat, room = y.reshape(len(rows), -1), plan.buffer((kernels.SCRATCH,), np.float32)
        plan.row(
            kernels.gru_inputs, len(rows), address(rows), rows.strides[0], address(panels), units,
            rows.shape[1], address(flat), flat.strides[0], address(room),
        )  # fmt: skip
    plan.later[address(y)] = rows, panels, plan.buffer((1,), np.int64)
    return y


def _gru(plan: Plan, op: Given, known: Array, state: Array, mixed: Array) -> Array:
    rows, panels, units = _panels(plan, op, state)
    shape = state.shape[:-1]
    if address(known) not in plan.later or known.shape != (*shape, GATES * units):
        raise ValueError(f"{known.shape} are no sums over the inputs of {units} units")
    if mixed.dtype != np.float32 or mixed.shape != (*shape, units):
        raise ValueError(f"mixes {mixed.dtype}{mixed.shape} with {units} units of {shape}")
    x, x_panels, told = plan.later[address(known)]
    mixed = plan.solid(mixed).reshape(len(rows), -1)
    y = plan.buffer((*shape, units), np.float32)
    flat, room = y.reshape(len(rows), -1), plan.buffer((kernels.ROOM,), np.float32)
    plan.row(
        kernels.gru, len(rows), address(rows), rows.strides[0], address(panels), units,
        rows.shape[1], address(told), address(flat), flat.strides[0], 0,
        address(x), x.strides[0], address(x_panels), x.shape[1], address(mixed), mixed.strides[0],
        address(room),
    )  # fmt: skip
    return y


RULES: dict[str, Rule] = {"GruInputs": _inputs, "Gru": _gru}
