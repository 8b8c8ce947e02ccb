"""An encoder that goes through its whole source, cut into a chain of parts, each of which has a form.

1. A part is a step over a sequence, forwards or backwards, or a whole, which runs once. A step takes the recurrences of
   one direction that it can, with what is made entry by entry around them. Where no recurrence can be next, a step
   takes convolutions, which slide over a sequence, or else a whole all that can be.
2. What a step gives that has no time, as a recurrence's last state, is known at its end: a later part reads it, or
   nothing but the decoder.
3. What one part gives another are numbers, each computed once. Masks, shapes and the like each part makes for itself.
"""

from __future__ import annotations

from collections.abc import Collection as Items

import onnx_ir as ir

from export.encoder_decoder import directions
from export.encoder_decoder import part as cutting
from export.encoder_decoder.part import Link
from export.encoder_decoder.times import Lengths, Times
from export.errors import ExportError, node_error
from export.graph import reads
from export.passes import recurrent


class Chain:
    """The parts of an encoder in order. Raises ExportError naming a recurrence that has no form as a step."""

    def __init__(self, times: Times) -> None:
        self.times = times
        graph = times.stream.graph
        self._recurrent = set(times.recurrences())
        self._ways = {node: times.steps(node) for node in graph}
        for node in graph:
            if node in self._recurrent and (directions.of(node) is None or self._ways[node] is None):
                raise node_error(str(node.name), node.op_type, _refusal(node))
        self._order = [node for node in graph if any(times.crosses(value) for value in node.outputs)]
        values = (*graph.inputs, *(value for node in graph for value in node.outputs))
        self._places = {value: place for place, value in enumerate(values)}
        self._needs = {node: self.own([node]) for node in self._order}
        self._sliding = {node for node in graph if times.slides(node)}
        self._done: set[ir.Node] = set()
        self.links: list[Link] = []
        while len(self._done) < len(self._order):
            link = self._step() or self._slide() or self._whole()
            self.links.append(link)
            self._done.update(link.nodes)
        if not all(self.crosses_from_a_step(value) for value in graph.outputs) and self.links[-1].direction:
            self.links.append(Link(()))

    def crosses_from_a_step(self, value: ir.Value) -> bool:
        """Return whether a value of the memory can be what a step gives."""
        return self.times.crosses(value) and value.producer() is not None

    def own(self, nodes: Items[ir.Node], leaving: Items[ir.Value] = ()) -> tuple[set[ir.Node], list[ir.Value]]:
        """Return what a part makes for itself beside its nodes, for them and for what leaves it; what it is given."""
        made: set[ir.Node] = set()
        given: dict[ir.Value, None] = {}
        within = set(nodes)
        waiting = [*(value for node in nodes for value in reads(node)), *leaving]
        while waiting:
            value = waiting.pop()
            node = value.producer()
            if self.times.crosses(value):
                given.update({} if node in within else {value: None})
            elif node is not None and node not in made | within:
                made.add(node)
                waiting += reads(node)
        return made, sorted(given, key=self._places.__getitem__)

    def _left(self) -> list[ir.Node]:
        return [node for node in self._order if node not in self._done]

    def _step(self) -> Link | None:
        """Return the step of the first recurrences that can be next, forwards if any can (1)."""
        for direction in (directions.FORWARDS, directions.BACKWARDS):
            for length in dict.fromkeys(self._ways[node] for node in self._left() if node in self._recurrent):
                able = self._able(direction, length)
                recurrent = self._recurrent & {*able}
                if not recurrent:
                    continue
                ended = self._ended(able)
                kept = self._around(able, recurrent) if ended is None else {*able, *ended}
                return Link(tuple(node for node in self._left() if node in kept), direction, length)
        return None

    def _able(self, direction: str, length: Lengths | None) -> list[ir.Node]:
        """Return all that a step can take of what is left."""
        able: dict[ir.Node, None] = {}
        for node in self._left():
            own, given = self._needs[node]
            turned = directions.of(node) if node in self._recurrent else None
            fits = self._ways[node] == length and turned in (None, direction)
            masks = all(self._ways[inner] in (length, None) and self._entrywise(inner) for inner in own)
            known = all(
                value.producer() in self._done
                or value.producer() is None
                or (value.producer() in able and value in self.times.lengths)
                for value in given
            )
            if fits and masks and known:
                able[node] = None
        return [*able]

    def _entrywise(self, node: ir.Node) -> bool:
        """Return whether what a part makes for itself is of each entry, or says shapes alone."""
        return self._ways[node] is not None or not any(value in self.times.on_data for value in node.outputs)

    def _around(self, able: list[ir.Node], recurrent: set[ir.Node]) -> set[ir.Node]:
        """Return recurrences, what hangs on them, and what these hang on."""
        kept = set(recurrent)
        for node in able:
            if any(value.producer() in kept for value in self._needs[node][1]):
                kept.add(node)
        for node in reversed(able):
            if any(node is value.producer() for later in kept for value in self._needs[later][1]):
                kept.add(node)
        return kept

    def _ended(self, able: list[ir.Node]) -> list[ir.Node] | None:
        """Return all else that is left where it is made of what has no time, and ends the chain with the step (2)."""
        ended: dict[ir.Node, None] = {}
        times = self.times
        for node in self._left():
            if node in able:
                continue
            own, given = self._needs[node]
            timed = [value for value in (*given, *node.outputs) if value in times.examples and times.grows(value)]
            known = all(value.producer() in {*self._done, *able, *ended, None} for value in given)
            if timed or not known or any(value in times.on_data for inner in own for value in inner.outputs):
                return None
            ended[node] = None
        return [*ended] if all(map(self.crosses_from_a_step, times.stream.graph.outputs)) else None

    def _slide(self) -> Link | None:
        """Return a step of the first convolutions that can be next, if they stream (1)."""
        graph, times = self.times.stream.graph, self.times
        for length in dict.fromkeys(times.lengths.values()):
            able: dict[ir.Node, None] = {}
            for node in self._left():
                own, given = self._needs[node]
                known = all(
                    value.producer() in able
                    if value.producer() not in {*self._done, None}
                    else times.lengths.get(value) == length
                    for value in given
                )
                entrywise = self._ways[node] is not None and node not in self._recurrent
                if known and (entrywise or node in self._sliding) and all(map(self._entrywise, own)):
                    able[node] = None
            sliding = self._sliding & {*able}
            if not sliding:
                continue
            kept = self._around([*able], sliding)
            link = Link(tuple(node for node in self._left() if node in kept), directions.FORWARDS, length, slides=True)
            leaving = [
                value
                for node in link.nodes
                for value in node.outputs
                if value in graph.outputs or any(user not in kept for user in value.consumers())
            ]
            if self._streams(link, leaving):
                return link
            self._sliding -= sliding
        return None

    def _streams(self, link: Link, leaving: list[ir.Value]) -> bool:
        """Return whether a part that slides is a step, which gives sequences of one length."""
        if len({self.times.lengths[value] for value in leaving}) > 1:
            return False
        try:
            cutting.made("part", self.times, link, self.own(link.nodes)[1], leaving)
        except ExportError:
            return False
        return True

    def _whole(self) -> Link:
        """Return all that can be computed at once, without what has a form as a step alone (1)."""
        taken: dict[ir.Node, None] = {}
        for node in self._left():
            given = self._needs[node][1]
            if node not in self._recurrent | self._sliding and all(
                v.producer() in {*self._done, *taken, None} for v in given
            ):
                taken[node] = None
        if not taken:
            stuck = self._left()[0]
            raise node_error(str(stuck.name), stuck.op_type, "what it reads comes behind it.")
        return Link(tuple(taken))


def _refusal(node: ir.Node) -> str:
    """Return why a recurrence has no form as a step."""
    lens = node.inputs[recurrent.SEQUENCE_LENS : recurrent.SEQUENCE_LENS + 1] if node.op_type in recurrent.OPS else ()
    if any(value is not None for value in lens):
        return (
            "how much of the source it goes through hangs on what the source holds. Take the length as an input of the "
            "model: it is then that of all frames, and the encoder has all variants."
        )
    return "it goes through the source in no way that a step does."
