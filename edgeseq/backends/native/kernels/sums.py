"""What is gathered over numbers side by side: vectors of partial sums, in an order that hangs on their count alone.

Only sums may be put in another order: in what leads to them, that would undo what is exact (functions.exp). So they are
functions of their own.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from edgeseq.backends.native.kernels.functions import float_of_bits
from edgeseq.pointers import i32

_F, _I = np.float32, np.int32
_LEAST, _ALL_BUT_SIGN = _I(-(2**31)), _I(2**31 - 1)
_ANY_ORDER = {"reassoc", "contract"}


@numba.njit(fastmath=_ANY_ORDER)
def total(x: Any, n: int) -> Any:
    """Return the sum of float32."""
    y = _F(0)
    for k in range(n):
        y += x[k]
    return y


@numba.njit(fastmath=_ANY_ORDER)
def squares(x: Any, n: int, centre: Any) -> Any:
    """Return the sum of (x - centre)², in float32."""
    y = _F(0)
    for k in range(n):
        part = x[k] - centre
        y += part * part
    return y


@numba.njit
def extreme(address: int, n: int, flip: Any) -> Any:
    """Return the greatest float32, or with the sign's bit as `flip` the least; NaN where one is.

    As whole numbers, which are in the order of the float32 whose bits they are once those of the negative ones are
    turned over: the greatest of whole numbers is found with vectors.
    """
    bits, top, bad = i32(address), _LEAST, _I(0)
    for k in range(n):
        here = _I(bits[k] ^ flip)
        bad |= _I(_I(here & _ALL_BUT_SIGN) > _I(0x7F800000))
        key = _I(here ^ _I(_I(here >> _I(31)) & _ALL_BUT_SIGN))
        top = key if key > top else top  # noqa: FURB136
    if bad:
        return _F(np.nan)
    return float_of_bits(_I(_I(top ^ _I(_I(top >> _I(31)) & _ALL_BUT_SIGN)) ^ flip))
