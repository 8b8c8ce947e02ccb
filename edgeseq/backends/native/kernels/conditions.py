"""Comparisons, what is made of conditions (bytes, 0 or 1), and what is chosen by them (rows: elementwise.py)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from edgeseq.backends.native.kernels.elementwise import chosen, one, two
from edgeseq.jit import Kernel, kernel
from edgeseq.pointers import f32, f64, i8, i16, i32, i64

_YES, _NO = np.int8(1), np.int8(0)


@numba.njit(inline="always")
def _less(a: Any, b: Any) -> Any:
    return _YES if a < b else _NO


@numba.njit(inline="always")
def _at_most(a: Any, b: Any) -> Any:
    return _YES if a <= b else _NO


@numba.njit(inline="always")
def _equal(a: Any, b: Any) -> Any:
    return _YES if a == b else _NO


@numba.njit(inline="always")
def _and(a: Any, b: Any) -> Any:
    return a & b


@numba.njit(inline="always")
def _or(a: Any, b: Any) -> Any:
    return a | b


@numba.njit(inline="always")
def _not(a: Any) -> Any:
    return a ^ _YES


@kernel()
def less_f32(row: Any) -> None:
    """Give a < b."""
    two(row, i8, f32, _less)


@kernel()
def at_most_f32(row: Any) -> None:
    """Give a <= b."""
    two(row, i8, f32, _at_most)


@kernel()
def equal_f32(row: Any) -> None:
    """Give a == b."""
    two(row, i8, f32, _equal)


@kernel()
def less_i64(row: Any) -> None:
    """Give a < b."""
    two(row, i8, i64, _less)


@kernel()
def at_most_i64(row: Any) -> None:
    """Give a <= b."""
    two(row, i8, i64, _at_most)


@kernel()
def equal_i64(row: Any) -> None:
    """Give a == b."""
    two(row, i8, i64, _equal)


@kernel()
def less_f64(row: Any) -> None:
    """Give a < b."""
    two(row, i8, f64, _less)


@kernel()
def at_most_f64(row: Any) -> None:
    """Give a <= b."""
    two(row, i8, f64, _at_most)


@kernel()
def equal_f64(row: Any) -> None:
    """Give a == b."""
    two(row, i8, f64, _equal)


@kernel()
def equal_bool(row: Any) -> None:
    """Give a == b."""
    two(row, i8, i8, _equal)


@kernel()
def both(row: Any) -> None:
    """Give a and b."""
    two(row, i8, i8, _and)


@kernel()
def either(row: Any) -> None:
    """Give a or b."""
    two(row, i8, i8, _or)


@kernel()
def opposite(row: Any) -> None:
    """Give not a."""
    one(row, i8, i8, _not)


@kernel()
def chosen1(row: Any) -> None:
    """Bytes, by a condition."""
    chosen(row, i8, 1)


@kernel()
def chosen2(row: Any) -> None:
    """Pairs of bytes, by a condition."""
    chosen(row, i16, 2)


@kernel()
def chosen4(row: Any) -> None:
    """Numbers of four bytes, by a condition."""
    chosen(row, i32, 4)


@kernel()
def chosen8(row: Any) -> None:
    """Numbers of eight bytes, by a condition."""
    chosen(row, i64, 8)


COMPARED: dict[tuple[str, str], Kernel] = {
    ("Less", "float32"): less_f32,
    ("LessOrEqual", "float32"): at_most_f32,
    ("Equal", "float32"): equal_f32,
    ("Less", "int64"): less_i64,
    ("LessOrEqual", "int64"): at_most_i64,
    ("Equal", "int64"): equal_i64,
    ("Less", "float64"): less_f64,
    ("LessOrEqual", "float64"): at_most_f64,
    ("Equal", "float64"): equal_f64,
    ("Equal", "bool"): equal_bool,
}
LOGIC: dict[str, Kernel] = {"And": both, "Or": either, "Not": opposite}
CHOSEN: dict[int, Kernel] = {1: chosen1, 2: chosen2, 4: chosen4, 8: chosen8}
