"""Float Program + calibrated ranges → integer Program. The one place where scales and stored integers are decided.

The scheme, for `operand` = int8 (variant int8) or int16 (variant w8a16):
1. Weights are int8, symmetric, one scale an output row. Biases are int32 (int64 for int16 operands) at
   input scale x row scale. Weights are rounded so that the products come out nearest (see rounding.py).
2. What a linear op reads and writes is `operand`: int8 with a zero point, its range chosen by least squared error;
   int16 symmetric, over the full range seen.
3. Elementwise ops compute on int16, symmetric: states, gates and their sums would lose slow changes in 8 bits.
   (TensorFlow Lite's own 8-bit LSTM keeps its cell and gates in 16 bits for the same reason.)
4. Sigmoid and tanh read scale 2^-12, so that their input saturates at +-8, and write scale 2^-15. Where a sigmoid's
   input was seen beyond that, scale 2^-11: sigmoid(8) is 3e-4 short of 1, which a gate that keeps a state for
   thousands of steps would lose; at 16 it is nearer to 1 than the output can tell.
5. A state has one type, entering and leaving: scale 2^-15 if it stays within +-1, else the power of two that holds
   1.25 times the greatest value seen.
6. A sum, difference or product with a gate that cannot saturate, given its operands' types, is stored so that it never
   does, if that costs at most two bits; else over HEADROOM times the range seen.
7. A relu directly behind a linear op is that op's lower limit.
8. A linear op that gives the model's output computes it centred and in units of its own range, each output by itself;
   the units come back in float. An output of 300 +- 2 would else be left with two or three steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from export.program import Op, Program, ProgramState, Type
from export.quantize.calibrate import Seen
from export.quantize.rounding import round_weights

UNIT = Type("int16", 2.0**-15)
GATE_INPUT, WIDE_GATE_INPUT = Type("int16", 2.0**-12), Type("int16", 2.0**-11)
HEADROOM = 1.25
OUTPUT_HEADROOM = 1.05
SPARE = 4.0
BIAS_LIMIT = 2.0**30
VARIANTS: Mapping[str, Literal["int8", "int16"]] = {"int8": "int8", "w8a16": "int16"}


def quantize(program: Program, seen: Mapping[str, Seen], variant: str) -> Program:
    """Return the integer Program of a variant, "int8" or "w8a16"."""
    fused = _fuse_relu(program)
    output = next((op for op in fused.ops if op.output == fused.output), None)
    if output is None or output.kind != "linear" or output.ints.get("relu") or fused.readers(fused.output):
        return _Quantizer(fused, seen, VARIANTS[variant]).run()
    centred, affine = _centre(fused, output, seen[fused.output])
    values = (seen[fused.output].sample - affine["offset"]) / affine["factor"]
    one = np.ones(len(affine["factor"]), np.float32)
    around = Seen(-one, one, np.asarray(values, np.float32))
    return _Quantizer(centred, {**seen, fused.output: around}, VARIANTS[variant], affine).run()


@dataclass
class _Quantizer:
    """Walks the float ops once; `homes` says under which type each float tensor exists in the integer Program."""

    source: Program
    seen: Mapping[str, Seen]
    operand: Literal["int8", "int16"]
    affine: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    homes: dict[str, dict[Type, str]] = field(default_factory=dict)

    def run(self) -> Program:
        source = self.source
        self.target = Program(source.input, "", [], {source.input: source.sizes[source.input]})
        state_types = {state.name: self._state_type(state) for state in source.states}
        leaving = {state.output: state_types[state.name] for state in source.states}
        for state in source.states:
            self._place(state.input, state_types[state.name], state.input)
        for op in source.ops:
            self._op(op, leaving.get(op.output))
        result = self._read(source.output, None)
        real = f"{source.output}.real"
        self.target.output = self._emit("dequantize", real, None, (result,), source.output, arrays=self.affine)
        for state in source.states:
            output = self._read(state.output, state_types[state.name])
            self.target.states.append(ProgramState(state.name, state.input, output, state.initial))
        return self.target

    def _op(self, op: Op, wanted: Type | None) -> None:
        if op.kind == "linear":
            self._linear(op)
        elif op.kind == "constant":
            self._constant(op)
        elif op.kind in ("slice", "concat"):
            # They move integers about and change none, so all parts need one type.
            common = self._elementwise(op.inputs[0]) if op.kind == "slice" else self._symmetric(op.output)
            parts = tuple(self._read(name, common) for name in op.inputs)
            self._emit(op.kind, op.output, common, parts, op.node, op.ints)
        else:
            curved = op.kind in ("sigmoid", "tanh")
            parts = tuple(
                self._read(name, self._gate_input(name) if curved else self._elementwise(name)) for name in op.inputs
            )
            kind = wanted or self._output_type(op, [self.target.types[part] for part in parts])
            self._emit(op.kind, op.output, kind, parts, op.node)

    def _linear(self, op: Op) -> None:
        entering = self._operand(op.inputs[0])
        x = self._read(op.inputs[0], entering)
        leaving = self._operand(op.output)
        weight, bias = op.arrays["weight"].astype(np.float64), op.arrays["bias"].astype(np.float64)
        greatest = np.abs(weight).max(axis=1)
        # A row of tiny weights under a great bias takes the scale at which the bias still fits its integer.
        least = np.maximum(np.abs(bias) / (entering.scale * BIAS_LIMIT), np.finfo(np.float32).tiny)
        scale = np.maximum(greatest / 127, least).astype(np.float32).astype(np.float64)  # 1
        inputs = self.seen[op.inputs[0]].sample.astype(np.float64)
        stored, lost = round_weights(weight, scale, inputs, _as_stored(inputs, entering))
        wide: type[np.signedinteger] = np.int32 if self.operand == "int8" else np.int64
        offset = np.rint((bias + lost) / (scale * entering.scale)).astype(wide)
        arrays = {"weight": stored, "scale": scale, "bias": offset}
        self._emit("linear", op.output, leaving, (x,), op.node, op.ints, arrays)

    def _constant(self, op: Op) -> None:
        kind = self._symmetric(op.output)
        stored = np.clip(np.rint(op.arrays["value"] / kind.scale), *kind.limits).astype(np.int16)
        self._emit("constant", op.output, kind, (), op.node, arrays={"value": stored})

    def _operand(self, name: str) -> Type:
        """2: the type under which linear ops read or write a tensor."""
        if self.operand == "int16":
            return self._elementwise(name)
        low, high = self.seen[name].best_range(256)
        scale = float(np.float32((high - low) / 255))
        return Type("int8", scale, int(np.clip(round(-128 - low / scale), -128, 127)))

    def _elementwise(self, name: str) -> Type:
        """3: the int16 type under which elementwise ops read a tensor; 128 times finer where it was int8."""
        kind = next(iter(self._types(name)), None)
        if kind is None:
            return self._symmetric(name)
        if kind.dtype == "int16":
            return kind
        # The furthest int8 value is 255 steps from its zero point, so 128 times finer always fits, without rounding.
        return Type("int16", kind.scale / 128)

    def _gate_input(self, name: str) -> Type:
        """4: the type under which sigmoid and tanh read a tensor."""
        kinds = {reader.kind for reader in self.source.readers(name)}
        beyond = max(abs(self.seen[name].low), abs(self.seen[name].high)) > GATE_INPUT.limits[1] * GATE_INPUT.scale
        return WIDE_GATE_INPUT if beyond and "sigmoid" in kinds else GATE_INPUT

    def _output_type(self, op: Op, parts: list[Type]) -> Type:
        if op.kind in ("sigmoid", "tanh"):
            return UNIT  # 4
        readers = self.source.readers(op.output)
        if readers and all(reader.kind in ("sigmoid", "tanh") for reader in readers):
            return self._gate_input(op.output)  # 4
        seen = self._symmetric(op.output)
        bound = math.inf
        if op.kind == "mul" and UNIT in parts:
            bound = parts[1].scale if parts[0] == UNIT else parts[0].scale
        elif op.kind in ("add", "sub"):
            bound = parts[0].scale + parts[1].scale
        return Type("int16", bound) if bound <= SPARE * seen.scale else seen  # 6

    def _symmetric(self, name: str) -> Type:
        greatest = max(abs(self.seen[name].low), abs(self.seen[name].high), 1e-9)
        return Type("int16", float(np.float32(greatest * HEADROOM / 32767)))

    def _state_type(self, state: ProgramState) -> Type:
        greatest = max(abs(bound) for name in (state.input, state.output) for bound in self._bounds(name))
        return UNIT if greatest <= 1 else Type("int16", 2.0 ** (math.ceil(math.log2(greatest * HEADROOM)) - 15))  # 5

    def _bounds(self, name: str) -> tuple[float, float]:
        return self.seen[name].low, self.seen[name].high

    def _types(self, name: str) -> list[Type]:
        return list(self.homes.get(name, {}))

    def _read(self, name: str, kind: Type | None) -> str:
        """Return the tensor that holds the float tensor `name` under a type, converting it once where needed."""
        if not self._types(name):
            kind = kind or self._operand(name)
            return self._emit("quantize", f"{name}.{kind.dtype}", kind, (name,), name, home=name)
        homes = self.homes[name]
        if kind is None or kind in homes:
            return next(iter(homes.values())) if kind is None else homes[kind]
        first = next(iter(homes.values()))
        return self._emit("requantize", f"{name}.{kind.dtype}", kind, (first,), name, home=name)

    def _place(self, name: str, kind: Type, tensor: str) -> None:
        self.target.sizes.setdefault(tensor, self.source.sizes[name])
        self.target.types[tensor] = kind
        self.homes.setdefault(name, {})[kind] = tensor

    def _emit(  # noqa: PLR0917
        self,
        kind: str,
        output: str,
        stored: Type | None,
        inputs: tuple[str, ...],
        node: str,
        ints: Mapping[str, int] | None = None,
        arrays: Mapping[str, NDArray[Any]] | None = None,
        home: str | None = None,
    ) -> str:
        name = self.target.new_name(output)
        source = home or (output if output in self.source.sizes else node)
        self.target.emit(Op(kind, name, inputs, node, ints or {}, arrays or {}), self.source.sizes[source])  # type: ignore[arg-type]
        if stored is not None:
            self._place(source, stored, name)
        return name


def _centre(program: Program, op: Op, seen: Seen) -> tuple[Program, dict[str, NDArray[np.float32]]]:
    """8: return the Program with output op (y - offset) / factor, and offset and factor, float32[outputs]."""
    offset = ((seen.lows + seen.highs) / 2).astype(np.float32)
    half = (seen.highs - seen.lows) / 2 * OUTPUT_HEADROOM
    factor = np.maximum(half, 1e-6 * np.maximum(np.abs(offset), 1.0)).astype(np.float32)
    arrays = {"weight": op.arrays["weight"] / factor[:, None], "bias": (op.arrays["bias"] - offset) / factor}
    scaled = Op("linear", op.output, op.inputs, op.node, op.ints, arrays)
    ops = [scaled if other is op else other for other in program.ops]
    return replace(program, ops=ops), {"offset": offset, "factor": factor}


def _as_stored(values: NDArray[np.float64], kind: Type) -> NDArray[np.float64]:
    """Return real values as they are after storing them under a type."""
    stored = np.clip(np.rint(values / kind.scale) + kind.zero_point, *kind.limits)
    return np.asarray((stored - kind.zero_point) * kind.scale)


def _fuse_relu(program: Program) -> Program:
    """7: let a linear op whose only reader is a relu take the relu in."""
    fused = Program(program.input, program.output, program.states, dict(program.sizes))
    gone: dict[str, Op] = {}
    for op in program.ops:
        readers = program.readers(op.output)
        if op.kind == "linear" and [r.kind for r in readers] == ["relu"] and op.output != program.output:
            gone[op.output] = op
        elif op.kind == "relu" and op.inputs[0] in gone:
            linear = gone[op.inputs[0]]
            fused.ops.append(Op("linear", op.output, linear.inputs, linear.node, {"relu": 1}, linear.arrays))
        else:
            fused.ops.append(op)
    return fused
