"""The normative integer interpreter: what a quantized Program computes, written out in NumPy integers.

Every engine is held against this. Rules:
- A scale ratio r is an integer multiplier m and a shift s, r = m / 2^s; a result is (value * m + 2^(s-1)) >> s:
  one rounding, halves towards plus infinity; then the zero point is added and the result saturates.
- products accumulate weight * (x - zero point) + bias, or (a - zero point) * (b - zero point), exactly: int32 holds up
  to 2^17 int8 products, int64 any number; float64 is used here, which holds whole numbers up to 2^53 exactly.
- add and sub bring both operands to one shift and round their sum once.
- sigmoid and tanh are tables over all 65,536 inputs, each entry the correctly rounded value of the real function.
- Real values leave as integer x scale, times a factor and plus an offset where there are such, in float32.
- Real values enter by rounding x / scale to the nearest integer, halves to even (as IEEE 754 and ONNX do).
- What moves integers about changes none. All else computes on float32, as operations.py has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from export.operations import FLOAT, MOVING, correlate, initial_state, joined, leaving, sigmoid, taps
from export.program import Array, Op, Program, Type

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


def rescaling(m: Integers | int, shift: Integers | int) -> Callable[[Integers], Integers]:
    """Return what gives value * m / 2^shift, rounded once, halves up. A shift below 1 multiplies."""
    m, shift = np.asarray(m, np.int64), np.asarray(shift, np.int64)
    down, up = np.maximum(shift, 1), np.maximum(-shift, 0)
    half = np.left_shift(np.int64(1), down - 1)
    if np.all(shift >= 1):
        return lambda value: (value * m + half) >> down
    return lambda value: np.where(shift >= 1, (value * m + half) >> down, np.left_shift(value * m, up))


def whole(value: NDArray[np.float64]) -> Integers:
    """Return whole numbers that were summed up in float64 as integers."""
    return value.astype(np.int64)


def storing(kind: Type, *, floor: int | None = None) -> Callable[[Integers], Integers]:
    """Return what adds the zero point, and limits to what the type stores (and to `floor` from below)."""
    zero, (least, high) = kind.zero_point, kind.limits
    low = least if floor is None else floor
    # np.clip does the same and takes as long as ten such ops.
    return lambda value: np.minimum(np.maximum(value + zero, low), high)


@cache
def table(kind: str, scale: float) -> Integers:
    """Return Sigmoid or Tanh for every int16 input at a scale, as integers of scale 2^-15."""
    x = np.arange(-32768, 32768, dtype=np.float64) * scale
    y = sigmoid(x) if kind == "Sigmoid" else np.tanh(x)
    return np.clip(np.floor(y * 32768 + 0.5), -32768, 32767).astype(np.int64)


class Interpreter:
    """Runs a quantized Program on integers, for any number of streams side by side.

    `values` holds every tensor after a step: [streams, *shape], integers as int64; what is constant [1, *shape].
    """

    def __init__(self, program: Program, streams: int = 1) -> None:
        self.program = program
        self.streams = streams
        self.values: dict[str, Array] = {}
        self.state: dict[str, Array] = {}
        self.held: Mapping[str, Array] = {}
        self._plans = [(op.output, op.inputs, plan(op, program)) for op in program.ops]
        self.reset()

    def reset(self) -> None:
        """Set every state to its value at reset; one that begins with what is held, once something is."""
        self.begin(initial_state(self.program, self.streams, self.held))

    def begin(self, state: Mapping[str, Array]) -> None:
        """Set every state to real values, [streams, *shape] by state name."""
        for entry in self.program.states:
            kind, value = self.program.types.get(entry.input), state[entry.name]
            if kind is not None:
                value = storing(kind)(np.rint(value / kind.scale).astype(np.int64))
            self.state[entry.name] = value

    def hold(self, held: Mapping[str, Array]) -> None:
        """Take what is held from step to step, [streams, *shape] by name, and start anew with it."""
        self.held = held
        self.reset()

    def step(self, x: Array) -> NDArray[np.float32]:
        """Take float32[streams, frames, features], frames left out where it is one; give float32[streams, outputs]."""
        x = x.reshape(self.streams, self.program.frames, -1)
        values: dict[str, Array] = {entry.name: entry.enter(x) for entry in self.program.inputs} | dict(self.held)
        for entry in self.program.states:
            values[entry.input] = self.state[entry.name]
        for output, inputs, run in self._plans:
            values[output] = run(*[values[name] for name in inputs])
        for entry in self.program.states:
            self.state[entry.name] = leaving(values, entry, self.streams)
        self.values = values
        return joined(values, self.program, self.streams).astype(np.float32)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take float32[T, features] of one stream, T a multiple of a step's frames; give float32[steps, outputs]."""
        frames = self.program.frames
        rows = [self.step(x[None, t : t + frames])[0] for t in range(0, len(x), frames)]
        return np.stack(rows) if rows else np.empty((0, sum(map(self.program.size, self.program.outputs))), np.float32)


Plan = Callable[..., Array]


def plan(op: Op, program: Program) -> Plan:
    """Return what computes an op: on integers where its tensors are such, else on float32."""
    typed = op.output in program.types or op.kind == "Dequantize"
    if typed and op.kind not in MOVING:
        return _PLANS[op.kind](op, program)
    return partial(FLOAT[op.kind], op)


def _scaled(op: Op, program: Program, axes: tuple[int, ...]) -> Callable[[Integers], Integers]:
    """Return what brings a product's sums, [streams, ..., outputs at `axes`, ...], to its output's integers."""
    entering, stored = program.types[op.inputs[0]], program.types[op.output]
    if op.kind == "MatMul":
        ratios = [entering.scale * program.types[op.inputs[1]].scale / stored.scale]
    else:
        ratios = [entering.scale * float(row) / stored.scale for row in op.arrays["scale"]]
    m, shift = (np.array(column, np.int64) for column in zip(*map(multiplier, ratios), strict=True))
    # int16 operands can pass 32 bits before the multiplication: their product with m needs a narrower m.
    if entering.dtype == "int16":
        m, shift = m >> (MULTIPLIER_BITS - 22), shift - (MULTIPLIER_BITS - 22)
    rescale = rescaling(m.reshape(axes), shift.reshape(axes))
    store = storing(stored, floor=stored.zero_point if op.attributes.get("relu") else None)
    return lambda total: store(rescale(total))


def _linear(op: Op, program: Program) -> Plan:
    zero, scaled = program.types[op.inputs[0]].zero_point, _scaled(op, program, (-1,))
    weight, bias = op.arrays["weight"].T.astype(np.float64), op.arrays["bias"].astype(np.int64)
    return lambda x: scaled(whole((x - zero).astype(np.float64) @ weight) + bias)


def _conv(op: Op, program: Program) -> Plan:
    axes = (-1, *(1,) * len(op.attributes["kernel"]))
    zero, scaled = program.types[op.inputs[0]].zero_point, _scaled(op, program, axes)
    weight, bias = op.arrays["weight"].astype(np.float64), op.arrays["bias"].astype(np.int64).reshape(axes)

    def run(x: Integers) -> Integers:
        windows = taps(op, x - zero).astype(np.float64)
        return scaled(whole(correlate(op, windows, weight)) + bias)

    return run


def _matmul(op: Op, program: Program) -> Plan:
    a, b = (program.types[name].zero_point for name in op.inputs)
    scaled = _scaled(op, program, (1,))
    return lambda x, y: scaled(whole((x - a).astype(np.float64) @ (y - b).astype(np.float64)))


def _sum(op: Op, program: Program) -> Plan:
    a, b, stored = (program.types[name] for name in (*op.inputs, op.output))
    ratios = (a.scale / stored.scale, b.scale / stored.scale)
    shift = multiplier(max(ratios))[1]
    ma, mb = (round(ratio * 2.0**shift) for ratio in ratios)
    za, zb, mb = a.zero_point, b.zero_point, -mb if op.kind == "Sub" else mb
    rescale, store = rescaling(1, shift), storing(stored)
    return lambda x, y: store(rescale((x - za) * ma + (y - zb) * mb))


def _mul(op: Op, program: Program) -> Plan:
    a, b, stored = (program.types[name] for name in (*op.inputs, op.output))
    za, zb = a.zero_point, b.zero_point
    rescale, store = rescaling(*multiplier(a.scale * b.scale / stored.scale)), storing(stored)
    return lambda x, y: store(rescale((x - za) * (y - zb)))


def _curve(op: Op, program: Program) -> Plan:
    entries = table(op.kind, program.types[op.inputs[0]].scale)
    return lambda x: entries[x + 32768]


def _relu(op: Op, program: Program) -> Plan:
    entering, stored = program.types[op.inputs[0]], program.types[op.output]
    rescale, store = rescaling(*multiplier(entering.scale / stored.scale)), storing(stored)
    return lambda x: store(rescale(np.maximum(x - entering.zero_point, 0)))


def _requantize(op: Op, program: Program) -> Plan:
    entering, stored = program.types[op.inputs[0]], program.types[op.output]
    rescale, store = rescaling(*multiplier(entering.scale / stored.scale)), storing(stored)
    return lambda x: store(rescale(x - entering.zero_point))


def _quantize(op: Op, program: Program) -> Plan:
    kind = program.types[op.output]
    scale = np.float32(kind.scale)
    low, high = (limit - kind.zero_point for limit in kind.limits)
    # Saturated while it is still a float: a frame of 1e30 has no int64, and would come out at the wrong end.

    def run(x: Array) -> Integers:
        with np.errstate(over="ignore"):
            limited = np.minimum(np.maximum(np.rint(x / scale), low), high)
        return np.asarray(limited.astype(np.int64) + kind.zero_point)

    return run


def _dequantize(op: Op, program: Program) -> Plan:
    kind = program.types[op.inputs[0]]
    factor = op.arrays.get("factor", np.float32(1))
    offset = op.arrays.get("offset", np.float32(0))
    return lambda x: (x - kind.zero_point).astype(np.float32) * np.float32(kind.scale) * factor + offset


def _constant(op: Op, _: Program) -> Plan:
    value = op.arrays["value"].astype(np.int64)[None]
    return lambda: value


_PLANS: Mapping[str, Callable[[Op, Program], Plan]] = {
    "Linear": _linear,
    "Conv": _conv,
    "MatMul": _matmul,
    "Add": _sum,
    "Sub": _sum,
    "Mul": _mul,
    "Sigmoid": _curve,
    "Tanh": _curve,
    "Relu": _relu,
    "Requantize": _requantize,
    "Quantize": _quantize,
    "Dequantize": _dequantize,
    "Constant": _constant,
}
