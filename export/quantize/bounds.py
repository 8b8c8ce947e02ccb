"""What of a float Program cannot leave +-1, whatever the frames: its type needs no room for more than was seen.

1. What sigmoids and tanhs give lies within +-1, and so does what is only moved or multiplied of that.
2. Shares lie between 0 and 1: what sigmoids give, what is left of 1, and products of these.
3. n + z (h - n) and z h + (1 - z) n lie between h and n where z is a share.
4. A state is within +-1 if it begins there and that follows for what leaves from its being so for what entered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from export.operations import MOVING
from export.program import Op, Program
from export.quantize.flow import moved


def within_one(program: Program) -> frozenset[str]:
    """Return the tensors that cannot leave +-1."""
    states = {
        s.input: s.output
        for s in program.states
        if s.held is None and s.initial.dtype.kind == "f" and _small(s.initial)
    }
    while True:  # 4: assumed of all states, until it follows of all of which it is
        found = _Bounds(program, states).within
        left = {entering: leaving for entering, leaving in states.items() if leaving in found}
        if left == states:
            return frozenset(found)
        states = left


def _small(content: np.ndarray) -> bool:
    return bool((np.abs(content) <= 1).all())


class _Bounds:
    """Walks the ops once. within: the tensors within +-1; shares: those from 0 to 1."""

    def __init__(self, program: Program, states: Collection[str]) -> None:
        constants = {name: content for name, content in program.constants().items() if content.dtype.kind == "f"}
        self._written = {op.output: op for op in program.ops}
        self._ones = {name for name, content in constants.items() if (content == 1).all()}
        self.within = {*states, *(name for name, content in constants.items() if _small(content))}
        self.shares = {name for name in constants if name in self.within and (constants[name] >= 0).all()}
        for op in program.ops:
            if op.kind == "Sigmoid" or self._rest(op.output) is not None:
                self.shares.add(op.output)
                self.within.add(op.output)
            elif op.kind == "Tanh" or (op.kind == "Add" and self._mixed(op)):
                self.within.add(op.output)
            elif op.kind == "Mul" or (op.kind in MOVING and not op.attributes.get("value")):
                parts = set(op.inputs if op.kind == "Mul" else moved(op))
                for known in (self.within, self.shares):
                    if parts <= known:
                        known.add(op.output)

    def _rest(self, name: str) -> str | None:
        """2: return z where a tensor is 1 - z of a share."""
        op = self._written.get(name)
        if op is None or op.kind != "Sub" or op.inputs[0] not in self._ones or op.inputs[1] not in self.shares:
            return None
        return op.inputs[1]

    def _mixed(self, op: Op) -> bool:
        """3."""
        return any(
            self._towards(one, part) or self._parted(one, z, part)
            for one, other in (op.inputs, op.inputs[::-1])
            for z, part in self._weighed(other)
        )

    def _towards(self, one: str, part: str) -> bool:
        """3: say whether one + z part is n + z (h - n), z being a share."""
        op = self._written.get(part)
        return op is not None and op.kind == "Sub" and op.inputs[1] == one and self.within.issuperset(op.inputs)

    def _parted(self, one: str, z: str, part: str) -> bool:
        """3: say whether one + z part is (1 - z) n + z h."""
        return part in self.within and any(
            self._rest(rest) == z and new in self.within for rest, new in self._weighed(one)
        )

    def _weighed(self, name: str) -> Iterator[tuple[str, str]]:
        """Give a product's factors, a share first."""
        op = self._written.get(name)
        if op is not None and op.kind == "Mul":
            yield from ((z, part) for z, part in (op.inputs, op.inputs[::-1]) if z in self.shares)
