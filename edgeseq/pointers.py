"""Addresses as pointers: a row holds where its numbers are, and a kernel reads them there.

A pointer has no bounds and no negative indices, so that loops over it become vector instructions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def _pointer(kind: Any, bits: ir.Type) -> Any:
    @intrinsic
    def at(typingctx: Any, address: Any) -> Any:
        """Return an address as a pointer."""

        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], bits.as_pointer())

        return types.CPointer(kind)(types.int64), generate  # type: ignore[attr-defined]

    return at


f64 = _pointer(types.float64, ir.DoubleType())
f32 = _pointer(types.float32, ir.FloatType())
i64 = _pointer(types.int64, ir.IntType(64))
i32 = _pointer(types.int32, ir.IntType(32))
i16 = _pointer(types.int16, ir.IntType(16))
i8 = _pointer(types.int8, ir.IntType(8))


@intrinsic
def word(typingctx: Any, row: Any, place: Any) -> Any:
    """Return an entry of a row that fits int32 as that.

    It is read as such, its lower half: were it cut off, a compiler would widen whatever is computed with it again.
    """

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        halves = builder.bitcast(args[0], ir.IntType(32).as_pointer())
        return builder.load(builder.gep(halves, [builder.shl(args[1], ir.Constant(ir.IntType(64), 1))]))

    return types.int32(types.CPointer(types.int64), types.int64), generate  # type: ignore[attr-defined]


@intrinsic
def call(typingctx: Any, address: Any, row: Any) -> Any:
    """Call the kernel that stands at an address with a row."""

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        # A kernel is a C function: it takes the pointer and gives nothing.
        kind = ir.FunctionType(ir.VoidType(), [args[1].type])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(types.int64, types.CPointer(types.int64)), generate  # type: ignore[attr-defined]


@intrinsic
def invoke(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the C function that stands at an address with numbers of 64 bits, and return the one it gives."""

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        word, given = ir.IntType(64), cgutils.unpack_tuple(builder, args[1])
        kind = ir.FunctionType(word, [word] * len(given))
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), given)

    return types.int64(types.int64, arguments), generate


def named(name: str) -> Any:
    """Return what calls the C function of that name, one that the interpreter has, as `invoke` calls one."""

    @intrinsic
    def calling(typingctx: Any, arguments: Any) -> Any:
        def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
            word, given = ir.IntType(64), cgutils.unpack_tuple(builder, args[0])
            kind = ir.FunctionType(word, [word] * len(given))
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            return builder.call(builder.bitcast(function, kind.as_pointer()), given)

        return types.int64(arguments), generate

    return calling


def text(value: str) -> Any:
    """Return what gives the address of a text, in C's way."""

    @intrinsic
    def at(typingctx: Any) -> Any:
        def generate(context: Any, builder: Any, _: Any, __: Any) -> Any:
            return builder.ptrtoint(context.insert_const_string(builder.module, value), ir.IntType(64))

        return types.int64(), generate

    return at


@intrinsic
def moved(typingctx: Any, to: Any, source: Any, count: Any) -> Any:
    """Copy so many bytes from one address to another, which may overlap."""

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        bytes_ = ir.IntType(8).as_pointer()
        to, source = (builder.inttoptr(each, bytes_) for each in args[:2])
        cgutils.raw_memmove(builder, to, source, args[2], 1)
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(types.int64, types.int64, types.int64), generate
