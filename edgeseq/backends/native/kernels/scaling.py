"""What integers.py computes in 64 bits, to the same bit in vectors of 32: what sums, products and pairs are brought to.

Of value * m only the upper 32 bits count where the shift s is above 32, for what is rounded with lies among them:
(value * m + 2^(s-1)) >> s is (((value * m >> 32) >> (s - 33)) + 1) >> 1. A lower s is raised by shifting m or the value
up. And of a weighted sum of int16 each multiplier goes in halves of 16 bits, so that no product needs more than 32.
rules/integers.py says where either can be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from edgeseq.backends.native.kernels.integers import two
from edgeseq.backends.native.kernels.vectors import I8, I16, I32, I64, LANES, PAIRS, X86, called, load, loop, splat
from edgeseq.jit import Kernel, kernel
from edgeseq.pointers import word

SHIFT = 33
"""The least shift with which what is rounded with lies among the upper 32 bits."""
_PACK = {16: "llvm.x86.avx512.packssdw.512", 8: "llvm.x86.avx2.packssdw", 4: "llvm.x86.sse2.packssdw.128"}
_BLOCK = 8
"""int16 in 128 bits, within which x86 interleaves vectors and packs them."""
_GROUPS = (2 * LANES, _BLOCK, 1) if LANES > _BLOCK // 2 else (_BLOCK, 1)
"""How many numbers are computed at a time, as far as there are as many."""


def _each(builder: Any, count: Any, body: Callable[[Any, int], None]) -> None:
    """Write body(i, group) for groups of the largest size that there are enough numbers for.

    The last group reaches back over what is done already, which comes out the same: nothing of it is read.
    """
    zero, left = ir.Constant(I64, 0), count
    for group in _GROUPS:
        size = ir.Constant(I64, group)
        here = builder.select(builder.icmp_signed("<=", size, left), left, zero)
        last = builder.sub(count, size)

        def one(i: Any, _: list[Any], last: Any = last, group: int = group) -> list[Any]:
            body(i if group == 1 else builder.select(builder.icmp_signed("<", i, last), i, last), group)
            return []

        loop(builder, zero, here, group, [], one)
        left = builder.sub(left, here)


def _like(number: Any, kind: ir.Type) -> ir.Type:
    """Return what holds as many numbers of another kind."""
    return ir.VectorType(kind, number.type.count) if isinstance(number.type, ir.VectorType) else kind


def _read(builder: Any, address: Any, i: Any, kind: ir.IntType, count: int) -> Any:
    at = builder.add(address, builder.mul(i, ir.Constant(I64, kind.width // 8)))
    return load(builder, at, kind if count == 1 else ir.VectorType(kind, count), kind.width // 8)


def _write(builder: Any, value: Any, address: Any, i: Any, kind: ir.IntType) -> None:
    at = builder.add(address, builder.mul(i, ir.Constant(I64, kind.width // 8)))
    builder.store(value, builder.inttoptr(at, value.type.as_pointer()), align=kind.width // 8)


def _filled(builder: Any, value: Any, number: Any) -> Any:
    """Return a value for each of as many numbers."""
    kind = _like(number, value.type)
    return value if kind == value.type else splat(builder, value, kind)


def _constant(number: Any, value: int) -> Any:
    return ir.Constant(number.type, [value] * number.type.count if isinstance(number.type, ir.VectorType) else value)


def _vector_of_x86(number: Any) -> bool:
    return X86 and isinstance(number.type, ir.VectorType)


def _scaled(builder: Any, value: Any, m: Any, shift: Any, odd: Any) -> Any:
    """Give value * m / 2^(SHIFT + shift), rounded halves upwards, and a zero point more: odd is twice that and one."""
    twice = builder.ashr(_upper(builder, value, m), shift)
    return builder.ashr(builder.add(twice, odd), _constant(value, 1))


def _upper(builder: Any, a: Any, b: Any) -> Any:
    """Give the upper 32 bits of a * b of int32."""
    if not _vector_of_x86(a):
        wide = _like(a, I64)
        product = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
        return builder.trunc(builder.lshr(product, _constant(product, 32)), a.type)
    # Its instruction multiplies each second number of a vector: as they are, and once more those between.
    kind = ir.VectorType(I64, a.type.count // 2)
    half = ir.Constant(kind, [32] * kind.count)
    a, b = (builder.bitcast(each, kind) for each in (a, b))
    first = builder.mul(*(builder.ashr(builder.shl(each, half), half) for each in (a, b)))
    second = builder.mul(*(builder.ashr(each, half) for each in (a, b)))
    mask = ir.Constant(kind, [-1 << 32] * kind.count)
    joined = builder.or_(builder.lshr(first, half), builder.and_(second, mask))
    return builder.bitcast(joined, ir.VectorType(I32, 2 * kind.count))


def _saturated(builder: Any, value: Any, kind: ir.IntType) -> Any:
    """Give int32 as fewer bits, what these do not hold as the nearest that they do."""
    low, high = (_constant(value, limit) for limit in (-(1 << kind.width - 1), (1 << kind.width - 1) - 1))
    value = builder.select(builder.icmp_signed(">", value, low), value, low)
    value = builder.select(builder.icmp_signed("<", value, high), value, high)
    return builder.trunc(value, _like(value, kind))


def _rescale(kind: ir.IntType) -> Any:
    """Return what brings sums with their biases to integers of a kind, not below `low`."""

    @intrinsic
    def rescale(
        typingctx: Any, sums: Any, bias: Any, m: Any, shift: Any, y: Any, count: Any, odd: Any, low: Any, up: Any
    ) -> Any:
        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
            sums, bias, m, shift, y, count, odd, low, up = args
            floor = builder.trunc(low, kind)

            def body(i: Any, numbers: int) -> None:
                total, own, factor, down = (_read(builder, at, i, I32, numbers) for at in (sums, bias, m, shift))
                value = builder.shl(builder.add(total, own), _filled(builder, up, total))
                value = _saturated(builder, _scaled(builder, value, factor, down, _filled(builder, odd, value)), kind)
                least = _filled(builder, floor, value)
                value = builder.select(builder.icmp_signed(">", value, least), value, least)
                _write(builder, value, y, i, kind)

            _each(builder, count, body)
            return ir.Constant(I64, 0)

        return types.int64(*(types.int64,) * 6, *(types.int32,) * 3), generate

    return rescale


_rescale8, _rescale16 = _rescale(I8), _rescale(I16)


# A row begins as that of integers.wide8, but bias, m and shift, less SHIFT, are int32. Then come 9 twice the zero point
# and one, 10 the least value, 11 how far sums are shifted up before.
@kernel()
def narrow8(row: Any) -> None:
    """To int8."""
    for r in range(row[1]):
        sums, y = row[3] + r * row[4], row[8] + r * row[2]
        _rescale8(sums, row[5], row[6], row[7], y, row[2], word(row, 9), word(row, 10), word(row, 11))


@kernel()
def narrow16(row: Any) -> None:
    """To int16."""
    for r in range(row[1]):
        sums, y = row[3] + r * row[4], row[8] + 2 * r * row[2]
        _rescale16(sums, row[5], row[6], row[7], y, row[2], word(row, 9), word(row, 10), word(row, 11))


NARROW: dict[int, Kernel] = {1: narrow8, 2: narrow16}


def _interleaved(builder: Any, a: Any, b: Any) -> list[Any]:
    """Give pairs of int16 as int32, the first the lower half: two vectors, the halves of each block of 128 bits."""
    count = a.type.count
    halves = []
    for half in (0, _BLOCK // 2):
        places = [at + half + k for at in range(0, count, _BLOCK) for k in range(_BLOCK // 2)]
        mask = ir.Constant(ir.VectorType(I32, count), [ir.Constant(I32, p + of) for p in places for of in (0, count)])
        halves.append(builder.bitcast(builder.shuffle_vector(a, b, mask), ir.VectorType(I32, count // 2)))
    return halves


def _products(builder: Any, a: Any, b: Any) -> list[Any]:
    """Give a * b of int16 as int32."""
    wide = builder.mul(*(builder.sext(each, _like(a, I32)) for each in (a, b)))
    if not _vector_of_x86(a):
        return [wide]
    upper = builder.trunc(builder.lshr(wide, _constant(wide, 16)), a.type)
    return _interleaved(builder, builder.mul(a, b), upper)


def _dots(builder: Any, a: Any, b: Any, factors: Any) -> list[Any]:
    """Give a * the lower + b * the upper half of an int32's bits, of int16 as int32."""
    if _vector_of_x86(a):
        half = a.type.count // 2
        pair = builder.bitcast(splat(builder, factors, ir.VectorType(I32, half)), a.type)
        pairs = (builder.bitcast(each, a.type) for each in _interleaved(builder, a, b))
        return [called(builder, PAIRS[half], ir.VectorType(I32, half), [each, pair]) for each in pairs]
    halves = builder.trunc(factors, I16), builder.trunc(builder.lshr(factors, ir.Constant(I32, 16)), I16)
    wide = _like(a, I32)
    first, second = (
        builder.mul(builder.sext(x, wide), builder.sext(_filled(builder, half, a), wide))
        for x, half in zip((a, b), halves, strict=True)
    )
    return [builder.add(first, second)]


def _joined(builder: Any, values: list[Any]) -> Any:
    """Give int32 as int16, saturated; of two vectors one, the reverse of `_interleaved`."""
    if len(values) == 1:
        return _saturated(builder, values[0], I16)
    half = values[0].type.count
    return called(builder, _PACK[half], ir.VectorType(I16, 2 * half), values)


def _pairwise(form: Callable[..., list[Any]]) -> Any:
    """Return what writes y = form(builder, a, b, *words), int32 of int16, saturated. It takes a tuple of the words."""

    @intrinsic
    def over(typingctx: Any, y: Any, a: Any, b: Any, count: Any, words: Any) -> Any:
        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
            y, a, b, count, given = args

            def body(i: Any, numbers: int) -> None:
                values = (_read(builder, at, i, I16, numbers) for at in (a, b))
                sums = form(builder, *values, *cgutils.unpack_tuple(builder, given))
                _write(builder, _joined(builder, sums), y, i, I16)

            _each(builder, count, body)
            return ir.Constant(I64, 0)

        return types.int64(*(types.int64,) * 4, words), generate

    return over


def _times(builder: Any, a: Any, b: Any, *words: Any) -> list[Any]:
    """Give a * b * m / 2^(SHIFT + shift) and a zero point more, as `_scaled` takes it."""
    products = _products(builder, a, b)
    m, shift, odd = (_filled(builder, word, products[0]) for word in words)
    return [_scaled(builder, product, m, shift, odd) for product in products]


def _weighed(builder: Any, a: Any, b: Any, of_lower: Any, of_upper: Any, *words: Any) -> list[Any]:
    """Give (a times its m + b times its own + constant) / 2^(16 + shift)."""
    lower, upper = _dots(builder, a, b, of_lower), _dots(builder, a, b, of_upper)
    more_lower, more_upper, shift = (_filled(builder, word, lower[0]) for word in words)
    sixteen, sums = _constant(lower[0], 16), []
    for low, high in zip(lower, upper, strict=True):
        carried = builder.ashr(builder.add(low, more_lower), sixteen)
        sums.append(builder.ashr(builder.add(builder.add(high, more_upper), carried), shift))
    return sums


_product, _sum = _pairwise(_times), _pairwise(_weighed)


@numba.njit(inline="always")
def _multiplied(row: Any, y: int, a: int, b: int) -> None:
    _product(y, a, b, row[3], (word(row, 13), word(row, 14), word(row, 15)))


@numba.njit(inline="always")
def _weighted(row: Any, y: int, a: int, b: int) -> None:
    _sum(y, a, b, row[3], (word(row, 13), word(row, 14), word(row, 15), word(row, 16), word(row, 17)))


# A row begins as that of integers.wide_sum.
@kernel()
def scaled_product(row: Any) -> None:
    """Give a b m / 2^s: 13 m; 14 s - SHIFT; 15 twice y's zero point and one; a and b have zero points of 0."""
    two(row, _multiplied)


@kernel()
def weighted_sum(row: Any) -> None:
    """Give (a times its m + b times its own + a constant) / 2^s, downwards: the constant holds half and zero points.

    13, 14 the lower and the upper halves of both m, that of a's in the lower half of the word; 15, 16 the halves of
    the constant; 17 s - 16.
    """
    two(row, _weighted)
