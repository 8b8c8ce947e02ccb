"""float64 for TFLite, which computes with no such numbers: each becomes the sum of two float32, 48 bits together.

Positions are what takes them: a sine of a count that goes on for years (export/passes/counter.py). After n steps an
angle of n radians is off by n * 2**-48: 1e-5 after 2**31 steps, where float32 alone would be off by 64. Means and sums
over all time (export/passes/mean.py and cumulative.py) take them for their states: after n steps such a sum is off
by n * 2**-48 of the greatest that it was.

1. A constant and a whole number are split; a float32 is its own first half.
2. What moves numbers moves both halves, and so does a sum over a single number.
3. Sums and products: Dekker, "A floating-point technique for extending the available precision", Numerische Mathematik
   18 (1971); Knuth, "The Art of Computer Programming", volume 2, section 4.2.2. A product is split for want of a fused
   multiply-add; a quotient is corrected once by what it leaves.
4. A sine: turns are taken off twice, since the first count of them is rounded itself; what is left is
   sin(high) + low * cos(high).
5. A state enters and leaves as two, `high` and `low`.
What else is computed in float64, or leaves the step in it, is left as it is: the writer refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from export.operations import MOVING
from export.program import Array, Op, Program, ProgramState
from export.writers.tflite.writer import broadcast

SPLITTER = 4097.0
"""2**12 + 1 parts float32's 24 bits in two halves."""
TURN = 2 * math.pi
Pair = tuple[str, str]


def paired(program: Program) -> Program:
    """Return a Program without float64, as far as there is a form."""
    doubles = {name for name, dtype in program.dtypes.items() if dtype == "float64"}
    if not doubles or doubles & {*program.outputs, *program.held}:
        return program
    return _Pairs(program, doubles).made


def halves(array: Array) -> tuple[Array, Array]:
    """Return the two float32 that a float64 is nearly the sum of (1)."""
    high = array.astype(np.float32)
    return high, (array - high.astype(np.float64)).astype(np.float32)


class _Pairs:
    """`at`: the halves of what is in float64. Ops are written into `made` one by one."""

    def __init__(self, program: Program, doubles: set[str]) -> None:
        self.made = replace(program, ops=[], shapes=dict(program.shapes), dtypes=dict(program.dtypes))
        self.doubles, self.at = doubles, dict[str, Pair]()
        for state in program.states:
            if state.input in doubles:
                self.at[state.input] = self._entering(state)
        for self.op in program.ops:
            known = doubles & {self.op.output, *self.op.inputs}
            if not known or not self._written():
                self.made.ops.append(self.op)
        self.made.states = [half for state in program.states for half in self._leaving(state)]

    def _entering(self, state: ProgramState) -> Pair:
        """Return the tensors that a state's halves enter as (5)."""
        names = self.made.new_name(f"{state.input}.high"), self.made.new_name(f"{state.input}.low")
        self.made.shapes.update(dict.fromkeys(names, self.made.shapes[state.input]))
        return names

    def _leaving(self, state: ProgramState) -> list[ProgramState]:
        """Return the halves of a state; itself where it is none, or where what leaves has no form (5)."""
        if state.output not in self.at:
            return [state]
        entering, leaving, initial = self.at[state.input], self.at[state.output], halves(state.initial)
        return [
            replace(state, input=entering[0], output=leaving[0], initial=initial[0], half="high"),
            replace(state, input=entering[1], output=leaving[1], initial=initial[1], half="low"),
        ]

    def _written(self) -> bool:
        """Write an op on float64, and say whether it has a form."""
        if self.op.kind == "ReduceSum" and self.made.size(self.op.inputs[0]) == self.made.size(self.op.output):
            self.op = replace(self.op, kind="Reshape", attributes={"shape": self.made.shapes[self.op.output]})  # 2
        op, given = self.op, [self.at.get(name) for name in self.op.inputs]
        if any(pair is None for name, pair in zip(op.inputs, given, strict=True) if name in self.doubles):
            return False  # it comes from what has no form itself
        pairs = [pair for pair in given if pair is not None]
        form = _FORMS.get(op.kind)
        if op.kind == "Constant":
            high, low = (self._constant(half) for half in halves(op.arrays["value"]))
            self.at[op.output] = high, low
        elif op.kind == "Cast":
            return self._cast(pairs)
        elif op.kind in MOVING and not op.attributes.get("value"):
            high, low = (
                self._emit(
                    op.kind,
                    *(name if pair is None else pair[half] for name, pair in zip(op.inputs, given, strict=True)),
                )
                for half in (0, 1)
            )
            self.at[op.output] = high, low
        elif form is not None and len(pairs) == len(given):
            self.at[op.output] = form(self, *pairs)
        else:
            return False
        return True

    def _cast(self, pairs: list[Pair]) -> bool:
        """Cast to float64 and from it (1)."""
        (source,), name = self.op.inputs, self.op.output
        if pairs:  # the first half is the sum, rounded
            if self.made.dtype(name) != "float32":
                return False
            self.made.ops.append(replace(self.op, kind="Add", inputs=pairs[0], attributes={}))
        elif self.made.dtype(source) == "int64":
            high = self._emit("Cast", source, to="float32")
            whole = self._emit("Cast", high, dtype="int64", to="int64")
            rest = self._emit("Sub", source, whole, dtype="int64")
            self.at[name] = high, self._emit("Cast", rest, to="float32")
        elif self.made.dtype(source) == "float32":
            self.at[name] = source, self._nothing()
        else:
            return False
        return True

    def _constant(self, array: Array) -> str:
        name = self.made.new_name(f"{self.op.output}.half")
        content = np.asarray(array, np.float32)
        return self.made.emit(Op("Constant", name, (), self.op.node, {}, {"value": content}), content.shape)

    def _nothing(self) -> str:
        """Return a second half of zeros, in full, since it may be moved about."""
        return self._constant(np.zeros(self.made.shapes[self.op.output]))

    def _number(self, value: float) -> str:
        rank = len(self.made.shapes[self.op.output])
        return self._constant(np.full((1,) * rank, value))

    def _emit(self, kind: str, *inputs: str, dtype: str = "float32", **attributes: object) -> str:
        """Write an op on float32: one that moves numbers, as the op in float64 does; another, elementwise."""
        moves = kind in MOVING
        shape = self.made.shapes[self.op.output] if moves else broadcast(*(self.made.shapes[name] for name in inputs))
        name = self.made.new_name(f"{self.op.output}.half")
        settings = self.op.attributes if moves else attributes
        return self.made.emit(Op(kind, name, inputs, self.op.node, settings), shape, dtype)

    def add(self, x: Pair, y: Pair) -> Pair:
        """Add (3)."""
        total, error = self._sum(x[0], y[0])
        return self._settled(total, self._emit("Add", error, self._emit("Add", x[1], y[1])))

    def subtract(self, x: Pair, y: Pair) -> Pair:
        """Subtract (3)."""
        return self.add(x, self.negative(y))

    def negative(self, x: Pair) -> Pair:
        """Change the sign of both halves."""
        return self._emit("Neg", x[0]), self._emit("Neg", x[1])

    def multiply(self, x: Pair, y: Pair) -> Pair:
        """Multiply (3)."""
        total, error = self._product(x[0], y[0])
        cross = self._emit("Add", self._emit("Mul", x[0], y[1]), self._emit("Mul", x[1], y[0]))
        return self._settled(total, self._emit("Add", error, cross))

    def divide(self, x: Pair, y: Pair) -> Pair:
        """Divide (3)."""
        first = self._emit("Div", x[0], y[0])
        left = self.subtract(x, self.multiply(y, (first, self._number(0))))
        return self._settled(first, self._emit("Div", left[0], y[0]))

    def sine(self, x: Pair) -> Pair:
        """Take the sine, as a float32 (4)."""
        for _ in range(2):
            turns = self._emit(
                "Floor", self._emit("Add", self._emit("Mul", x[0], self._number(1 / TURN)), self._number(0.5))
            )
            high, low = map(float, halves(np.array(TURN)))
            x = self.subtract(x, self.multiply((turns, self._number(0)), (self._number(high), self._number(low))))
        rest = self._emit("Mul", x[1], self._emit("Cos", x[0]))
        return self._emit("Add", self._emit("Sin", x[0]), rest), self._nothing()

    def _sum(self, a: str, b: str) -> Pair:
        """Return a sum of two float32 and what its rounding left out."""
        total = self._emit("Add", a, b)
        second = self._emit("Sub", total, a)
        first = self._emit("Sub", total, second)
        return total, self._emit("Add", self._emit("Sub", a, first), self._emit("Sub", b, second))

    def _settled(self, high: str, low: str) -> Pair:
        """Return a pair whose first half is its sum, rounded; low is far smaller than high."""
        total = self._emit("Add", high, low)
        return total, self._emit("Sub", low, self._emit("Sub", total, high))

    def _product(self, a: str, b: str) -> Pair:
        """Return a product of two float32 and what its rounding left out."""
        total = self._emit("Mul", a, b)
        (ah, al), (bh, bl) = self._parted(a), self._parted(b)
        error = self._emit("Sub", self._emit("Mul", ah, bh), total)
        for left, right in ((ah, bl), (al, bh), (al, bl)):
            error = self._emit("Add", error, self._emit("Mul", left, right))
        return total, error

    def _parted(self, a: str) -> Pair:
        """Return the upper and the lower bits of a float32."""
        wide = self._emit("Mul", a, self._number(SPLITTER))
        high = self._emit("Sub", wide, self._emit("Sub", wide, a))
        return high, self._emit("Sub", a, high)


_FORMS: dict[str, Callable[..., Pair]] = {
    "Add": _Pairs.add,
    "Sub": _Pairs.subtract,
    "Mul": _Pairs.multiply,
    "Div": _Pairs.divide,
    "Neg": _Pairs.negative,
    "Sin": _Pairs.sine,
}
