"""Recognize T groups of nodes as T turns of one loop: what each turn does, what it hands on, what leaves it.

Every node belongs to the turn of the latest step that it depends on. One turn from the middle is the template.

1. A node that only the next turn reads belongs to that turn where less is handed on then: the state, not what is made
   of it next. Where the first turn then has no known state to start from, it stays in its own (see `late`).
   What the next turn asks of what is held (attention), from what is handed on anyway, belongs there as a whole.
2. Nodes get a colour that says how they are computed within their turn, what comes from earlier turns being one colour;
   where that does not tell them apart, once more with those colours. Nodes of one colour in two turns correspond, in
   their order where there are several.
3. A value of an earlier turn that the template reads is a slot: a state. Its next value is what the corresponding node
   reads some turns on. A slot further back than one turn is handed on through a chain of states.
4. What leaves: a value concatenated over all turns, or a value of the last turn that something behind the loop reads.
   Nodes of the last turn that correspond to nothing are behind the loop.

A colour is a guess. That the turns are alike is then seen node by node (compare.py).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable

import onnx_ir as ir

from export.errors import node_error
from export.passes.pointwise import MOVING
from export.unrolled.compare import Comparison, Loop, UnlikeError
from export.unrolled.prepare import Keys
from export.unrolled.steps import Walk, shape

ROUNDS = 3
Colour = tuple[Hashable, int]
"""How a value is computed within its turn, and which of the turn's values of that kind it is."""


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
    return list(members.values())


class Turns:
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
        self.colour: dict[ir.Value, Colour] = {}

    def loop(self) -> Loop:
        """Return the loop. Raises UnlikeError, or ExportError by node for what can be no loop."""
        turn, first, known = self.length // 2, None, 0
        for rounds in range(min(turn, ROUNDS)):
            self.colour = self._colours(rounds)
            if len({colour for colour, _ in self.colour.values()}) == known:
                break
            known = len({colour for colour, _ in self.colour.values()})
            try:
                return self._loop(turn)
            except UnlikeError as cause:
                first = first or cause
        raise first or UnlikeError("its turns are not alike.")

    def _loop(self, turn: int) -> Loop:
        loop = Loop(self.length, self.turns[turn], turn)
        ahead: dict[int, dict[ir.Node, ir.Node]] = {}
        for node in loop.nodes:  # 3
            for index, value in enumerate(node.inputs):
                if value is None or value.const_value is not None or self.level.get(value, turn) == turn:
                    continue
                back = turn - self.level[value]
                if turn + back >= self.length:
                    raise UnlikeError.of(node, f"it reads {back} steps back, of {self.length} in all.")
                if back not in ahead:
                    ahead[back] = self._corresponding(turn, turn + back)
                later = ahead[back].get(node)
                following = later.inputs[index] if later is not None else None
                if following is None or self.level.get(following) != turn:
                    raise self._why(turn, turn + back)
                if loop.meaning.setdefault(value, (following, back)) != (following, back):
                    raise UnlikeError.of(node, "it is not computed alike at every step.")
        roots = self._leaving(loop)
        Comparison(self.found, self.keys, self.level, loop).compare(roots)
        return loop

    def _length(self, region: Iterable[ir.Node]) -> int:
        steps = [self.found.steps[v] for node in region for v in node.inputs if v in self.found.steps]
        lengths = {self.found.lengths[step.source] for step in steps}
        if len(lengths) != 1:
            node = next(iter(region))
            raise node_error(str(node.name), node.op_type, f"it joins steps of different times ({sorted(lengths)}).")
        return lengths.pop()

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
        for node in reversed(self.nodes):
            self._move_asking(node, needed, packed)

    def _move_asking(self, node: ir.Node, needed: set[ir.Node], packed: set[ir.Value]) -> None:
        """Move what is asked of something held, back to what is handed on anyway, to the turn that reads it (1)."""
        turn, inside, rest = self.level[node.outputs[0]], {node}, [node]
        asks = False
        while rest:
            each = rest.pop()
            asks = asks or any(value in self.found.held for value in each.inputs)
            for value in each.inputs:
                made = value.producer() if value in self.level and value is not None else None
                if value not in self.level or value is None or made in inside:
                    continue
                readers = self._readers(value, needed)
                if self.level[value] == turn and any(self.level[reader.outputs[0]] > turn for reader in readers):
                    continue
                if self.level[value] != turn or made not in needed or made is None:
                    return
                inside.add(made)
                rest.append(made)
        outputs = {output for each in inside for output in each.outputs}
        readers = {reader for output in outputs for reader in self._readers(output, needed)} - inside
        following = min((self.level[reader.outputs[0]] for reader in readers), default=0)
        if asks and following > turn and not outputs & (packed | self.outside.keys()):
            self.level.update(dict.fromkeys(outputs, following))

    def _readers(self, value: ir.Value, needed: set[ir.Node]) -> set[ir.Node]:
        return {reader for reader, _ in value.uses() if reader in needed}

    def _handed_on(self, value: ir.Value, turn: int, needed: set[ir.Node]) -> bool:
        return any(self.level[reader.outputs[0]] > turn for reader, _ in value.uses() if reader in needed)

    def check_direction(self) -> None:
        """Refuse a loop that goes from later steps to earlier ones."""
        span = {value: (step.number, step.number) for value, step in self.found.steps.items()}
        for node in self.nodes:
            spans = [span[value] for value in node.inputs if value in span]
            one = next((first for first, last in spans if first == last), None)
            if one is not None and any(one < first < last for first, last in spans):
                raise node_error(
                    str(node.name), node.op_type, "it runs backward over time: its output depends on frames that have "
                    "not come yet. Train it forward, or run it over whole windows (--window).",
                )  # fmt: skip
            found = min(first for first, _ in spans), max(last for _, last in spans)
            span.update(dict.fromkeys(node.outputs, found))

    def _colours(self, rounds: int) -> dict[ir.Value, Colour]:
        """Return how every value is computed within its turn (2)."""
        names: dict[Hashable, int] = {}
        before: dict[ir.Value, Hashable] = {}
        for _ in range(rounds + 1):
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
        alike: Counter[tuple[int, Hashable]] = Counter()
        result = {}
        for value, colour in before.items():
            kind = self.level[value], colour
            result[value] = colour, alike[kind]
            alike[kind] += 1
        return result

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
        by_colour = {self.colour[node.outputs[0]]: node for node in self.turns[other]}
        pairs = {node: by_colour.get(self.colour[node.outputs[0]]) for node in self.turns[turn]}
        return {node: found for node, found in pairs.items() if found is not None}

    def _why(self, turn: int, other: int) -> UnlikeError:
        """Return what first differs between two turns."""
        pairs = self._corresponding(turn, other)
        unpaired = [node for node in self.turns[turn] if node not in pairs]
        for node in self.turns[other]:
            like = [each for each in unpaired if self.keys.op(each) == self.keys.op(node) and _alike(each, node)]
            if node not in pairs.values() and any(value.const_value is not None for value in _given(node)) and like:
                return UnlikeError.of(node, "its weights or constants are not the same at every step.")
        node = next(iter(unpaired), self.turns[turn][0])
        return UnlikeError.of(node, "it is not computed alike at every step.")

    def _leaving(self, loop: Loop) -> list[list[tuple[ir.Value, ir.Value]]]:
        """Return what leaves each turn, with the template's value of it (4)."""
        templates = {self.colour[v]: v for node in loop.nodes for v in node.outputs}
        templates |= {self.colour[v]: v for v, step in self.found.steps.items() if step.number == loop.turn}
        leaving: list[list[tuple[ir.Value, ir.Value]]] = [[] for _ in range(self.length)]
        for node, entries in self.packs.items():
            loop.packs[node] = entries[loop.turn]
            for turn, entry in enumerate(entries):
                leaving[turn].append((entry, entries[loop.turn]))
        for value in self._read_behind(templates):
            loop.last[value] = templates[self.colour[value]]
            leaving[-1].append((value, loop.last[value]))
        return leaving

    def _read_behind(self, templates: dict[Colour, ir.Value]) -> list[ir.Value]:
        """Return the values of the last turn that are read behind the loop (4)."""
        found: dict[ir.Value, None] = {}
        rest = [(value, readers[0] if readers else None) for value, readers in self.outside.items()]
        seen = set()
        while rest:
            value, reader = rest.pop()
            if value in seen or value not in self.level:  # what is no step is there behind the loop as it is
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


def _given(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None]


def _alike(node: ir.Node, other: ir.Node) -> bool:
    """Return whether two nodes have constants at the same places."""
    return [v.const_value is None for v in _given(node)] == [v.const_value is None for v in _given(other)]


def _size(values: Iterable[ir.Value]) -> int:
    return sum(math.prod(shape(value)) for value in values)
