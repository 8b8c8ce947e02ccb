"""An encoder-decoder's graph in two: what hangs on the source alone is the encoder, the rest is the decoder.

The cut is laid as late as it goes: everything the target has no part in is computed once a source, keys and values of
cross-attention included. What crosses it, the encoder gives and the decoder takes as it is: the memory. Only what says
the shape of something that crosses is left to the decoder, which can see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from export.encoder_decoder import unpadded
from export.errors import ExportError
from export.graph import Array, Input, StreamGraph, bodies, probe, reads
from export.passes import clean

SOURCES = (37, 54)
"""Source lengths at which the memory is looked at; where they fail, shorter ones. One is odd and one even: of two odd
ones, what drops a half pair looks as if it dropped the last entry."""
SHORT_SOURCES = (7, 12)


@dataclass(frozen=True)
class Held:
    """One value of the memory, as the encoder gives it for two sources of different lengths.

    axes: those that grow with the source.
    """

    name: str
    examples: tuple[Array, Array]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape for the shorter source."""
        return self.examples[0].shape

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes along which it grows with the source."""
        short, long = (example.shape for example in self.examples)
        return tuple(axis for axis, (a, b) in enumerate(zip(short, long, strict=True)) if a != b)

    def describe(self, value: ir.Value) -> None:
        """Write shape and type down."""
        short = self.examples[0]
        value.shape = ir.Shape(["source" if axis in self.axes else dim for axis, dim in enumerate(short.shape)])
        value.type = ir.TensorType(ir.DataType.from_numpy(short.dtype))


@dataclass(frozen=True)
class Halves:
    """Encoder: source → memory. Decoder: target and memory → output. lengths: of the sources that gave the examples."""

    encoder: ir.Model
    decoder: ir.Model
    memory: tuple[Held, ...]
    lengths: tuple[int, int]


def split(model: onnx.ModelProto, source: Input, target: Input) -> Halves:
    """Split a model. Raises ExportError where no part of it hangs on the source."""
    # The passes' first one brings composite ops, functions and constants into the form in which they are told apart.
    whole = StreamGraph(ir.from_proto(model), (source, target))
    clean.apply(whole)
    unpadded.apply(whole, source, target)
    graph = whole.graph
    behind_target = _behind(graph, target.name)
    behind_source = _behind(graph, source.name) - behind_target
    reading = [node for node in graph if any(value.name in behind_target for value in node.outputs)]
    crossing = {value.name for node in reading for value in reads(node)} & (behind_source | {source.name})
    if not crossing:
        raise ExportError(f"nothing behind '{target.name}' reads '{source.name}': they are no encoder and decoder.")
    crossing -= _shapes(graph, crossing)
    names = [str(value.name) for value in _values(graph) if value.name in crossing]
    memory, lengths = _memory(whole, source, target, names)
    for held in memory:
        held.describe(next(value for value in _values(graph) if value.name == held.name))
    encoder = cut(whole.model, [source.name], names)
    decoder = cut(whole.model, [target.name, *names], [str(value.name) for value in graph.outputs])
    return Halves(encoder, decoder, memory, lengths)


def _behind(graph: ir.Graph, name: str) -> set[str | None]:
    """Return the names of all values that hang on an input, or on its length alone."""
    found: set[str | None] = {name}
    for node in graph:
        if any(value.name in found for value in reads(node)):
            found.update(value.name for value in node.outputs)
    return found - {name}


def _shapes(graph: ir.Graph, crossing: set[str | None]) -> set[str | None]:
    """Return what only says the shape of something else that crosses, and constants."""
    told: set[str | None] = set()
    for node in graph:
        of_shape = node.op_type in ("Shape", "Size") and any(value.name in crossing - told for value in reads(node))
        told |= {v.name for v in node.outputs} if of_shape else set()
        if told & {v.name for v in reads(node)} and all(
            v.name in told or v.const_value is not None for v in reads(node)
        ):
            told |= {value.name for value in node.outputs}
    return told & crossing


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _memory(
    whole: StreamGraph, source: Input, target: Input, names: list[str]
) -> tuple[tuple[Held, ...], tuple[int, int]]:
    """Look at the memory for sources of two lengths; return them, too."""
    values = [value for value in _values(whole.graph) if value.name in names and value.name != source.name]
    for lengths in (SOURCES, SHORT_SOURCES):
        try:
            found = [_held_by(whole, source, target, values, length) for length in lengths]
        except ExportError:
            if lengths == SHORT_SOURCES:
                raise
            continue
        break
    return tuple(Held(name, (found[0][name], found[1][name])) for name in names), lengths


def _held_by(
    whole: StreamGraph, source: Input, target: Input, values: list[ir.Value], length: int
) -> Mapping[str, Array]:
    given = source.noise(length)
    return {source.name: given, **probe(whole.model, {source.name: given, target.name: target.noise(5)}, values)}


def cut(model: ir.Model, entering: list[str], leaving: list[str]) -> ir.Model:
    """Return the part of a model between some of its values, an input of the whole among them or not."""
    part = model.clone()
    graph = part.graph
    values = {str(value.name): value for value in _values(graph)}
    graph.outputs.clear()  # what enters a part may leave the whole as it is
    inputs = []
    for name in entering:
        old = values[name]
        new = ir.Value(name=name, shape=old.shape, type=old.type)
        old.name = None if old.producer() is None else f"{name}.cut"
        old.replace_all_uses_with(new)
        inputs.append(new)
    outputs = [next(value for value in inputs if value.name == n) if n in entering else values[n] for n in leaving]
    for place, output in enumerate(outputs):
        if output in inputs:  # the source itself is part of the memory
            node = ir.node("Identity", [output])
            node.outputs[0].name = f"{output.name}.held"
            node.outputs[0].shape, node.outputs[0].type = output.shape, output.type
            graph.append(node)
            outputs[place] = node.outputs[0]
    graph.inputs[:] = inputs
    graph.outputs[:] = outputs
    _drop_unneeded(graph)
    common.RemoveUnusedNodesPass()(part)
    return part


def _drop_unneeded(graph: ir.Graph) -> None:
    """Take out what no output leans on; what a loop's body reads from outside would else stay for the body's sake."""
    needed: set[ir.Node | None] = {None}
    rest = [value.producer() for value in graph.outputs]
    while rest:
        node = rest.pop()
        if node is not None and node not in needed:
            needed.add(node)
            rest.extend(value.producer() for value in reads(node))
    dropped = [node for node in graph if node not in needed]
    for inner in (inner for node in dropped for body in bodies(node) for inner in body.all_nodes()):
        for place in range(len(inner.inputs)):
            inner.replace_input_with(place, None)
    graph.remove(dropped, safe=True)
