"""Whole numbers of 64 bits, number by number (rows: elementwise.py). They wrap round, as NumPy's do."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from edgeseq.backends.native.kernels.elementwise import one, two
from edgeseq.jit import Kernel, kernel
from edgeseq.pointers import i64

_I = np.int64


@numba.njit(inline="always")
def _add(a: Any, b: Any) -> Any:
    return a + b


@numba.njit(inline="always")
def _subtract(a: Any, b: Any) -> Any:
    return a - b


@numba.njit(inline="always")
def _multiply(a: Any, b: Any) -> Any:
    return a * b


@numba.njit(inline="always")
def _least(a: Any, b: Any) -> Any:
    return a if a < b else b  # noqa: FURB136 - Numba's own is slower


@numba.njit(inline="always")
def _greatest(a: Any, b: Any) -> Any:
    return a if a > b else b  # noqa: FURB136


@numba.njit
def _floored(a: int, b: int) -> int:
    """Return a // b; by zero zero. By -1 the least whole number is itself, where a processor would give up."""
    if b == 0:
        return 0
    return -a if b == -1 else a // b


@numba.njit
def _divide(a: int, b: int) -> int:
    """Divide towards zero."""
    y = _floored(a, b)
    return y + 1 if b != 0 and y < 0 and y * b != a else y


@numba.njit
def _mod(a: int, b: int) -> int:
    """Return the rest that has the divisor's sign; by zero zero."""
    return 0 if b == 0 else a - _floored(a, b) * b


@numba.njit
def _fmod(a: int, b: int) -> int:
    """Return the rest that has the dividend's sign; by zero zero."""
    return 0 if b == 0 else a - _divide(a, b) * b


@numba.njit(inline="always")
def _negative(a: Any) -> Any:
    return -a


@numba.njit(inline="always")
def _size(a: Any) -> Any:
    return -a if a < 0 else a


@numba.njit(inline="always")
def _sign(a: Any) -> Any:
    return _I(1) if a > 0 else _I(-1) if a < 0 else _I(0)


@numba.njit(inline="always")
def _relu(a: Any) -> Any:
    return _I(0) if a < 0 else a


@kernel()
def add(row: Any) -> None:
    """Give a + b."""
    two(row, i64, i64, _add)


@kernel()
def subtract(row: Any) -> None:
    """Give a - b."""
    two(row, i64, i64, _subtract)


@kernel()
def multiply(row: Any) -> None:
    """Give a b."""
    two(row, i64, i64, _multiply)


@kernel()
def least(row: Any) -> None:
    """Give the lesser of a and b."""
    two(row, i64, i64, _least)


@kernel()
def greatest(row: Any) -> None:
    """Give the greater of a and b."""
    two(row, i64, i64, _greatest)


@kernel()
def divide(row: Any) -> None:
    """Give a / b, towards zero."""
    two(row, i64, i64, _divide)


@kernel()
def mod(row: Any) -> None:
    """Give the rest of a / b, with the sign of b."""
    two(row, i64, i64, _mod)


@kernel()
def fmod(row: Any) -> None:
    """Give the rest of a / b, with the sign of a."""
    two(row, i64, i64, _fmod)


@kernel()
def negative(row: Any) -> None:
    """Give -a."""
    one(row, i64, i64, _negative)


@kernel()
def size(row: Any) -> None:
    """Give |a|."""
    one(row, i64, i64, _size)


@kernel()
def sign(row: Any) -> None:
    """Give 1, 0 or -1."""
    one(row, i64, i64, _sign)


@kernel()
def relu(row: Any) -> None:
    """Give a, not below zero."""
    one(row, i64, i64, _relu)


TWO: dict[str, Kernel] = {
    "Add": add,
    "Sub": subtract,
    "Mul": multiply,
    "Min": least,
    "Max": greatest,
    "Div": divide,
    "Mod": mod,
    "Fmod": fmod,
}
ONE: dict[str, Kernel] = {"Neg": negative, "Abs": size, "Sign": sign, "Relu": relu}
