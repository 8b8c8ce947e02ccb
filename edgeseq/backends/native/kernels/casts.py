"""One type to another, number by number (rows: elementwise.py). What has no kernel of its own goes by way of int64."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from edgeseq.backends.native.kernels.elementwise import one
from edgeseq.jit import Kernel, kernel
from edgeseq.pointers import f32, f64, i8, i32, i64


@numba.njit(inline="always")
def _f32(a: Any) -> Any:
    return np.float32(a)


@numba.njit(inline="always")
def _f64(a: Any) -> Any:
    return np.float64(a)


@numba.njit(inline="always")
def _i64(a: Any) -> Any:
    return np.int64(a)


@numba.njit(inline="always")
def _i32(a: Any) -> Any:
    return np.int32(a)


@numba.njit(inline="always")
def _true(a: Any) -> Any:
    return np.int8(1) if a != 0 else np.int8(0)


@kernel()
def f32_to_f64(row: Any) -> None:
    """From float32 to float64."""
    one(row, f64, f32, _f64)


@kernel()
def f32_to_i64(row: Any) -> None:
    """From float32 to int64."""
    one(row, i64, f32, _i64)


@kernel()
def f32_to_bool(row: Any) -> None:
    """From float32 to bool."""
    one(row, i8, f32, _true)


@kernel()
def f64_to_f32(row: Any) -> None:
    """From float64 to float32."""
    one(row, f32, f64, _f32)


@kernel()
def f64_to_i64(row: Any) -> None:
    """From float64 to int64."""
    one(row, i64, f64, _i64)


@kernel()
def f64_to_bool(row: Any) -> None:
    """From float64 to bool."""
    one(row, i8, f64, _true)


@kernel()
def i64_to_f32(row: Any) -> None:
    """From int64 to float32."""
    one(row, f32, i64, _f32)


@kernel()
def i64_to_f64(row: Any) -> None:
    """From int64 to float64."""
    one(row, f64, i64, _f64)


@kernel()
def i64_to_i32(row: Any) -> None:
    """From int64 to int32."""
    one(row, i32, i64, _i32)


@kernel()
def i64_to_bool(row: Any) -> None:
    """From int64 to bool."""
    one(row, i8, i64, _true)


@kernel()
def i32_to_i64(row: Any) -> None:
    """From int32 to int64."""
    one(row, i64, i32, _i64)


@kernel()
def bool_to_f32(row: Any) -> None:
    """A condition to float32."""
    one(row, f32, i8, _f32)


@kernel()
def bool_to_i64(row: Any) -> None:
    """A condition to int64."""
    one(row, i64, i8, _i64)


CASTS: dict[tuple[str, str], Kernel] = {
    ("float32", "float64"): f32_to_f64,
    ("float32", "int64"): f32_to_i64,
    ("float32", "bool"): f32_to_bool,
    ("float64", "float32"): f64_to_f32,
    ("float64", "int64"): f64_to_i64,
    ("float64", "bool"): f64_to_bool,
    ("int64", "float32"): i64_to_f32,
    ("int64", "float64"): i64_to_f64,
    ("int64", "int32"): i64_to_i32,
    ("int64", "bool"): i64_to_bool,
    ("int32", "int64"): i32_to_i64,
    ("bool", "float32"): bool_to_f32,
    ("bool", "int64"): bool_to_i64,
}
