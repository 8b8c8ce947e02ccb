"""Under which type a tensor is stored. See integers.py for the scheme and the numbers of its rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from export.program import Op, Type
from export.quantize.calibrate import Seen

UNIT = Type("int16", 2.0**-15)
GATE_INPUT, WIDE_GATE_INPUT = Type("int16", 2.0**-12), Type("int16", 2.0**-11)
CURVES = ("Sigmoid", "Tanh")
SPARE = 4.0


class Headroom(NamedTuple):
    """How many times what calibration saw 16 bits hold. states: at least; they round what they rounded before."""

    tensors: float
    states: float
    outputs: float


HEADROOM = {"int8": Headroom(1.25, 1.25, 1.05), "int16": Headroom(4.0, 2.0, 4.0)}
"""For each type of operands; beside int8 ones, more would not help."""


@dataclass
class Types:
    """Chooses types from what calibration saw. within: the tensors that cannot leave +-1."""

    seen: Mapping[str, Seen]
    readers: Mapping[str, list[Op]]
    within: frozenset[str]
    headroom: Headroom

    def eight(self, name: str, seen: Seen | None = None) -> Type:
        """2: 8 bits with a zero point, over the range that gives the least squared error."""
        low, high, rule = (seen or self.seen[name]).best_range
        scale = float(np.float32((high - low) / 255))
        return Type("int8", scale, int(np.clip(round(-128 - low / scale), -128, 127)), rule)

    def symmetric(self, *names: str) -> Type:
        """3: 16 bits for the tensors together, over the full range seen times the headroom, or +-1 if that is less."""
        most = max(*(self.seen[name].greatest for name in names), 1e-9)
        scale = float(np.float32(most * self.headroom.tensors / 32767))
        return UNIT if scale > UNIT.scale and self.within >= set(names) else Type("int16", scale)

    def gate_input(self, name: str) -> Type:
        """4: the type under which sigmoid and tanh read a tensor."""
        kinds = {reader.kind for reader in self.readers.get(name, [])}
        beyond = self.seen[name].greatest > GATE_INPUT.limits[1] * GATE_INPUT.scale
        return WIDE_GATE_INPUT if beyond and "Sigmoid" in kinds else GATE_INPUT

    def state(self, *names: str) -> Type:
        """5: the type of a state, entering and leaving under these names."""
        if self.within >= set(names):
            return UNIT
        greatest = max(self.seen[name].greatest for name in names) * self.headroom.states
        return Type("int16", 2.0 ** (math.ceil(math.log2(max(greatest, 1.0))) - 15))

    def result(self, op: Op, parts: list[Type]) -> Type:
        """6: the type of an elementwise op's result, given its operands' types."""
        if op.kind in CURVES:
            return UNIT  # 4
        reading = self.readers.get(op.output, [])
        if reading and all(reader.kind in CURVES for reader in reading):
            return self.gate_input(op.output)  # 4
        seen = self.symmetric(op.output)
        bound = math.inf
        if op.kind == "Mul" and UNIT in parts:
            bound = parts[1].scale if parts[0] == UNIT else parts[0].scale
        elif op.kind in {"Add", "Sub"}:
            bound = parts[0].scale + parts[1].scale
        return Type("int16", bound) if bound <= SPARE * seen.scale else seen
