"""The inner loops of products, written in vectors: which sums stay in registers is not left to a compiler's guess.

A panel is `vectors` x LANES outputs whose sums stay in registers while the inputs go by. Each output is summed in one
fixed order, whatever the number of rows, so that one stream and many give the same bits.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import config, types
from numba.extending import intrinsic

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


def _features() -> str:
    """Return the instruction sets that Numba compiles for here."""
    return str(config.CPU_FEATURES or llvm.get_host_cpu_features().flatten())


FEATURES = _features()
LANES = 16 if "+avx512f" in FEATURES else 8 if "+avx" in FEATURES else 4
"""Numbers of 32 bits in a vector register."""
REGISTERS = 32 if LANES != 8 else 16
CHAINS = 8
"""Sums under way at once: a multiply-add takes some four cycles, and two start in each."""
BLOCK = 4
"""Rows that share a weight once it is loaded."""


def _vector(kind: ir.Type) -> ir.VectorType:
    return ir.VectorType(kind, LANES)


def _splat(builder: Any, value: Any, kind: ir.VectorType) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(_mask_of(len_of(kind)), None))


def _mask_of(length: int) -> ir.VectorType:
    return ir.VectorType(I32, length)


def len_of(kind: ir.VectorType) -> int:
    """Return how many numbers a vector has."""
    return int(kind.count)


def _load(builder: Any, address: Any, kind: ir.Type, align: int = 4) -> Any:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=align)


def _moved(builder: Any, address: Any, bytes_: Any) -> Any:
    return builder.add(address, bytes_ if isinstance(bytes_, ir.Value) else ir.Constant(I64, bytes_))


def _loop(builder: Any, start: Any, stop: Any, step: int, carried: list[Any], body: Any) -> list[Any]:
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
    return builder.icmp_signed("<", numbers, _splat(builder, builder.trunc(count, I32), kind))


def _masked_store(builder: Any, value: Any, address: Any, mask: Any) -> None:
    kind = value.type
    name = f"llvm.masked.store.v{LANES}{'f32' if kind.element == F32 else 'i32'}.p0"
    pointer = builder.inttoptr(address, kind.as_pointer())
    made = ir.FunctionType(ir.VoidType(), [kind, pointer.type, I32, mask.type])
    function = builder.module.globals.get(name) or ir.Function(builder.module, made, name)
    builder.call(function, [value, pointer, ir.Constant(I32, 4), mask])


def _masked_load(builder: Any, address: Any, kind: ir.VectorType, mask: Any) -> Any:
    name = f"llvm.masked.load.v{LANES}{'f32' if kind.element == F32 else 'i32'}.p0"
    pointer = builder.inttoptr(address, kind.as_pointer())
    made = ir.FunctionType(kind, [pointer.type, I32, mask.type, kind])
    function = builder.module.globals.get(name) or ir.Function(builder.module, made, name)
    return builder.call(function, [pointer, ir.Constant(I32, 4), mask, ir.Constant(kind, None)])


def _fmuladd(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, in one rounding where the processor has that."""
    name = f"llvm.fmuladd.v{LANES}f32"
    made = ir.FunctionType(a.type, [a.type] * 3)
    function = builder.module.globals.get(name) or ir.Function(builder.module, made, name)
    return builder.call(function, [a, b, c])


def _store(builder: Any, values: list[Any], address: Any, count: Any) -> None:
    """Store vectors one after the other, as far as `count` numbers."""
    whole = builder.icmp_signed(">=", count, ir.Constant(I64, len(values) * LANES))
    with builder.if_else(whole) as (full, part):
        with full:
            for v, value in enumerate(values):
                pointer = builder.inttoptr(_moved(builder, address, 4 * LANES * v), value.type.as_pointer())
                builder.store(value, pointer, align=4)
        with part:
            for v, value in enumerate(values):
                at = _moved(builder, address, 4 * LANES * v)
                _masked_store(builder, value, at, _within(builder, count, LANES * v))


def panel_f32(rows: int, vectors: int, sums: int, *, tail: bool = False) -> Any:
    """Return y[r, o] = bias[o] + sum of x[r, i] * w[i, o] for so many rows and vectors of outputs.

    It takes addresses and strides in bytes: x, from row to row; w, from input to input; the number of inputs; bias; y,
    from row to row; how many of the outputs there are; the least value that y may take. sums: how many each output's
    is split into, inputs i, i + sums, i + 2 sums ... in each. tail: w has no more numbers than there are outputs.
    """

    @intrinsic
    def panel(
        typingctx: Any,
        x: Any,
        x_row: Any,
        w: Any,
        w_row: Any,
        inputs: Any,
        bias: Any,
        y: Any,
        y_row: Any,
        count: Any,
        floor: Any,
    ) -> Any:
        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
            x, x_row, w, w_row, inputs, bias, y, y_row, count, floor = args
            kind = _vector(F32)
            whole = builder.icmp_signed(">=", count, ir.Constant(I64, vectors * LANES))

            def read(address: Any, v: int) -> Any:
                at = _moved(builder, address, 4 * LANES * v)
                if not tail:
                    return _load(builder, at, kind)
                return _masked_load(builder, at, kind, masks[v])

            masks = [_within(builder, count, LANES * v) for v in range(vectors)]
            del whole
            start = [read(bias, v) for v in range(vectors)]
            zero = ir.Constant(kind, None)
            carried = [start[v] if s == 0 else zero for _ in range(rows) for s in range(sums) for v in range(vectors)]
            at_row = [_moved(builder, x, builder.mul(x_row, ir.Constant(I64, r))) for r in range(rows)]

            def body(i: Any, held: list[Any], step: int) -> list[Any]:
                held = list(held)
                for s in range(step):
                    here = builder.add(i, ir.Constant(I64, s))
                    row = builder.add(w, builder.mul(here, w_row))
                    weights = [read(row, v) for v in range(vectors)]
                    offset = builder.shl(here, ir.Constant(I64, 2))
                    for r in range(rows):
                        value = _splat(builder, _load(builder, builder.add(at_row[r], offset), F32), kind)
                        for v in range(vectors):
                            place = (r * sums + s) * vectors + v
                            held[place] = _fmuladd(builder, value, weights[v], held[place])
                return held

            rounds = builder.mul(builder.sdiv(inputs, ir.Constant(I64, sums)), ir.Constant(I64, sums))
            nothing = ir.Constant(I64, 0)
            carried = _loop(builder, nothing, rounds, sums, carried, lambda i, held: body(i, held, sums))
            if sums > 1:
                carried = _loop(builder, rounds, inputs, 1, carried, lambda i, held: body(i, held, 1))
            least = _splat(builder, floor, kind)
            for r in range(rows):
                totals = []
                for v in range(vectors):
                    parts = [carried[(r * sums + s) * vectors + v] for s in range(sums)]
                    while len(parts) > 1:
                        parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
                    # Not below the floor; NaN stays NaN.
                    below = builder.fcmp_ordered("<", parts[0], least)
                    totals.append(builder.select(below, least, parts[0]))
                _store(builder, totals, _moved(builder, y, builder.mul(y_row, ir.Constant(I64, r))), count)
            return ir.Constant(I64, 0)

        return types.int64(*(types.int64,) * 9, types.float32), generate

    return panel
