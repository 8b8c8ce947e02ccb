"""An encoder as what can be made of it: one step, a chain of parts, or a whole.

1. An encoder that steps through the source as it comes is one part.
2. One that holds a recurrence, or convolutions, and is no step is a chain of parts (see chain.py): `encoder-1`,
   `encoder-2` … and, the last of them, `encoder`. A part that goes backwards is a step over sequences turned round.
3. Any other is a whole: it runs once. So is one whose recurrences have no form as steps; that has no integer form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import onnx_ir as ir

from edgeseq.bundle import Graph, HeldTable, Tensor
from export import passes, variants
from export.encoder_decoder import directions, times, turns
from export.encoder_decoder import part as cutting
from export.encoder_decoder.chain import Chain
from export.encoder_decoder.part import Part
from export.encoder_decoder.split import Halves
from export.errors import ExportError
from export.graph import Array, Input, StreamGraph
from export.passes import clean, loops

NAME = "encoder"
Examples = Mapping[str, tuple[Array, Array]]


@dataclass(frozen=True)
class Encoder:
    """Its parts in order. model: computes all that they take and give; examples: of these, for sources of two lengths.

    memory: what it gives the decoder, by the names that this has in the encoder. reason: why it is no step; None where
    it is one.
    """

    parts: tuple[Part, ...]
    model: ir.Model
    memory: tuple[str, ...]
    examples: Examples
    reason: str | None

    @property
    def notes(self) -> list[str]:
        """What is to be told of it."""
        if self.reason is None:
            return ["the encoder steps through the source as it comes", *self.parts[0].stream.notes]
        if len(self.parts) == 1 and self.parts[0].whole:
            return [f"the encoder runs once over the whole source, since it is no step: {self.reason}"]
        count = f"in {len(self.parts)} parts, one after another" if len(self.parts) > 1 else "backwards"
        why = self.reason.partition(". ")[0]  # what would stream instead is not called for
        told = [f"the encoder goes through the source {count}, since it is no step: {why}"]
        return [*told, *(f"{part.name}: {note}" for part in self.parts for note in part.stream.notes)]

    def long_enough(self, source: Input, length: int) -> bool:
        """Return whether all sequences within have an entry: over none, ONNX Runtime's GRU ends the process."""
        first, other = (example.shape[source.time_axis] for example in self.examples[source.name])
        share = (length - first) / (other - first)
        pairs = ((one.shape, two.shape) for one, two in self.examples.values())
        return all(a + share * (b - a) >= 1 for one, two in pairs for a, b in zip(one, two, strict=True) if a != b)

    def describe(self, source: Input) -> list[Graph]:
        """Return the parts' descriptions."""
        graphs: list[Graph] = []
        known: dict[str, tuple[str, str]] = {}
        for part in self.parts:
            graph = _described(part, source, self.examples, known)
            known |= {name: (part.name, tensor.name) for name, tensor in zip(part.gives, graph.outputs, strict=True)}
            graphs.append(graph)
        return graphs


def made(halves: Halves, source: Input) -> Encoder:
    """Return an encoder in the form that it has."""
    memory = tuple(str(value.name) for value in halves.encoder.graph.outputs)
    short, long = (source.noise(length) for length in halves.lengths)
    examples = {name: held.examples for name, held in zip(memory, halves.memory, strict=True)}
    examples[source.name] = short, long
    step = _step(halves, source)
    if not isinstance(step, str):
        return Encoder((Part(NAME, step, halves.encoder, memory),), halves.encoder, memory, examples, None)  # 1
    try:
        parts = _chain(halves, source, step)
    except ExportError as cause:
        step = step if str(cause) == step else f"{step}; in parts, {cause}"
    else:
        if parts is not None:
            return parts  # 2
    stream = StreamGraph(halves.encoder.clone(), (), held={source.name: (short, long)})
    return Encoder((Part(NAME, stream, halves.encoder, memory),), halves.encoder, memory, examples, step)  # 3


def _step(halves: Halves, source: Input) -> StreamGraph | str:
    """Return the encoder as a step, or why it is none."""
    if any(len(held.axes) > 1 or held.examples[0].dtype != np.float32 for held in halves.memory):
        return "what it gives is no sequence of numbers along the source"
    stream = StreamGraph(halves.encoder.clone(), (source,))
    try:
        passes.rewrite(stream)
    except ExportError as cause:
        return str(cause)
    return stream


def _chain(halves: Halves, source: Input, reason: str) -> Encoder | None:
    """Return the encoder in parts, None where it holds no recurrence over the source (2)."""
    stream = StreamGraph(halves.encoder.clone(), (source,))
    clean.apply(stream)
    loops.apply(stream)
    directions.apart(stream)
    seen = times.seen(stream, halves.lengths)
    if turns.straighten(seen):
        seen = times.seen(stream, halves.lengths)
    if not seen.recurrences() and not any(map(seen.slides, seen.stream.graph)):
        return None
    chain = Chain(seen)
    if [link.direction for link in chain.links] == [None]:
        return None
    leaving = _leaving(chain)
    count = len(chain.links)
    parts = tuple(
        cutting.made(f"{NAME}-{place}" if place < count else NAME, seen, link, chain.own(link.nodes, gives)[1], gives)
        for place, (link, gives) in enumerate(zip(chain.links, leaving, strict=True), 1)
    )
    model = seen.stream.model.clone()
    values = {value.name: value for value in _values(model)}
    given = dict.fromkeys(name for part in parts for name in part.gives)
    model.graph.outputs.extend(values[name] for name in given if not values[name].is_graph_output())
    memory = tuple(str(value.name) for value in seen.stream.graph.outputs)
    examples = {str(value.name): pair for value, pair in seen.examples.items()}
    return Encoder(parts, model, memory, examples, reason)


def _leaving(chain: Chain) -> list[list[ir.Value]]:
    """Return what each part gives: to later ones, and to the decoder, which takes the rest of the last part."""
    outputs = [*chain.times.stream.graph.outputs]
    maker = {node: place for place, link in enumerate(chain.links) for node in link.nodes}
    leaving: list[dict[ir.Value, None]] = [{} for _ in chain.links]
    for value in outputs:
        place = maker.get(value.producer(), -1) if chain.crosses_from_a_step(value) else -1  # type: ignore[arg-type]
        leaving[place][value] = None
    for place, link in enumerate(chain.links):
        for value in chain.own(link.nodes, [*leaving[place]])[1]:
            producer = value.producer()
            if producer is not None:
                leaving[maker[producer]][value] = None
    return [[*values] for values in leaving]


def _values(model: ir.Model) -> list[ir.Value]:
    return [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]


def _described(part: Part, source: Input, examples: Examples, known: Mapping[str, tuple[str, str]]) -> Graph:
    """Return a part's description. known: what parts before it give: their names and the outputs'."""
    graph = variants.describe(part.stream, part.name)
    held = []
    entering = {value.name for value in part.stream.graph.inputs}
    begin = {state.held for state in part.stream.states}
    for name in part.stream.held:
        if name in known and (name in entering or name in begin):
            short, long = examples[name]
            before, output = known[name]
            shape = [-1 if a != b else a for a, b in zip(short.shape, long.shape, strict=True)]
            held.append(
                HeldTable(
                    name=name, part=before, output=output, shape=shape, dtype=str(short.dtype), enters=name in entering,
                )
            )  # fmt: skip
    inputs = [
        msgspec.structs.replace(tensor, part=known[tensor.name][0], output=known[tensor.name][1])
        if tensor.name in known
        else tensor
        for tensor in graph.inputs
    ]
    if not part.whole:
        return msgspec.structs.replace(graph, inputs=inputs, held=held, backwards=part.backwards)
    if source.name in part.stream.held:
        tensor = Tensor(
            name=source.name, shape=source.shaped(1), dtype=source.dtype, time_axis=source.time_axis,
            tokens=source.tokens,
        )  # fmt: skip
        inputs = [tensor]
    outputs = [
        Tensor(name=tensor.name, shape=[1 if a != b else a for a, b in zip(*_shapes(examples[name]), strict=True)])
        for tensor, name in zip(graph.outputs, part.gives, strict=True)
    ]
    return Graph(name=part.name, inputs=inputs, outputs=outputs, states=[], whole=True, held=held)


def _shapes(pair: tuple[Array, Array]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return pair[0].shape, pair[1].shape
