"""Compare all turns of a loop with one of them, node by node and constant by constant, from what leaves them backwards.

1. Every turn but the first has the template's ops, attributes and constants, wired alike: its own step where the
   template reads its own, and what the turn before hands on where the template reads a slot.
2. The first turn may differ: exporters fold a state of zeros. Where it has a constant in a slot's place, this is the
   slot's initial value; otherwise it is taken for zero. That the template then gives the first turn's values is proven
   in numbers (see loop.py). A loop that reads n turns back has n first turns.
3. What is held, all turns read alike. Where the first turn has it in a slot's place, the slot begins with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from export.errors import ExportError, node_error
from export.graph import Array, constant_of
from export.unrolled.steps import shape

if TYPE_CHECKING:
    from export.unrolled.prepare import Keys
    from export.unrolled.steps import Walk

Slot = tuple[ir.Value, int]
"""A value of the template, and how many turns back it is read."""
Pair = tuple[ir.Value, ir.Value]
"""A turn's value, and the template's."""


class UnlikeError(ExportError):
    """Turns that do not compute alike."""

    @classmethod
    def of(cls, node: ir.Node | None, reason: str) -> UnlikeError:
        """Name the node at which it is seen."""
        name, op_type = (str(node.name), node.op_type) if node is not None else ("?", "value")
        return cls(str(node_error(name, op_type, f"a loop over time was unrolled here, but {reason}")))


@dataclass
class Loop:
    """T turns of one loop. nodes: the template's, in order. turn: which one that is.

    meaning: the slot that each value of an earlier turn stands for. packs: concatenations over time, with the
    template's value. last: values that are read behind the loop, at the last turn, with the template's value. initial:
    known initial values of slots. first: what leaves the first turns, by the template's value.
    """

    length: int
    nodes: list[ir.Node]
    turn: int
    meaning: dict[ir.Value, Slot] = field(default_factory=dict)
    packs: dict[ir.Node, ir.Value] = field(default_factory=dict)
    last: dict[ir.Value, ir.Value] = field(default_factory=dict)
    initial: dict[Slot, Array | ir.Value] = field(default_factory=dict)
    first: list[dict[ir.Value, ir.Value]] = field(default_factory=list)

    @property
    def slots(self) -> list[Slot]:
        """The slots, in the order in which the template reads them."""
        return list(dict.fromkeys(self.meaning.values()))

    @property
    def depth(self) -> int:
        """How many turns back the loop reads at most."""
        return max((back for _, back in self.slots), default=1)

    def start(self, slot: Slot) -> Array | ir.Value:
        """Return a slot's initial value (2), or what is held and gives it (3)."""
        value = slot[0]
        kind = value.dtype.numpy() if value.dtype else np.float32
        known = self.initial.get(slot)
        if isinstance(known, ir.Value):
            return known
        return np.zeros(shape(value), kind) if known is None else np.broadcast_to(known, shape(value)).astype(kind)


class Comparison:
    """The comparison of one loop's turns. level: the turn of every value that belongs to one."""

    def __init__(self, found: Walk, keys: Keys, level: dict[ir.Value, int], loop: Loop) -> None:
        self.found, self.keys, self.level, self.loop = found, keys, level, loop

    def compare(self, leaving: list[list[Pair]]) -> None:
        """Compare all turns, the last one first. leaving: of each turn; what is handed on is added.

        Raises UnlikeError.
        """
        for turn in reversed(range(self.loop.length)):
            if turn >= self.loop.depth:
                self._alike(turn, leaving)  # 1
            else:
                self.loop.first.insert(0, self._first(turn, leaving))  # 2

    def _alike(self, turn: int, leaving: list[list[Pair]]) -> None:
        seen: dict[ir.Value, ir.Value] = {}
        rest = list(leaving[turn])
        while rest:
            value, meant = rest.pop()
            if meant in seen:
                if seen[meant] is not value:
                    raise UnlikeError.of(value.producer(), "two of its values stand for one.")
                continue
            seen[meant] = value
            if meant in self.found.steps or value in self.found.steps:
                self._same_step(turn, value, meant)
            else:
                for back, pair in self._inputs(turn, value, meant):
                    (leaving[turn - back] if back else rest).append(pair)

    def _inputs(self, turn: int, value: ir.Value, meant: ir.Value) -> Iterator[tuple[int, Pair]]:
        """Compare the nodes that give two values; return what of their inputs is to be compared, and where."""
        node, like = value.producer(), meant.producer()
        if node is None or like is None or self.keys.op(node) != self.keys.op(like):
            raise UnlikeError.of(node, f"at step {turn} other ops stand there than at the others.")
        if len(node.inputs) != len(like.inputs) or node.outputs.index(value) != like.outputs.index(meant):
            raise UnlikeError.of(node, f"at step {turn} it is not connected as at the others.")
        for given, other in zip(node.inputs, like.inputs, strict=True):
            if self._same_constant(turn, node, given, other) or given is None or other is None:
                continue
            if given is other and other in self.found.held:  # 3
                continue
            back = self._back(node, other)
            if self.level.get(given) != turn - back:
                raise UnlikeError.of(node, f"at step {turn} it reads another step than the others do.")
            yield back, (given, self.loop.meaning[other][0] if back else other)

    def _same_step(self, turn: int, value: ir.Value, meant: ir.Value) -> None:
        one, other = self.found.steps.get(value), self.found.steps.get(meant)
        if one is None or other is None or one != other._replace(number=turn):
            raise UnlikeError.of(value.producer(), f"it does not take step {turn} as the other steps take theirs.")

    def _same_constant(self, turn: int, node: ir.Node, given: ir.Value | None, other: ir.Value | None) -> bool:
        """Return whether two inputs are the same constant, or none. Raises UnlikeError where only one of them is."""
        kinds = [value is None or value.const_value is not None for value in (given, other)]
        if not any(kinds):
            return False
        keys = [None if v is None or v.const_value is None else self.keys.constant(v) for v in (given, other)]
        if not all(kinds) or keys[0] != keys[1]:
            raise UnlikeError.of(node, f"its weights or constants are not the same at every step, seen at step {turn}.")
        return True

    def _back(self, node: ir.Node, meant: ir.Value) -> int:
        if meant not in self.level:
            raise UnlikeError.of(node, "at every step it reads what is made of the whole sequence.")
        return self.loop.turn - self.level[meant]

    def _first(self, turn: int, leaving: list[list[Pair]]) -> dict[ir.Value, ir.Value]:
        """Follow a first turn as far as it goes alike; return what leaves it."""
        left: dict[ir.Value, ir.Value] = {}
        for value, meant in leaving[turn]:
            if left.setdefault(meant, value) is not value:
                raise UnlikeError.of(value.producer(), "two of its values stand for one.")
        rest, seen = list(leaving[turn]), set()
        while rest:
            value, meant = rest.pop()
            node, like = value.producer(), meant.producer()
            alike = node is not None and like is not None and self.keys.op(node) == self.keys.op(like)
            if (value, meant) in seen or node is None or like is None or not alike or value in self.found.steps:
                continue
            seen.add((value, meant))
            for given, other in zip(node.inputs, like.inputs, strict=False):
                if given is None or other is None or other not in self.level:
                    continue
                back, held = self.loop.turn - self.level[other], given in self.found.held
                begins = given if held and shape(given) == shape(other) else constant_of(given)  # 3
                if begins is not None and back > turn:
                    self.loop.initial.setdefault((self.loop.meaning[other][0], back - turn), begins)
                elif self.level.get(given) == turn - back and back:
                    leaving[turn - back].append((given, self.loop.meaning[other][0]))
                elif not back and (held or self.level.get(given) == turn):
                    rest.append((given, other))
        return left
