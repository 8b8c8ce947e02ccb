"""The normative integer interpreter: what a quantized Program computes, written out in NumPy integers.

Every engine is held against this. Rules:
- A scale ratio r is an integer multiplier m and a shift s, r = m / 2^s; a result is (value * m + 2^(s-1)) >> s:
  one rounding, halves towards plus infinity; then the zero point is added and the result saturates.
- linear accumulates weight * (x - zero point) + bias exactly: int32 holds up to 2^17 int8 products, int64 is used
  here throughout and gives the same integers.
- add and sub bring both operands to one shift and round their sum once.
- sigmoid and tanh are tables over all 65,536 inputs, each entry the correctly rounded value of the real function.
- The float output leaves as integer x scale, times the output's factor and plus its offset, in float32.
- The float frame enters by rounding x / scale to the nearest integer, halves to even (as IEEE 754 and ONNX do).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.program import Op, Program, Type, sigmoid

Integers = NDArray[np.int64]
MULTIPLIER_BITS = 31
MAX_SHIFT = 62
"""What a 64-bit integer can be shifted by; a ratio that needs more is below what any stored integer can show."""


def multiplier(ratio: float, bits: int = MULTIPLIER_BITS) -> tuple[int, int]:
    """Return (m, s) with ratio = m / 2^s to `bits` significant bits, m below 2^bits, s at most MAX_SHIFT."""
    mantissa, exponent = math.frexp(ratio)
    m = round(mantissa * (1 << bits))
    if m == 1 << bits:
        m, exponent = m >> 1, exponent + 1
    shift = bits - exponent
    return (m, shift) if shift <= MAX_SHIFT else (round(math.ldexp(ratio, MAX_SHIFT)), MAX_SHIFT)


def rescale(value: Integers, m: Integers | int, shift: Integers | int) -> Integers:
    """Return value * m / 2^shift, rounded once, halves up. A shift below 1 multiplies."""
    shift = np.asarray(shift, np.int64)
    product = value * np.asarray(m, np.int64)
    down = np.maximum(shift, 1)
    half = np.left_shift(np.int64(1), down - 1)
    return np.where(shift >= 1, (product + half) >> down, np.left_shift(product, np.maximum(-shift, 0)))


def saturate(value: Integers, kind: Type, *, floor: int | None = None) -> Integers:
    """Return value limited to what the type stores (and to `floor` from below)."""
    low, high = kind.limits
    return np.clip(value, low if floor is None else floor, high)


@cache
def table(kind: str, scale: float) -> Integers:
    """Return sigmoid or tanh for every int16 input at a scale, as integers of scale 2^-15."""
    x = np.arange(-32768, 32768, dtype=np.float64) * scale
    y = sigmoid(x) if kind == "sigmoid" else np.tanh(x)
    return np.clip(np.floor(y * 32768 + 0.5), -32768, 32767).astype(np.int64)


class Interpreter:
    """Runs a quantized Program on integers, for any number of streams side by side.

    step takes float32[streams, features] and gives float32[streams, outputs]; `values` then holds every tensor.
    """

    def __init__(self, program: Program, streams: int = 1) -> None:
        self.program = program
        self.streams = streams
        self.values: dict[str, NDArray[Any]] = {}
        self.state: dict[str, Integers] = {}
        self._plans = [_PLANS[op.kind](op, program) for op in program.ops]
        self.reset()

    def reset(self) -> None:
        """Set every state to its value at reset."""
        for entry in self.program.states:
            kind = self.program.types[entry.input]
            stored = saturate(np.rint(entry.initial / kind.scale).astype(np.int64) + kind.zero_point, kind)
            self.state[entry.name] = np.repeat(stored[None], self.streams, axis=0)

    def step(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take one frame of every stream."""
        values: dict[str, NDArray[Any]] = {self.program.input: x}
        for entry in self.program.states:
            values[entry.input] = self.state[entry.name]
        for op, plan in zip(self.program.ops, self._plans, strict=True):
            values[op.output] = plan(*(values[name] for name in op.inputs))
        for entry in self.program.states:
            self.state[entry.name] = values[entry.output]
        self.values = values
        return values[self.program.output].astype(np.float32)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take float32[T, features] of one stream; give float32[T, outputs]."""
        rows = [self.step(frame[None])[0] for frame in x]
        return np.stack(rows) if rows else np.empty((0, self.program.sizes[self.program.output]), np.float32)


Plan = Callable[..., NDArray[Any]]


def _linear(op: Op, program: Program) -> Plan:
    entering, leaving = program.types[op.inputs[0]], program.types[op.output]
    weight, bias = op.arrays["weight"].astype(np.int64), op.arrays["bias"].astype(np.int64)
    pairs = [multiplier(entering.scale * float(row) / leaving.scale) for row in op.arrays["scale"]]
    m, shift = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    # int16 operands can pass 32 bits before the multiplication: their product with m needs a narrower m.
    if entering.dtype == "int16":
        m, shift = m >> (MULTIPLIER_BITS - 22), shift - (MULTIPLIER_BITS - 22)
    floor = leaving.zero_point if op.ints.get("relu") else None

    def run(x: Integers) -> Integers:
        total = (x - entering.zero_point) @ weight.T + bias
        return saturate(rescale(total, m, shift) + leaving.zero_point, leaving, floor=floor)

    return run


def _sum(op: Op, program: Program) -> Plan:
    a, b, leaving = (program.types[name] for name in (*op.inputs, op.output))
    ratios = (a.scale / leaving.scale, b.scale / leaving.scale)
    shift = multiplier(max(ratios))[1]
    ma, mb = (round(ratio * 2.0**shift) for ratio in ratios)
    sign = -1 if op.kind == "sub" else 1

    def run(x: Integers, y: Integers) -> Integers:
        total = (x - a.zero_point) * ma + sign * (y - b.zero_point) * mb
        return saturate(rescale(total, 1, shift) + leaving.zero_point, leaving)

    return run


def _mul(op: Op, program: Program) -> Plan:
    a, b, leaving = (program.types[name] for name in (*op.inputs, op.output))
    m, shift = multiplier(a.scale * b.scale / leaving.scale)

    def run(x: Integers, y: Integers) -> Integers:
        product = (x - a.zero_point) * (y - b.zero_point)
        return saturate(rescale(product, m, shift) + leaving.zero_point, leaving)

    return run


def _curve(op: Op, program: Program) -> Plan:
    entries = table(op.kind, program.types[op.inputs[0]].scale)
    return lambda x: entries[x + 32768]


def _relu(op: Op, program: Program) -> Plan:
    entering, leaving = program.types[op.inputs[0]], program.types[op.output]
    m, shift = multiplier(entering.scale / leaving.scale)
    return lambda x: saturate(rescale(np.maximum(x - entering.zero_point, 0), m, shift) + leaving.zero_point, leaving)


def _requantize(op: Op, program: Program) -> Plan:
    entering, leaving = program.types[op.inputs[0]], program.types[op.output]
    m, shift = multiplier(entering.scale / leaving.scale)
    return lambda x: saturate(rescale(x - entering.zero_point, m, shift) + leaving.zero_point, leaving)


def _quantize(op: Op, program: Program) -> Plan:
    kind = program.types[op.output]
    scale = np.float32(kind.scale)
    low, high = (limit - kind.zero_point for limit in kind.limits)
    # Saturated while it is still a float: a frame of 1e30 has no int64, and would come out at the wrong end.
    return lambda x: np.clip(np.rint(x / scale), low, high).astype(np.int64) + kind.zero_point


def _dequantize(op: Op, program: Program) -> Plan:
    kind = program.types[op.inputs[0]]
    factor = op.arrays.get("factor", np.float32(1))
    offset = op.arrays.get("offset", np.float32(0))
    return lambda x: (x - kind.zero_point).astype(np.float32) * np.float32(kind.scale) * factor + offset


def _constant(op: Op, _: Program) -> Plan:
    value = op.arrays["value"].astype(np.int64)
    return lambda: value


def _slice(op: Op, _: Program) -> Plan:
    start, stop = op.ints["start"], op.ints["stop"]
    return lambda x: x[..., start:stop]


def _concat(_: Op, __: Program) -> Plan:
    return lambda *parts: np.concatenate(parts, axis=-1)


_PLANS: Mapping[str, Callable[[Op, Program], Plan]] = {
    "linear": _linear,
    "add": _sum,
    "sub": _sum,
    "mul": _mul,
    "sigmoid": _curve,
    "tanh": _curve,
    "relu": _relu,
    "requantize": _requantize,
    "quantize": _quantize,
    "dequantize": _dequantize,
    "constant": _constant,
    "slice": _slice,
    "concat": _concat,
}
