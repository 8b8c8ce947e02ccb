"""Float Program + calibrated ranges → integer Program. The one place where scales and stored integers are decided.

The scheme, for `operand` = int8 (variant int8) or int16 (variant w8a16):
1. Weights are int8, symmetric, one scale an output. Biases are int32 (int64 for int16 operands) at
   input scale x output scale. Weights are rounded so that the products come out nearest (see rounding.py).
2. What a product, also of two values, reads and writes is `operand`: int8 with a zero point, its range chosen by least
   squared error; int16 symmetric, over HEADROOM times the range seen: it has bits to spare for what was not seen.
3. Elementwise ops compute on int16, symmetric: states, gates and their sums would lose slow changes in 8 bits, as in
   TensorFlow Lite's own 8-bit LSTM. What cannot leave +-1 (see bounds.py) needs no headroom beyond that.
4. Sigmoid and tanh read scale 2^-12, so that their input saturates at +-8, and write scale 2^-15. Where a sigmoid's
   input was seen beyond that, scale 2^-11: sigmoid(8) is 3e-4 short of 1, which a gate that keeps a state for
   thousands of steps would lose; at 16 it is nearer to 1 than the output can tell.
5. A state has one type, entering and leaving: scale 2^-15 if it cannot leave +-1, else the power of two that holds
   HEADROOM times the greatest value seen. A ring of past values is `operand` if products alone read it, else int16.
6. A sum, difference or product with a gate that cannot saturate, given its operands' types, is stored so that it never
   does, if that costs at most two bits; else over HEADROOM times the range seen.
7. A Linear op that gives the model's output computes it centred and in units of HEADROOM x its own range, each
   output by itself; the units come back in float. An output of 300 +- 2 would else be left with two or three steps.
8. All other ops (softmax, norms, most activations) compute in float32 between integers, and so does an elementwise op
   beside them: one that reads what exists in float32 alone, or that only they read.
9. A table of constants that is looked up by places from data is int8, one scale a column; whole numbers that fit stay
   what they are.
10. What is only moved keeps its integers. Whole numbers and conditions stay what they are.

`precision` keeps single ops, by their output's name, or states, by theirs, at int16 or float32 instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from export.operations import ARITHMETIC, MOVING, PRODUCTS
from export.program import Array, Op, Program, Type
from export.quantize import flow, weights
from export.quantize.bounds import within_one
from export.quantize.calibrate import Seen
from export.quantize.types import CURVES, HEADROOM, Types

Memo = dict[Any, weights.Rounded]
Precision = Literal["int8", "int16", "float32"]
FINEST = 64.0
"""Steps of a product's output that one step of its sums is, at most."""
TABLE_LEAST = 64
"""Numbers from which on a table is worth storing it in 8 bits."""
VARIANTS: Mapping[str, Literal["int8", "int16"]] = {"int8": "int8", "w8a16": "int16"}


def quantize(
    program: Program,
    seen: Mapping[str, Seen],
    variant: str,
    precision: Mapping[str, Precision] | None = None,
    memo: Memo | None = None,
) -> Program:
    """Return the integer Program of a variant, "int8" or "w8a16".

    memo: weights that were rounded before, for the same Program under another precision of its parts.
    """
    return _Quantizer(program, seen, VARIANTS[variant], precision or {}, {} if memo is None else memo).run()


@dataclass
class _Quantizer:
    """Walks the float ops once. homes: under which types, None being float32, each float tensor has been written."""

    source: Program
    seen: Mapping[str, Seen]
    operand: Literal["int8", "int16"]
    precision: Mapping[str, Precision]
    memo: Memo
    homes: dict[str, dict[Type | None, str]] = field(default_factory=dict)
    planned: dict[str, Type | None] = field(default_factory=dict)
    sharing: dict[int, list[Op]] = field(default_factory=dict)
    rounded: dict[int, weights.Rounded] = field(default_factory=dict)

    def run(self) -> Program:
        source = self.source
        self.target = Program(source.inputs, source.frames, held=source.held)
        self.readers, self.constants = source.readers(), source.constants()
        self.types = Types(self.seen, self.readers, within_one(source), HEADROOM[self.operand])
        self.float_only, self.centred = flow.float_only(source), _centred(source)
        states = self._state_types()
        for name in (*(entry.name for entry in source.inputs), *source.held):
            self._enter(name, None)
        for state in source.states:
            self._enter(state.input, states[state.name])
        leaving = self._leaving(states)
        for op in source.ops:
            if op.kind in {"Linear", "Conv"} and op.output not in self.centred:
                self.sharing.setdefault(id(op.arrays["weight"]), []).append(op)
        for op in source.ops:
            self._op(op, leaving)
        self.target.outputs = [self._read(name, None) for name in source.outputs]
        for state in source.states:
            output = self._read(state.output, states[state.name])
            self.target.states.append(replace(state, output=output))
        self.target.pruned()
        return self.target

    def _state_types(self) -> dict[str, Type | None]:
        """5: return every state's type, and plan those of what moves with it."""
        found: dict[str, Type | None] = {
            state.name: None if not self._real(state.input) or self.precision.get(state.name) == "float32"
            else self.types.state(state.input, state.output)
            for state in self.source.states
        }  # fmt: skip
        for ring in flow.rings(self.source):
            whole = max(ring.tensors, key=lambda name: (self.seen[name].highs.size, name))
            greatest = max(self.seen[name].greatest for name in ring.tensors)
            kind: Type | None = self.types.symmetric(*ring.tensors)
            wanted = {self.precision.get(state.name, self.operand) for state in ring.states}
            if "float32" in wanted or not np.isfinite(greatest):
                kind = None
            elif wanted == {"int8"} and flow.for_products(self.source, ring.tensors):
                lows, highs = zip(*((self.seen[name].low, self.seen[name].high) for name in ring.tensors), strict=True)
                ends = np.array([min(lows)], np.float32), np.array([max(highs)], np.float32)
                kind = self.types.eight(whole, Seen(*ends, self.seen[whole].sample))
            found |= {state.name: kind for state in ring.states}
            self.planned |= dict.fromkeys(ring.tensors, kind)
        return found

    def _leaving(self, states: Mapping[str, Type | None]) -> dict[str, Type | None]:
        """Return which tensors leave as states, or views of them do, and their types."""
        written = {op.output: op for op in self.source.ops}
        found = {}
        for state in self.source.states:
            name = state.output
            found[name] = states[state.name]
            while name in written and written[name].kind in {"Reshape", "Transpose"}:
                name = written[name].inputs[0]
                found[name] = states[state.name]
        return found

    def _rounded(self, op: Op) -> weights.Rounded:
        """1: return a product's rounded weights; those that several share are rounded for the inputs of all."""
        key = id(op.arrays["weight"])
        if op.output in self.centred or key not in self.rounded:
            sharing = [op] if op.output in self.centred else self.sharing[key]
            kinds = [self._operand(other.inputs[0], self._precision(op)) for other in sharing]
            uses = [
                (self._in_own_units(other), kind, self.seen[other.inputs[0]].sample)
                for other, kind in zip(sharing, kinds, strict=True) if kind is not None
            ]  # fmt: skip
            stored = (key, op.output if op.output in self.centred else "", *(kind for _, kind, _ in uses))
            if stored not in self.memo:
                self.memo[stored] = weights.rounded(uses[0][0], uses)
            found = self.memo[stored]
            if op.output in self.centred:
                return found
            self.rounded[key] = found
        return self.rounded[key]

    def _precision(self, op: Op) -> Precision:
        finite = all(np.isfinite(self.seen[name].greatest) for name in (*op.inputs, op.output) if name in self.seen)
        return self.precision.get(op.output, self.operand) if finite else "float32"

    def _op(self, op: Op, leaving: Mapping[str, Type | None]) -> None:
        if op.kind == "Constant":
            return  # written as it is read
        if not self._real(op.output):
            self._float(op)
        elif op.kind in PRODUCTS:
            self._product(op)
        elif op.kind == "Gather" and op.inputs[0] in self.constants and op.inputs[1] not in self.constants:
            self._table(op)
        elif op.kind in MOVING:
            self._move(op, leaving)
        elif op.kind in ARITHMETIC and self._on_integers(op):
            self._elementwise(op, leaving)
        else:
            self._float(op)

    def _real(self, name: str) -> bool:
        return self.source.dtypes.get(name, "float32") == "float32"

    def _float(self, op: Op) -> None:
        """8, 10: an op on real values, whole numbers or conditions."""
        parts = tuple(self._read(name, None) for name in op.inputs)
        self._emit(op.kind, op.output, None, parts, op, op.attributes, op.arrays)

    def _product(self, op: Op) -> None:
        precision = self._precision(op)
        if precision == "float32":
            self._float(op)
            return
        kinds = [self._operand(name, precision) for name in op.inputs]
        parts = tuple(self._read(name, kind) for name, kind in zip(op.inputs, kinds, strict=True))
        if op.kind == "MatMul":
            finest = math.prod(kind.scale for kind in kinds if kind is not None)
            self._emit(op.kind, op.output, self._leaves(op, precision, finest), parts, op)
            return
        found, entering = self._rounded(op), kinds[0]
        assert entering is not None  # noqa: S101 - a product in integers has a type
        own = self._in_own_units(op)
        arrays = weights.arrays(own, found, entering)
        if own is op:
            kind = self._leaves(op, precision, entering.scale * float(found.scale.max()))
            self._emit(op.kind, op.output, kind, parts, op, op.attributes, arrays)
            return
        unit = Type("int8", 1 / 127) if precision == "int8" else Type("int16", 1 / 32767)
        units = self.target.new_name(f"{op.output}.centred")
        self._write(Op(op.kind, units, parts, op.node, op.attributes, arrays), self.source.shapes[op.output], unit)
        self._emit(
            "Dequantize",
            op.output,
            None,
            (units,),
            op,
            arrays=dict(zip(("offset", "factor"), self._units(op), strict=True)),
        )

    def _leaves(self, op: Op, precision: Precision, finest: float) -> Type | None:
        """Return the type of a product's output, whose sums come in steps of `finest`: hardly finer than those.

        Runtimes refuse such a ratio (XNNPACK from 256 on); it is met where an output never varied.
        """
        kind = self._operand(op.output, precision)
        return kind if kind is None or finest <= FINEST * kind.scale else replace(kind, scale=finest / FINEST)

    def _units(self, op: Op) -> tuple[Array, Array]:
        """7: return the offset and the factor of an output, float32[outputs]."""
        seen = self.seen[op.output]
        low, high = (ends.reshape(-1, ends.shape[-1]) for ends in (seen.lows, seen.highs))
        low, high = low.min(axis=0), high.max(axis=0)
        offset = ((low + high) / 2).astype(np.float32)
        half = (high - low) / 2 * self.types.headroom.outputs
        entering = self._operand(op.inputs[0], self._precision(op))
        rows = np.abs(op.arrays["weight"]).max(axis=1)
        least = 0.0 if entering is None else entering.scale * rows / FINEST
        return offset, np.maximum.reduce([half, 1e-6 * np.maximum(np.abs(offset), 1.0), least]).astype(np.float32)

    def _in_own_units(self, op: Op) -> Op:
        """7: return an output's op as it gives (y - offset) / factor; any other op as it is."""
        if op.output not in self.centred:
            return op
        offset, factor = self._units(op)
        arrays = {"weight": op.arrays["weight"] / factor[:, None], "bias": (op.arrays["bias"] - offset) / factor}
        return replace(op, arrays=arrays)

    def _table(self, op: Op) -> None:
        """9."""
        table = self.constants[op.inputs[0]]
        precision = self.precision.get(op.output, "int8")
        if table.size < TABLE_LEAST or precision == "float32" or not np.isfinite(table).all():
            self._float(op)
            return
        kind, leaving = Type(precision, 1.0), self.source.shapes[op.output]
        stored, factor = weights.table(table, op.attributes["axis"], len(leaving), kind)
        content = self._constant(f"{op.inputs[0]}.stored", stored, kind)
        places = self._read(op.inputs[1], None)
        name = self.target.new_name(f"{op.output}.stored")
        self._write(Op("Gather", name, (content, places), op.node, op.attributes), leaving, kind)
        self._emit("Dequantize", op.output, None, (name,), op, arrays={"factor": factor})

    def _move(self, op: Op, leaving: Mapping[str, Type | None]) -> None:
        """10."""
        data = flow.moved(op)
        common = self._common(op, data, leaving)
        parts = tuple(self._read(name, common if name in data else None) for name in op.inputs)
        attributes = dict(op.attributes)
        if op.kind == "Pad" and common is not None:
            attributes["value"] = round(attributes["value"] / common.scale) + common.zero_point
        self._emit(op.kind, op.output, common, parts, op, attributes)

    def _common(self, op: Op, data: list[str], leaving: Mapping[str, Type | None]) -> Type | None:
        """Return the one type of all that a moving op reads and writes."""
        if op.output in self.planned:
            return self.planned[op.output]
        varying = [name for name in data if name not in self.constants]
        firsts = [self._integers(name) for name in varying]
        if None in firsts or not firsts or op.output in self.float_only:
            single = len(varying) == len(data) == 1
            return next(iter(self.homes[varying[0]])) if single else None
        if len(data) == 1 or (len(set(firsts)) == 1 and len(varying) == len(data)):
            return firsts[0]
        wanted = leaving.get(op.output)
        if wanted is not None:
            return wanted
        reading = flow.behind(op.output, self.readers)
        if self.operand == "int8" and reading and all(reader.kind in PRODUCTS for reader in reading):
            return self.types.eight(op.output)
        return self.types.symmetric(op.output) if np.isfinite(self.seen[op.output].greatest) else None

    def _on_integers(self, op: Op) -> bool:
        """8: say whether an elementwise op has integers to compute on."""
        if op.output in self.float_only or not np.isfinite(self.seen[op.output].greatest):
            return False
        return all(name in self.constants or self._integers(name) is not None for name in op.inputs)

    def _elementwise(self, op: Op, leaving: Mapping[str, Type | None]) -> None:
        kinds = [self.types.gate_input(name) if op.kind in CURVES else self._sixteen(name) for name in op.inputs]
        parts = tuple(self._read(name, kind) for name, kind in zip(op.inputs, kinds, strict=True))
        wanted = None if op.kind in CURVES else leaving.get(op.output)  # 4: a curve's table has one scale
        kind = wanted if wanted is not None and wanted.dtype == "int16" else self.types.result(op, kinds)
        self._emit(op.kind, op.output, kind, parts, op, op.attributes)

    def _operand(self, name: str, precision: Precision) -> Type | None:
        """2: the type under which a product reads or writes a tensor."""
        if precision == "float32":
            return None
        if precision == "int16":
            return self._sixteen(name)
        planned = self.planned.get(name)
        kinds = [planned, *self.homes.get(name, {})]
        return next((kind for kind in kinds if kind is not None and kind.dtype == "int8"), None) or self.types.eight(
            name
        )

    def _sixteen(self, name: str) -> Type:
        """3: the int16 type under which a tensor is read; 128 times finer where it was int8."""
        kind = self.planned.get(name) or self._integers(name)
        if kind is None:
            return self.types.symmetric(name)
        # The furthest int8 value is 255 steps from its zero point, so 128 times finer always fits, without rounding.
        return kind if kind.dtype == "int16" else Type("int16", kind.scale / 128)

    def _integers(self, name: str) -> Type | None:
        """Return the type under which a tensor was made; None for real values and constants, whatever reads them."""
        return None if name in self.constants else next(iter(self.homes.get(name, {})), None)

    def _read(self, name: str, kind: Type | None) -> str:
        """Return the tensor that holds the source's tensor `name` under a type, converting it once where needed."""
        if not self._real(name):
            kind = None
        homes = self.homes.setdefault(name, {})
        if kind in homes:
            return homes[kind]
        shape = self.source.shapes[name]
        if name in self.constants:
            homes[kind] = self._constant(name if kind is None else f"{name}.{kind.dtype}", self._held(name, kind), kind)
            return homes[kind]
        # Converted from what it was made as: another type that it was brought to has lost something.
        first = next(iter(homes))
        if kind is None:
            op, title = "Dequantize", f"{name}.real"
        else:
            op, title = ("Quantize" if first is None else "Requantize"), f"{name}.{kind.dtype}"
        title = self.target.new_name(title)
        homes[kind] = self._write(Op(op, title, (homes[first],), name), shape, kind)
        return homes[kind]

    def _held(self, name: str, kind: Type | None) -> Array:
        content = self.constants[name]
        if kind is None:
            return content
        stored = np.clip(np.rint(content / kind.scale) + kind.zero_point, *kind.limits)
        return np.asarray(stored, weights.STORED[kind.dtype])

    def _constant(self, name: str, content: Array, kind: Type | None) -> str:
        name = self.target.new_name(name)
        dtype = content.dtype.name if kind is None else "float32"
        return self._write(Op("Constant", name, node=name, arrays={"value": content}), content.shape, kind, dtype)

    def _enter(self, name: str, kind: Type | None) -> None:
        self.target.shapes[name] = self.source.shapes[name]
        if kind is not None:
            self.target.types[name] = kind
        elif not self._real(name):
            self.target.dtypes[name] = self.source.dtypes[name]
        self.homes[name] = {kind: name}

    def _emit(  # noqa: PLR0917 - an op has as many parts
        self, kind: str, output: str, stored: Type | None, inputs: tuple[str, ...], op: Op,
        attributes: Mapping[str, Any] | None = None, arrays: Mapping[str, Array] | None = None,
    ) -> None:  # fmt: skip
        name = self.target.new_name(output)
        shape, dtype = self.source.shapes[output], self.source.dtypes.get(output, "float32")
        written = Op(kind, name, inputs, op.node, attributes or {}, arrays or {})
        self.homes.setdefault(output, {})[stored] = self._write(written, shape, stored, dtype)

    def _write(self, op: Op, shape: tuple[int, ...], kind: Type | None, dtype: str = "float32") -> str:
        if kind is not None:
            self.target.types[op.output] = kind
        return self.target.emit(op, shape, dtype)


def _centred(program: Program) -> set[str]:
    """7: return the outputs of Linear ops that leave as the model's, and that nothing else reads."""
    written, readers = {op.output: op for op in program.ops}, program.readers()
    states = {state.output for state in program.states}
    found = set()
    for name in program.outputs:
        op = written.get(name)
        while op is not None and op.kind == "Reshape" and len(readers.get(op.output, [])) == 0:
            op = written.get(op.inputs[0])
        if op is None or op.kind != "Linear" or op.attributes.get("relu") or op.output in states:
            continue
        if all(reader.kind == "Reshape" and reader.output in program.outputs for reader in readers.get(op.output, [])):
            found.add(op.output)
    return found
