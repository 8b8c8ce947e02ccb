"""The inner loops of products, written in vectors: which sums stay in registers is not left to a compiler's guess.

A panel is `vectors` x LANES outputs whose sums stay in registers while the inputs go by. Each output is summed in one
fixed order, whatever the number of rows, so that one stream and many give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from edgeseq.jit import instructions

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32 = ir.FloatType()


FEATURES = instructions()
X86 = "+sse2" in FEATURES
LANES = 16 if "+avx512f" in FEATURES else 8 if "+avx" in FEATURES else 4
"""Numbers of 32 bits in a vector register."""
PAIRS = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd", 4: "llvm.x86.sse2.pmadd.wd"}
"""What on x86 multiplies int16 and adds them in pairs, by LANES."""
BLOCK = 2 if LANES == 8 else 4  # noqa: PLR2004 - with vectors of 8, which is AVX2, come 16 registers, else 32
"""Rows that share a weight once it is loaded."""
BYTES = "+avx512vnni" in FEATURES or "+dotprod" in FEATURES
"""Whether there is an instruction that multiplies bytes and adds four products: on x86 uint8 by int8, on Arm int8."""


def _vector(kind: ir.Type, count: int = LANES) -> ir.VectorType:
    return ir.VectorType(kind, count)


def splat(builder: Any, value: Any, kind: ir.VectorType) -> Any:
    """Return a vector of one value."""
    nothing = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(I32, kind.count), None))


def load(builder: Any, address: Any, kind: ir.Type, align: int = 4) -> Any:
    """Read what stands at an address."""
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=align)


def moved(builder: Any, address: Any, bytes_: Any) -> Any:
    """Return an address so many bytes on."""
    return builder.add(address, bytes_ if isinstance(bytes_, ir.Value) else ir.Constant(I64, bytes_))


def loop(builder: Any, start: Any, stop: Any, step: int, carried: list[Any], body: Any) -> list[Any]:
    """Write `for i in range(start, stop, step): carried = body(i, carried)` and return what is carried out of it."""
    before = builder.block
    inner, after = builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", start, stop), inner, after)
    builder.position_at_end(inner)
    i = builder.phi(I64)
    i.add_incoming(start, before)
    phis = [builder.phi(value.type) for value in carried]
    for phi, value in zip(phis, carried, strict=True):
        phi.add_incoming(value, before)
    given = body(i, phis)
    following, last = builder.add(i, ir.Constant(I64, step)), builder.block
    i.add_incoming(following, last)
    for phi, value in zip(phis, given, strict=True):
        phi.add_incoming(value, last)
    builder.cbranch(builder.icmp_signed("<", following, stop), inner, after)
    builder.position_at_end(after)
    out = [builder.phi(value.type) for value in carried]
    for phi, value, made in zip(out, carried, given, strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(made, last)
    return out


def _within(builder: Any, count: Any, first: int) -> Any:
    """Return <LANES x i1>: which of a vector's numbers, the first being number `first`, lie below `count`."""
    kind = _vector(I32)
    numbers = ir.Constant(kind, [ir.Constant(I32, first + lane) for lane in range(LANES)])
    return builder.icmp_signed("<", numbers, splat(builder, builder.trunc(count, I32), kind))


def _masked_store(builder: Any, value: Any, address: Any, mask: Any) -> None:
    pointer = builder.inttoptr(address, value.type.as_pointer())
    name = f"llvm.masked.store.v{LANES}{'f32' if value.type.element == F32 else 'i32'}.p0"
    called(builder, name, ir.VoidType(), [value, pointer, ir.Constant(I32, 4), mask])


def _masked_load(builder: Any, address: Any, kind: ir.VectorType, mask: Any) -> Any:
    pointer = builder.inttoptr(address, kind.as_pointer())
    args = [pointer, ir.Constant(I32, 4), mask, ir.Constant(kind, None)]
    return called(builder, f"llvm.masked.load.v{LANES}f32.p0", kind, args)


def _fmuladd(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Give a * b + c, in one rounding where the processor has that."""
    return called(builder, f"llvm.fmuladd.v{LANES}f32", a.type, [a, b, c])


def called(builder: Any, name: str, gives: ir.Type, args: list[Any]) -> Any:
    """Call one of LLVM's own functions."""
    made = ir.FunctionType(gives, [arg.type for arg in args])
    function = builder.module.globals.get(name) or ir.Function(builder.module, made, name)
    return builder.call(function, args)


def store(builder: Any, values: list[Any], address: Any, count: Any) -> None:
    """Store vectors one after the other, as far as `count` numbers."""
    whole = builder.icmp_signed(">=", count, ir.Constant(I64, len(values) * LANES))
    with builder.if_else(whole) as (full, part):
        with full:
            for v, value in enumerate(values):
                pointer = builder.inttoptr(moved(builder, address, 4 * LANES * v), value.type.as_pointer())
                builder.store(value, pointer, align=4)
        with part:
            for v, value in enumerate(values):
                at = moved(builder, address, 4 * LANES * v)
                _masked_store(builder, value, at, _within(builder, count, LANES * v))


class _Real:
    """float32 times float32. A step of the sum takes one input; a vector of weights is LANES numbers."""

    weight_bytes = 4 * LANES
    sums = F32

    def __init__(self, builder: Any, count: Any, vectors: int, *, tail: bool) -> None:
        self._builder = builder
        self._masks = [_within(builder, count, LANES * v) if tail else None for v in range(vectors)]

    def weights(self, row: Any, v: int) -> Any:
        at, kind = moved(self._builder, row, self.weight_bytes * v), _vector(F32)
        mask = self._masks[v]
        return load(self._builder, at, kind) if mask is None else _masked_load(self._builder, at, kind, mask)

    def entering(self, address: Any) -> Any:
        return splat(self._builder, load(self._builder, address, F32), _vector(F32))

    def add(self, total: Any, entering: Any, weights: Any) -> Any:
        return _fmuladd(self._builder, entering, weights, total)

    def join(self, a: Any, b: Any) -> Any:
        return self._builder.fadd(a, b)


class _Whole:
    """int16 times int8, summed in int32. A step of the sum takes two inputs; a vector of weights is 2 LANES bytes.

    On x86 the two weights of an output lie side by side, for its instruction multiplies and adds pairs; elsewhere
    those of the first input come before those of the second.
    """

    weight_bytes = 2 * LANES
    sums = I32

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def weights(self, row: Any, v: int) -> Any:
        at = moved(self._builder, row, self.weight_bytes * v)
        if X86:
            return self._builder.sext(load(self._builder, at, _vector(I8, 2 * LANES), 1), _vector(I16, 2 * LANES))
        return [self._half(moved(self._builder, at, LANES * place)) for place in (0, 1)]

    def _half(self, address: Any) -> Any:
        return self._builder.sext(load(self._builder, address, _vector(I8), 1), _vector(I16))

    def entering(self, address: Any) -> Any:
        if X86:
            pair = splat(self._builder, load(self._builder, address, I32, 2), _vector(I32))
            return self._builder.bitcast(pair, _vector(I16, 2 * LANES))
        return [
            splat(self._builder, load(self._builder, moved(self._builder, address, 2 * place), I16, 2), _vector(I16))
            for place in (0, 1)
        ]

    def add(self, total: Any, entering: Any, weights: Any) -> Any:
        if X86:
            pairs = called(self._builder, PAIRS[LANES], _vector(I32), [weights, entering])
            return self._builder.add(total, pairs)
        for x, w in zip(entering, weights, strict=True):
            wide = [self._builder.sext(each, _vector(I32)) for each in (x, w)]
            total = self._builder.add(total, self._builder.mul(*wide))
        return total

    def join(self, a: Any, b: Any) -> Any:
        return self._builder.add(a, b)


class _Bytes:
    """Bytes times int8, summed in int32. A step of the sum takes four inputs; a vector of weights is 4 LANES bytes."""

    weight_bytes = 4 * LANES
    sums = I32

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def weights(self, row: Any, v: int) -> Any:
        return load(self._builder, moved(self._builder, row, self.weight_bytes * v), _vector(I32))

    def entering(self, address: Any) -> Any:
        return splat(self._builder, load(self._builder, address, I32), _vector(I32))

    def add(self, total: Any, entering: Any, weights: Any) -> Any:
        if X86:
            return called(self._builder, "llvm.x86.avx512.vpdpbusd.512", total.type, [total, entering, weights])
        fours = (self._builder.bitcast(each, _vector(I8, 4 * LANES)) for each in (entering, weights))
        return called(self._builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", total.type, [total, *fours])

    def join(self, a: Any, b: Any) -> Any:
        return self._builder.add(a, b)


def _summed(
    builder: Any, form: Any, rows: int, vectors: int, sums: int, start: list[Any],
    x: Any, x_row: Any, w: Any, w_row: Any, inputs: Any,
) -> list[list[Any]]:  # fmt: skip
    """Write the loop over the inputs; return each row's totals, a vector after the other.

    sums: how many each output's sum is split into: inputs i, i + sums, i + 2 sums ... in each.
    """
    zero = ir.Constant(_vector(form.sums), None)
    held = [start[v] if s == 0 else zero for _ in range(rows) for s in range(sums) for v in range(vectors)]
    at_row = [moved(builder, x, builder.mul(x_row, ir.Constant(I64, r))) for r in range(rows)]

    def body(i: Any, held: list[Any], step: int) -> list[Any]:
        held = list(held)
        for s in range(step):
            here = builder.add(i, ir.Constant(I64, s))
            row = builder.add(w, builder.mul(here, w_row))
            weights = [form.weights(row, v) for v in range(vectors)]
            offset = builder.shl(here, ir.Constant(I64, 2))
            for r in range(rows):
                entering = form.entering(builder.add(at_row[r], offset))
                for v in range(vectors):
                    place = (r * sums + s) * vectors + v
                    held[place] = form.add(held[place], entering, weights[v])
        return held

    rounds = builder.mul(builder.sdiv(inputs, ir.Constant(I64, sums)), ir.Constant(I64, sums))
    held = loop(builder, ir.Constant(I64, 0), rounds, sums, held, lambda i, held: body(i, held, sums))
    if sums > 1:
        held = loop(builder, rounds, inputs, 1, held, lambda i, held: body(i, held, 1))
    totals = []
    for r in range(rows):
        mine = []
        for v in range(vectors):
            parts = [held[(r * sums + s) * vectors + v] for s in range(sums)]
            while len(parts) > 1:
                parts = [form.join(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
            mine.append(parts[0])
        totals.append(mine)
    return totals


def sums_f32(
    builder: Any, rows: int, vectors: int, sums: int, x: Any, x_row: Any, panel: Any, inputs: Any
) -> list[list[Any]]:  # fmt: skip
    """Write the sums over the inputs of a panel that begins with its biases; return each row's, one vector a value."""
    form, stride = _Real(builder, inputs, vectors, tail=False), ir.Constant(I64, vectors * _Real.weight_bytes)
    start = [form.weights(panel, v) for v in range(vectors)]
    return _summed(builder, form, rows, vectors, sums, start, x, x_row, moved(builder, panel, stride), stride, inputs)


def panel_f32(rows: int, vectors: int, sums: int, *, tail: bool = False) -> Any:
    """Return y[r, o] = bias[o] + sum of x[r, i] * w[i, o], for so many rows and vectors of outputs, in float32.

    It takes addresses and strides in bytes: x, from row to row; w, from input to input; the number of inputs; bias; y,
    from row to row; how many outputs there are; the least value that y may take. tail: w and bias have no more numbers
    than there are outputs.
    """

    @intrinsic
    def panel(
        typingctx: Any, x: Any, x_row: Any, w: Any, w_row: Any, inputs: Any, bias: Any, y: Any, y_row: Any, count: Any,
        floor: Any,
    ) -> Any:  # fmt: skip
        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
            x, x_row, w, w_row, inputs, bias, y, y_row, count, floor = args
            form = _Real(builder, count, vectors, tail=tail)
            start = [form.weights(bias, v) for v in range(vectors)]
            totals = _summed(builder, form, rows, vectors, sums, start, x, x_row, w, w_row, inputs)
            least = splat(builder, floor, _vector(F32))
            for r, values in enumerate(totals):
                # Not below the floor; NaN stays NaN.
                kept = [builder.select(builder.fcmp_ordered("<", each, least), least, each) for each in values]
                store(builder, kept, moved(builder, y, builder.mul(y_row, ir.Constant(I64, r))), count)
            return ir.Constant(I64, 0)

        return types.int64(*(types.int64,) * 9, types.float32), generate

    return panel


def panel_i16(rows: int, vectors: int, sums: int) -> Any:
    """Return y[r, o] = sum of x[r, i] * w[i, o], int32 of int16 and int8; two inputs count as one.

    It takes what `panel_f32` does, without the bias and the least value.
    """
    return _whole(lambda builder, x, x_row, w, w_row, inputs: _summed(
        builder, _Whole(builder), rows, vectors, sums, [ir.Constant(_vector(I32), None)] * vectors,
        x, x_row, w, w_row, inputs,
    ))  # fmt: skip


def panel_bytes(rows: int, vectors: int, sums: int) -> Any:
    """Return what `panel_i16` does of rows that lie there as two, of bytes each; four inputs count as one.

    x is 256 a + b and a constant: first come all a, then, a stride further, all b. What w begins with is added,
    int32[o].
    """

    def halves(builder: Any, x: Any, x_row: Any, w: Any, w_row: Any, inputs: Any) -> list[list[Any]]:
        form, nothing = _Bytes(builder), [ir.Constant(_vector(I32), None)] * vectors
        of_halves = _summed(
            builder, form, 2 * rows, vectors, sums, nothing, x, x_row, builder.add(w, w_row), w_row, inputs
        )
        eight = ir.Constant(_vector(I32), [ir.Constant(I32, 8)] * LANES)
        return [
            [
                builder.add(builder.add(builder.shl(a, eight), b), form.weights(w, v))
                for v, (a, b) in enumerate(zip(*of_halves[2 * r : 2 * r + 2], strict=True))
            ]
            for r in range(rows)
        ]

    return _whole(halves)


def _whole(summed: Callable[..., list[list[Any]]]) -> Any:
    """Return a function that stores the int32 vectors of each row that `summed` makes."""

    @intrinsic
    def panel(
        typingctx: Any, x: Any, x_row: Any, w: Any, w_row: Any, inputs: Any, y: Any, y_row: Any, count: Any
    ) -> Any:
        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
            *given, y, y_row, count = args
            for r, values in enumerate(summed(builder, *given)):
                store(builder, values, moved(builder, y, builder.mul(y_row, ir.Constant(I64, r))), count)
            return ir.Constant(I64, 0)

        return types.int64(*(types.int64,) * 8), generate

    return panel
