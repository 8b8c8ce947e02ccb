"""Arithmetic on several float64 at once, written out as vector instructions: none is left to a compiler's guess.

A formula is an ordinary Python function: given numbers it computes, given Lanes it writes the code that does.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from edgeseq.jit import instructions

LANES = 8 if "+avx512f" in instructions() else 4
"""Numbers at once. Where a register holds fewer, LLVM takes several."""
F64, I32, I64 = ir.DoubleType(), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(F64, LANES)
UNZIPPED = [place // 2 + place % 2 * (LANES // 2) for place in range(LANES)]
"""Which pair stands in which lane after `unzipped`."""
_FUSED = ("contract",)
"""A product and a sum may be one instruction, with one rounding."""


_numbers = itertools.count()


class Lanes:
    """So many numbers that the code being written will have."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fadd(self.value, other.value, flags=_FUSED))

    def __sub__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fsub(self.value, other.value, flags=_FUSED))

    def __mul__(self, other: Lanes | float) -> Lanes:
        value = other.value if isinstance(other, Lanes) else ir.Constant(VECTOR, [ir.Constant(F64, other)] * LANES)
        return Lanes(self.builder, self.builder.fmul(self.value, value, flags=_FUSED))

    def __neg__(self) -> Lanes:
        return Lanes(self.builder, self.builder.fneg(self.value))


def written(function: Callable[..., None]) -> Any:
    """Make of a function that writes code, given a builder and addresses, one that compiled code calls with addresses.

    Both count and give whole numbers of 64 bits; what it gives is 0. It stays a function of its own: inside the loops
    that call it LLVM would carry each of its many addresses along, from the stack and back to it.
    """
    signature = inspect.signature(function)
    count = len(signature.parameters) - 1
    kind = ir.FunctionType(I64, [I64] * count)
    name = f"edgeseq.{function.__module__}.{function.__qualname__}.{next(_numbers)}"

    def called(module: ir.Module) -> ir.Function:
        if name in module.globals:
            return module.globals[name]
        made = ir.Function(module, kind, name)
        made.linkage = "internal"
        made.attributes.add("noinline")
        builder = ir.IRBuilder(made.append_basic_block())
        function(builder, *made.args)
        builder.ret(ir.Constant(I64, 0))
        return made

    def typed(*_: Any) -> Any:
        return types.int64(*(types.int64,) * count), lambda _, builder, __, args: builder.call(
            called(builder.module), args
        )

    # Numba names arguments after those it sees: of the builder's place it has its own use.
    typed.__name__, typed.__signature__ = function.__name__, signature  # type: ignore[attr-defined]
    return intrinsic(typed)


def load(builder: Any, address: Any, at: Any = 0) -> Lanes:
    """Return the numbers from `at` on, counted from an address."""
    return Lanes(builder, builder.load(_pointer(builder, address, at, VECTOR), align=8))


def floats(builder: Any, address: Any, at: Any) -> Lanes:
    """Return the numbers from `at` on, counted from an address where they are float32."""
    place = builder.add(address, builder.shl(at, ir.Constant(I64, 2)))
    kind = ir.VectorType(ir.FloatType(), LANES)
    return Lanes(builder, builder.fpext(builder.load(builder.inttoptr(place, kind.as_pointer()), align=4), VECTOR))


def sums(builder: Any, rounds: Any, count: int, added: Callable[[Any, list[Lanes]], list[Lanes]]) -> list[Lanes]:
    """Return so many sums, begun at zero: what `added(i, sums)` makes of them, again and again for i below `rounds`."""
    places = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None)) for _ in range(count)]
    with cgutils.for_range(builder, rounds) as loop:
        held = [Lanes(builder, builder.load(place)) for place in places]
        for place, each in zip(places, added(loop.index, held), strict=True):
            builder.store(each.value, place)
    return [Lanes(builder, builder.load(place)) for place in places]


def store(lanes: Lanes, address: Any, at: Any = 0) -> None:
    """Put them from `at` on, counted from an address."""
    lanes.builder.store(lanes.value, _pointer(lanes.builder, address, at, VECTOR), align=8)


def everywhere(builder: Any, address: Any, at: Any) -> Lanes:
    """Return number `at`, counted from an address, in every lane."""
    nothing = ir.Constant(VECTOR, ir.Undefined)
    value = builder.load(_pointer(builder, address, at, F64), align=8)
    one = builder.insert_element(nothing, value, ir.Constant(I32, 0))
    return Lanes(builder, builder.shuffle_vector(one, nothing, _order([0] * LANES)))


def mirrored(a: Lanes, b: Lanes | None = None) -> Lanes:
    """Return the last number first; where b follows a in memory, those from the second one of a to the first of b."""
    more = b is not None
    return _picked(a, b or a, [place + more for place in range(LANES - 1, -1, -1)])


def unzipped(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """Return the first numbers and the second ones of pairs, in the order of UNZIPPED, which takes one instruction."""
    first = [place + LANES * which for place in range(0, LANES, 2) for which in (0, 1)]
    return _picked(a, b, first), _picked(a, b, [place + 1 for place in first])


def halved(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """Return the first numbers and the second ones of pairs, in order."""
    return _picked(a, b, range(0, 2 * LANES, 2)), _picked(a, b, range(1, 2 * LANES, 2))


def zipped(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """Return pairs of a number of the one and a number of the other, in order."""
    order = [place + LANES * which for place in range(LANES) for which in (0, 1)]
    return _picked(a, b, order[:LANES]), _picked(a, b, order[LANES:])


def transposed(rows: Sequence[Lanes]) -> list[Lanes]:
    """Return LANES rows as columns, by exchanges within 128 bits, then of 128 bits: each is one instruction."""
    pairs = [*zip(rows[::2], rows[1::2], strict=True)]
    even, odd = ([*range(which, LANES, 2)] for which in (0, 1))
    sides = ([_picked(a, b, [i + LANES * k for i in side for k in (0, 1)]) for a, b in pairs] for side in (even, odd))
    return [column for columns in zip(*map(_crossed, sides), strict=True) for column in columns]


def _crossed(rows: list[Lanes]) -> list[Lanes]:
    """Return rows as columns, where a column's numbers are pairs that stay together."""
    if len(rows) == 1:
        return rows
    pairs = [*zip(rows[::2], rows[1::2], strict=True)]
    order = [i for i in range(2 * LANES) if not i & 2]
    even, odd = ([_picked(a, b, [i + which for i in order]) for a, b in pairs] for which in (0, 2))
    return [column for columns in zip(_crossed(even), _crossed(odd), strict=True) for column in columns]


def offset(builder: Any, count: Any, times: int, more: int = 0) -> Any:
    """Return count * times + more."""
    return builder.add(builder.mul(count, ir.Constant(I64, times)), ir.Constant(I64, more))


def _picked(a: Lanes, b: Lanes, order: Sequence[int]) -> Lanes:
    """Return the numbers that stand at these places of both, one behind the other."""
    return Lanes(a.builder, a.builder.shuffle_vector(a.value, b.value, _order(order)))


def _order(places: Sequence[int]) -> Any:
    return ir.Constant(ir.VectorType(I32, LANES), [ir.Constant(I32, place) for place in places])


def _pointer(builder: Any, address: Any, at: Any, kind: ir.Type) -> Any:
    at = ir.Constant(I64, at) if isinstance(at, int) else at
    return builder.inttoptr(builder.add(address, builder.shl(at, ir.Constant(I64, 3))), kind.as_pointer())
