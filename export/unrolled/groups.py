"""Recognize T groups of nodes as T turns of one loop: what each turn does, what it hands on, what leaves it.

Every node belongs to the turn of the latest step that it depends on. One turn from the middle is the template.

1. A node that only the next turn reads belongs to that turn where less is handed on then: the state, not what is made
   of it next. Where the first turn then has no known state to start from, it stays in its own (see `late`).
2. Nodes get a colour that says how they are computed within their turn, what comes from earlier turns being one colour;
   then once more with those colours. Nodes of one colour in two turns correspond.
3. A value of an earlier turn that the template reads is a slot: a state. Its next value is what the corresponding node
   reads some turns on. A slot further back than one turn is handed on through a chain of states.
4. What leaves: a value concatenated over all turns, or a value of the last turn that something behind the loop reads.
   Nodes of the last turn that correspond to nothing are behind the loop.
5. Then every turn is compared with the template, node by node and constant by constant, from what leaves the last turn
   backwards. Nothing is taken for granted of a colour.
6. The first turn may differ: exporters fold a state of zeros. Where it has a constant in a slot's place, this is the
   slot's initial value; otherwise it is zero. That the template then gives the first turn's values is proven in numbers
   (see loop.py).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from export.errors import ExportError, node_error
from export.graph import Array, constant_of
from export.passes.pointwise import MOVING
from export.unrolled.prepare import Keys
from export.unrolled.steps import Walk, shape

ROUNDS = 3
Slot = tuple[ir.Value, int]
"""A value of the template, and how many turns back it is read."""


class Unlike(ExportError):
    """Turns that do not compute alike."""


@dataclass
class Loop:
    """T turns of one loop. nodes: the template's, in order.

    meaning: the slot that each value of an earlier turn stands for. packs: concatenations over time, with the template's
    value. last: values that are read behind the loop, at the last turn, with the template's value. initial: known
    initial values of slots. first: the first turns' values, by the template's.
    """

    length: int
    nodes: list[ir.Node] = field(default_factory=list)
    turn: int = 0
    meaning: dict[ir.Value, Slot] = field(default_factory=dict)
    packs: dict[ir.Node, ir.Value] = field(default_factory=dict)
    last: dict[ir.Value, ir.Value] = field(default_factory=dict)
    initial: dict[Slot, Array] = field(default_factory=dict)
    first: list[dict[ir.Value, ir.Value]] = field(default_factory=list)

    @property
    def slots(self) -> list[Slot]:
        """The slots, in the order in which the template reads them."""
        return list(dict.fromkeys(self.meaning.values()))

    @property
    def depth(self) -> int:
        """How many turns back the loop reads at most."""
        return max((back for _, back in self.slots), default=1)


def components(found: Walk) -> list[list[ir.Node]]:
    """Return the regions that share no value: loops of their own. The steps of one value are together."""
    parent: dict[object, object] = {}

    def root(item: object) -> object:
        while parent.setdefault(item, item) is not item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for node in [*found.region, *found.packs]:
        for value in [*node.inputs, *node.outputs]:
            if value in found.steps:
                parent[root(found.steps[value].source)] = root(node)
            elif value in found.level or node in found.packs:
                parent[root(value)] = root(node)
    members = defaultdict(list)
    for node in found.region:
        members[root(node)].append(node)
    for node in found.packs:
        members[root(node)]  # a pack of steps alone has no node of its own
    return list(members.values()) if members else []


class Grouping:
    """The turns of one component."""

    def __init__(self, found: Walk, region: list[ir.Node], keys: Keys, *, late: bool) -> None:
        self.found, self.keys = found, keys
        inside = set(region)
        self.packs = {
            node: entries for node, entries in found.packs.items()
            if any(entry.producer() in inside for entry in entries)
        }  # fmt: skip
        self.length = self._length(region)
        self.outside = self._read_outside(inside)
        needed = self._needed(inside)
        self.nodes = [node for node in region if node in needed]
        self.level = dict(found.level)
        if late:
            self._move(needed)
        self.turns: list[list[ir.Node]] = [[] for _ in range(self.length)]
        for node in self.nodes:
            self.turns[self.level[node.outputs[0]]].append(node)

    def loop(self) -> Loop:
        """Return the loop. Raises Unlike, or ExportError for what runs backward, by node."""
        turn = self.length // 2
        self.colour = self._colours(min(turn - 1, ROUNDS))
        loop = Loop(self.length, self.turns[turn], turn)
        ahead: dict[int, dict[ir.Node, ir.Node]] = {}
        for node in loop.nodes:  # 3
            for index, value in enumerate(node.inputs):
                if value is None or value.const_value is not None or self.level.get(value, -1) in (-1, turn):
                    continue
                back = turn - self.level[value]
                if turn + back >= self.length:
                    raise self._unlike(node, f"it reads {back} steps back, of {self.length} in all.")
                later = ahead.setdefault(back, self._corresponding(turn, turn + back)).get(node)
                following = later.inputs[index] if later is not None else None
                if following is None or self.level.get(following) != turn:
                    raise self._unlike(node, "it is not computed alike at every step.")
                if loop.meaning.setdefault(value, (following, back)) != (following, back):
                    raise self._unlike(node, "it is not computed alike at every step.")
        self._compare(loop)
        return loop

    def _length(self, region: Iterable[ir.Node]) -> int:
        steps = [self.found.steps[v] for node in region for v in node.inputs if v in self.found.steps]
        lengths = {self.found.lengths[step.source]: step.source for step in steps}
        if len(lengths) != 1:
            node = next(iter(region))
            raise node_error(str(node.name), node.op_type, f"it joins steps of different times ({sorted(lengths)}).")
        return next(iter(lengths))

    def _read_outside(self, inside: set[ir.Node]) -> dict[ir.Value, list[ir.Node]]:
        """Return the values that something behind the loop reads, and what; packs aside."""
        read = {}
        sources = {self.found.steps[v].source for node in inside for v in node.inputs if v in self.found.steps}
        values = [v for node in inside for v in node.outputs]
        values += [v for v, step in self.found.steps.items() if step.source in sources]
        for value in values:
            readers = [node for node, _ in value.uses() if node not in inside and node not in self.packs]
            if readers or value.is_graph_output():
                read[value] = readers
        return read

    def _needed(self, inside: set[ir.Node]) -> set[ir.Node]:
        """Return the nodes that something behind the loop leans on."""
        needed: set[ir.Node] = set()
        rest = [*self.outside, *(entry for entries in self.packs.values() for entry in entries)]
        while rest:
            node = rest.pop().producer()
            if node in inside and node is not None and node not in needed:
                needed.add(node)
                rest.extend(value for value in node.inputs if value is not None)
        return needed

    def _move(self, needed: set[ir.Node]) -> None:
        """Move nodes to the turn that alone reads them, where less is handed on then (1)."""
        packed = {entry for entries in self.packs.values() for entry in entries}
        for node in reversed(self.nodes):
            turn = self.level[node.outputs[0]]
            given = {value for value in node.inputs if value in self.level}
            if any(output in self.outside or output in packed for output in node.outputs):
                continue
            readers = {reader for output in node.outputs for reader, _ in output.uses() if reader in needed}
            following = min((self.level[reader.outputs[0]] for reader in readers), default=0)
            if following <= turn or any(self.level[value] != turn for value in given):
                continue
            new = [value for value in given if not self._handed_on(value, turn, needed)]
            less = _size(node.outputs) - _size(new)
            if less > 0 or (less == 0 and (node.op_type in MOVING or len(node.inputs) > 1)):
                self.level.update(dict.fromkeys(node.outputs, following))

    def _handed_on(self, value: ir.Value, turn: int, needed: set[ir.Node]) -> bool:
        return any(self.level[reader.outputs[0]] > turn for reader, _ in value.uses() if reader in needed)

    def check_direction(self) -> None:
        """Refuse a loop in which a step meets what later steps alone have given."""
        earliest = {value: step.number for value, step in self.found.steps.items()}
        for node in self.nodes:
            given = [value for value in node.inputs if value in earliest]
            steps = [self.found.steps[value].number for value in given if value in self.found.steps]
            if steps and any(value not in self.found.steps and earliest[value] > max(steps) for value in given):
                raise node_error(
                    str(node.name), node.op_type, "it runs backward over time: its output depends on frames that have "
                    "not come yet. Train it forward, or run it over whole windows: --window N.",
                )  # fmt: skip
            for output in node.outputs:
                earliest[output] = min(earliest[value] for value in given)

    def _colours(self, rounds: int) -> dict[ir.Value, Hashable]:
        """Return how every value is computed within its turn (2)."""
        names: dict[Hashable, int] = {}
        before: dict[ir.Value, Hashable] = {}
        for _ in range(max(rounds, 0) + 1):
            now: dict[ir.Value, Hashable] = {
                value: names.setdefault(("step", step.source, step.kept), len(names))
                for value, step in self.found.steps.items()
            }
            for node in self.nodes:
                turn = self.level[node.outputs[0]]
                read = tuple(self._read(value, turn, now, before) for value in node.inputs)
                for place, output in enumerate(node.outputs):
                    now[output] = names.setdefault((self.keys.op(node), read, place), len(names))
            before = now
        return before

    def _read(
        self, value: ir.Value | None, turn: int, now: dict[ir.Value, Hashable], before: dict[ir.Value, Hashable]
    ) -> Hashable:
        if value is None:
            return None
        if value.const_value is not None:
            return self.keys.constant(value)
        back = turn - self.level.get(value, turn)
        return ("past", back, before.get(value)) if back else now.get(value, value)

    def _corresponding(self, turn: int, other: int) -> dict[ir.Node, ir.Node]:
        by_colour: dict[Hashable, list[ir.Node]] = defaultdict(list)
        for node in self.turns[other]:
            by_colour[self.colour[node.outputs[0]]].append(node)
        alike = {node: by_colour[self.colour[node.outputs[0]]] for node in self.turns[turn]}
        return {node: found[0] for node, found in alike.items() if len(found) == 1}

    def _compare(self, loop: Loop) -> None:
        """Compare all turns with the template, the last one first (4, 5, 6)."""
        last = self.length - 1
        templates = {self.colour[v]: v for node in loop.nodes for v in node.outputs}
        templates |= {self.colour[v]: v for v, step in self.found.steps.items() if step.number == loop.turn}
        roots: list[list[tuple[ir.Value, ir.Value]]] = [[] for _ in range(self.length)]
        for node, entries in self.packs.items():
            loop.packs[node] = entries[loop.turn]
            for turn, entry in enumerate(entries):
                roots[turn].append((entry, entries[loop.turn]))
        for value in self._read_behind(templates):
            loop.last[value] = templates[self.colour[value]]
            roots[last].append((value, loop.last[value]))
        for turn in range(last, -1, -1):
            exact = turn >= loop.depth
            pairs = self._compare_turn(loop, turn, roots, exact=exact)
            if not exact:
                loop.first.insert(0, pairs)

    def _read_behind(self, templates: dict[Hashable, ir.Value]) -> list[ir.Value]:
        """Return the values of the last turn that are read behind the loop (4)."""
        found: dict[ir.Value, None] = {}
        rest = [(value, readers[0] if readers else None) for value, readers in self.outside.items()]
        seen = set()
        while rest:
            value, reader = rest.pop()
            if value in seen or value.const_value is not None:
                continue
            seen.add(value)
            turn, node = self.level.get(value), value.producer()
            if turn == self.length - 1 and self.colour.get(value) in templates:
                found[value] = None
            elif turn == self.length - 1 and node is not None and value not in self.found.steps:
                rest.extend((given, node) for given in node.inputs if given is not None)
            else:
                by = reader or node
                told = (str(by.name), by.op_type) if by is not None else (str(value.name), "output")
                raise node_error(
                    *told, f"it reads step {turn} of {self.length} by its number, behind a loop over time."
                )
        return list(found)

    def _compare_turn(
        self, loop: Loop, turn: int, roots: list[list[tuple[ir.Value, ir.Value]]], *, exact: bool
    ) -> dict[ir.Value, ir.Value]:
        """Compare what one turn gives with the template; return its values by the template's. Adds earlier roots."""
        pairs: dict[ir.Value, ir.Value] = {}
        rest = list(roots[turn])
        while rest:
            value, template = rest.pop()
            if template in pairs:
                if pairs[template] is not value:
                    raise self._unlike(value.producer(), "two of its values stand for one.")
                continue
            pairs[template] = value
            node, like = value.producer(), template.producer()
            if template in self.found.steps or value in self.found.steps:
                self._compare_step(turn, value, template)
                continue
            if node is None or like is None or node.outputs.index(value) != like.outputs.index(template):
                raise self._unlike(node, "it is not computed alike at every step.")
            if self.keys.op(node) != self.keys.op(like) or len(node.inputs) != len(like.inputs):
                if exact:
                    raise self._unlike(node, f"at step {turn} it stands where other steps have a {like.op_type}.")
                continue
            for given, meant in zip(node.inputs, like.inputs, strict=True):
                rest.extend(self._compare_input(loop, turn, node, (given, meant), roots, exact=exact))
        return pairs

    def _compare_step(self, turn: int, value: ir.Value, template: ir.Value) -> None:
        one, other = self.found.steps.get(value), self.found.steps.get(template)
        same = one is not None and other is not None and one[:2] == other[:2] and one.kept == other.kept
        if not same or one is None or one.number != turn:
            raise self._unlike(value.producer(), f"it does not take step {turn} as the other steps take theirs.")

    def _compare_input(
        self,
        loop: Loop,
        turn: int,
        node: ir.Node,
        pair: tuple[ir.Value | None, ir.Value | None],
        roots: list[list[tuple[ir.Value, ir.Value]]],
        *,
        exact: bool,
    ) -> list[tuple[ir.Value, ir.Value]]:
        """Compare one input; return what of it is to be compared in this same turn."""
        given, meant = pair
        if given is None or meant is None or meant.const_value is not None:
            constant = given is not None and meant is not None and given.const_value is not None
            alike = given is meant is None or (
                constant and given is not None and meant is not None
                and self.keys.constant(given) == self.keys.constant(meant)
            )  # fmt: skip
            if exact and not alike:
                reason = "its constants differ from step to step" if constant else "it is not computed alike"
                raise self._unlike(node, f"{reason}, seen at step {turn}.")
            return []
        back = loop.turn - self.level.get(meant, -1)
        if given.const_value is not None:
            if exact:
                raise self._unlike(node, f"it has a constant at step {turn} where other steps have none.")
            if back > turn:
                content = constant_of(given)
                if content is not None:
                    loop.initial.setdefault((loop.meaning[meant][0], back - turn), content)
            return []
        if meant not in self.level:
            raise self._unlike(node, "it reads what is made of the whole sequence at every step.")
        if back:
            if self.level.get(given) == turn - back:
                roots[turn - back].append((given, loop.meaning[meant][0]))
            elif exact:
                raise self._unlike(node, f"at step {turn} it does not read {back} steps back as others do.")
            return []
        if self.level.get(given) == turn:
            return [(given, meant)]
        if exact:
            raise self._unlike(node, f"at step {turn} it reads another step than the others do.")
        return []

    @staticmethod
    def _unlike(node: ir.Node | None, reason: str) -> Unlike:
        name, op_type = (str(node.name), node.op_type) if node is not None else ("?", "value")
        return Unlike(str(node_error(name, op_type, f"a loop over time was unrolled here, but {reason}")))


def _size(values: Iterable[ir.Value]) -> int:
    return sum(math.prod(shape(value)) for value in values)


def initial_of(loop: Loop, slot: Slot) -> Array:
    """Return a slot's initial value, zero where none is known (6)."""
    value = slot[0]
    kind = value.dtype.numpy() if value.dtype else np.float32
    known = loop.initial.get(slot)
    return np.zeros(shape(value), kind) if known is None else np.broadcast_to(known, shape(value)).astype(kind)
