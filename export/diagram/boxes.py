"""A graph as boxes: each one operator that weighs, or several light ones that hang on the same.

1. Constants, and what is made of constants or of sizes alone, are not drawn.
2. What only changes shapes goes into a box nearby, or goes.
3. Light operators join the box they hang on, if they read nothing that it does not read itself; so a layer norm is one
   box. Where a way around an operator that weighs meets it again, as in a residual's Add, another one begins.
4. An operator that works over time begins a box of its own.
5. Counters of steps are one state, the clock, with all that is made of them alone.
6. A state that the clock sets anew is drawn as the state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from export.errors import ExportError
from export.frontends import EncoderDecoder, Sequence
from export.graph import StreamGraph, constant_of, integer, ints, reads, sizes
from export.passes import clean, pairs, time_axis

SHAPES = {"Shape", "Size"}
QUIET = {"Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
QUIET |= {"Transpose", "Unsqueeze"}
RECURRENT = {"GRU", "LSTM", "RNN", "Scan", "Loop", "CumSum"}
PRODUCTS = {"MatMul", "Gemm", "Einsum"}
CONVOLUTIONS = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"}
HEAVY = {"GRU", "LSTM", "RNN", "Scan", "Loop", "If", *PRODUCTS, *CONVOLUTIONS}
NAMED = 4
"""Light operators of a box that are named."""


@dataclass
class Box:
    """head: the operator that weighs, in words; light: the others by their types; over_time: it works over time."""

    head: list[str] = field(default_factory=list)
    light: list[str] = field(default_factory=list)
    quiet: list[str] = field(default_factory=list)
    over_time: bool = False

    @property
    def lines(self) -> list[str]:
        """What is written in the box."""
        light = list(dict.fromkeys(self.light or ([] if self.head else self.quiet)))
        more = [f"{len(light) - NAMED} more"] if len(light) > NAMED else []
        return [*self.head, *([", ".join([*light[:NAMED], *more])] if light else [])]


@dataclass
class Source:
    """What enters or leaves: a shape by its kind, with its lines."""

    kind: str
    lines: list[str]


@dataclass
class Drawing:
    """Boxes in the order in which they run, sources by key, and edges between keys: a box's is its number.

    blocks: runs of boxes that are drawn once for so many times (first, length, count).
    """

    boxes: dict[int, Box] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    edges: dict[tuple[int | str, int | str], None] = field(default_factory=dict)
    blocks: list[tuple[int, int, int]] = field(default_factory=list)

    def link(self, start: int | str, end: int | str) -> None:
        """Add an edge, once."""
        self.edges[start, end] = None

    def before(self, key: int) -> set[int]:
        """Return the boxes whose edges lead into a box."""
        return {start for start, end in self.edges if end == key and isinstance(start, int)}


def as_trained(model: Sequence | EncoderDecoder) -> Drawing:
    """Draw a model as it was trained: its graph as read, once it is clean."""
    stream = StreamGraph(ir.from_proto(model.model), tuple(model.inputs))
    clean.apply(stream)
    if isinstance(model, Sequence):
        try:
            time_axis.apply(stream)
            pairs.apply(stream)
        except ExportError:
            pass  # a window's model need not stream: what is known of its times is drawn
    over_time = {node for node in stream.graph if _over_time(stream, node)}
    entering = {
        value: Source("input", [str(value.name), _frame(entry.shape, tokens=entry.dtype == "int64")])
        for value, entry in zip(stream.inputs, stream.frames, strict=True)
    }
    return _draw(stream.graph, entering, {}, over_time)


def whole(model: ir.Model) -> Drawing:
    """Draw an encoder that runs over its whole source."""
    stream = StreamGraph(model, ())
    over_time = {node for node in model.graph if _over_time(stream, node)}
    entering = {value: Source("input", [str(value.name), _size(value.shape or ())]) for value in model.graph.inputs}
    return _draw(model.graph, entering, {}, over_time)


def as_step(stream: StreamGraph) -> Drawing:
    """Draw a step, with its states."""
    states = {state.input: state.output for state in stream.states}
    entering: dict[ir.Value, Source] = {}
    clock = Source("clock", ["clock"])
    for value in stream.graph.inputs:
        state = next((state for state in stream.states if state.input is value), None)
        if state is not None and np.issubdtype(state.initial.dtype, np.integer) and state.initial.size == 1:
            entering[value] = clock
        elif state is not None:
            entering[value] = Source("state", [state.name, _size(state.initial.shape)])
        else:
            kind = "held" if value.name in stream.held else "input"
            tokens = kind == "input" and value.dtype == ir.DataType.INT64
            entering[value] = Source(kind, [str(value.name), _frame(value.shape or (), tokens=tokens)])
    return _draw(stream.graph, entering, states, set())


def _size(shape: Iterable[object]) -> str:
    """Say a shape without its ones."""
    kept = ["time" if dim == -1 or not isinstance(dim, int) else str(dim) for dim in shape if dim != 1]
    return " × ".join(kept) or "1"


def _frame(shape: Iterable[object], *, tokens: bool) -> str:
    """Say the shape of what enters, in tokens where it is made of them."""
    size = _size(shape)
    return f"{size} token{'s' * (size != '1')}" if tokens else size


def _over_time(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether what a node gives at one time hangs on other times, as far as that is known of it."""
    if node.op_type in RECURRENT or any(value in stream.pairs for value in (*node.inputs, *node.outputs)):
        return True
    timed = [value for value in node.inputs if value in stream.time]
    if not stream.time and node.op_type in PRODUCTS:
        return all(constant_of(value) is None for value in node.inputs[:2])  # attention, mostly
    if node.op_type in CONVOLUTIONS:
        return any(number > 1 for number in _along_time(node, stream.time[timed[0]] - 2 if timed else None))
    given = [value for value in node.outputs if value in stream.time]
    if not timed:
        return False
    return not given or stream.lengths.get(timed[0]) != stream.lengths.get(given[0])


def _along_time(node: ir.Node, place: int | None) -> tuple[int, ...]:
    """Return a convolution's kernel and stride along the time axis, or along all axes where that is not known.

    place: of the time axis among those that the kernel runs along; it is none of them where time stands for a batch.
    """
    numbers = [_kernel(node), ints(node, "strides")]
    if place is None:
        return sum(numbers, ())
    return tuple(each[place] for each in numbers if 0 <= place < len(each))


class _Sorter:
    """Puts nodes into boxes, one after another."""

    def __init__(self, entering: dict[ir.Value, Source], over_time: set[ir.Node]) -> None:
        self.over_time, self.entering = over_time, entering
        self.boxes: dict[int, Box] = {}
        self.reads: dict[int, set[int | ir.Value]] = {}
        self.made: dict[ir.Value, int | ir.Value] = {value: value for value in entering}

    def put(self, node: ir.Node) -> None:
        """Find a node's box, or make it one."""
        if node.op_type in SHAPES:
            return
        read = {self.made[value] for value in reads(node) if value in self.made}
        if not read:
            return  # 1
        if all(self._is("clock", each) for each in read):
            self.made.update(dict.fromkeys(node.outputs, next(iter(read))))  # 5
            return
        held = [each for each in read if not self._is("clock", each)]
        if node.op_type == "Where" and len(held) == 1 and self._is("state", held[0]):
            self.made.update(dict.fromkeys(node.outputs, held[0]))  # 6
            return
        timed = node in self.over_time or any(self._is("state", each) for each in read)
        table = node.op_type == "Gather" and constant_of(node.inputs[0]) is not None
        heavy = node.op_type in HEAVY or table
        quiet = node.op_type in QUIET and not heavy and not self._chooses(node) and not self._joins(node)
        key = next(
            (key for key in sorted(_boxes(read), reverse=True) if self._open(key, read, heavy, quiet, timed)), None
        )
        if key is None:
            key = len(self.boxes)
            self.boxes[key], self.reads[key] = Box(), set()
        box = self.boxes[key]
        self.reads[key] |= read - {key}
        box.over_time |= timed
        if heavy:
            box.head = _told(node)
        else:
            (box.quiet if quiet else box.light).append(node.op_type)
        self.made.update(dict.fromkeys(node.outputs, key))

    def _open(self, key: int, read: set[int | ir.Value], heavy: bool, quiet: bool, timed: bool) -> bool:  # noqa: FBT001
        """Return whether a node may join a box."""
        box = self.boxes[key]
        others = {each for each in read - {key} if not self._is("clock", each)}
        others -= {each for each in self.reads[key] if self._is("state", each)}
        if heavy:
            return not box.head and not box.light and not others  # 2
        if others and (box.head or not others <= self.reads[key]):
            return False  # 3
        return quiet or box.over_time == timed or bool(box.over_time and box.head)  # 2, 4

    def _chooses(self, node: ir.Node) -> bool:
        """Return whether a node that only changes shapes picks one of several times."""
        return node in self.over_time

    def _joins(self, node: ir.Node) -> bool:
        """Return whether a Concat joins what comes from several places; with a state it is a memory."""
        read = {self.made[value] for value in node.inputs if value in self.made}
        return node.op_type == "Concat" and len([each for each in read if not self._is("state", each)]) > 1

    def _is(self, kind: str, read: int | ir.Value) -> bool:
        return not isinstance(read, int) and self.entering[read].kind == kind


def _boxes(read: Iterable[int | ir.Value]) -> list[int]:
    return [key for key in read if isinstance(key, int)]


def _draw(
    graph: ir.Graph, entering: dict[ir.Value, Source], states: dict[ir.Value, ir.Value], over_time: set[ir.Node]
) -> Drawing:
    sorter = _Sorter(entering, over_time)
    for node in graph:
        sorter.put(node)
    stands_for = _without_quiet(sorter, states)
    shown = [key for key in sorter.boxes if key not in stands_for]
    places = {key: place for place, key in enumerate(shown)}
    names = {
        value: "clock" if source.kind == "clock" else f"{source.kind}{number}"
        for number, (value, source) in enumerate(entering.items())
    }
    drawing = Drawing({places[key]: sorter.boxes[key] for key in shown})
    drawing.sources = {names[value]: source for value, source in entering.items()}

    def key_of(made: int | ir.Value) -> int | str:
        while isinstance(made, int) and made in stands_for:
            made = stands_for[made]
        return places[made] if isinstance(made, int) else names[made]

    for key in shown:
        for start in sorted((key_of(read) for read in sorter.reads[key]), key=str):
            drawing.link(start, places[key])
    for value, leaving in states.items():
        if leaving in sorter.made and leaving is not value and entering[value].kind == "state":
            drawing.link(key_of(sorter.made[leaving]), names[value])
    outputs = [value for value in graph.outputs if value not in set(states.values())]
    for number, output in enumerate(outputs):
        drawing.sources[f"output{number}"] = Source("output", [str(output.name), _size(output.shape or ())])
        if output in sorter.made:
            drawing.link(key_of(sorter.made[output]), f"output{number}")
    return drawing


def _without_quiet(sorter: _Sorter, states: dict[ir.Value, ir.Value]) -> dict[int, int | ir.Value]:
    """Return the boxes that only change shapes, and what stands for each."""  # 2
    leaving = {sorter.made.get(value) for value in states.values()}
    return {
        key: next(iter(read))
        for key, read in sorter.reads.items()
        if not sorter.boxes[key].head
        and not sorter.boxes[key].light
        and len(read) == 1
        and key not in leaving
        and next(iter(read)) not in states
    }


def _told(node: ir.Node) -> list[str]:
    """Say what an operator is and how large."""
    op = node.op_type
    if op == "Gather":
        table = sizes(node.inputs[0])
        return [f"Embedding {table[0]} → {table[-1] if len(table) > 1 else 1}"]
    if op in CONVOLUTIONS:
        groups = integer(node, "group", 1)
        channels = ""
        if len(node.inputs) > 1:
            first, second, *_ = sizes(node.inputs[1])
            before, after = (second, first) if op == "Conv" else (first, second)
            channels = f" {before * groups} → {after}" if op == "Conv" else f" {before} → {after * groups}"
        details = [
            f"kernel {_by(_kernel(node))}",
            *(f"{word} {_by(ints(node, name))}" for word, name in (("stride", "strides"), ("dilation", "dilations"))
              if any(number > 1 for number in ints(node, name))),
            *([f"groups {groups}"] if groups > 1 else []),
        ]  # fmt: skip
        return [f"{op}{channels}", ", ".join(details)]
    weight = sizes(node.inputs[1]) if len(node.inputs) > 1 and constant_of(node.inputs[1]) is not None else []
    if op in ("GRU", "LSTM", "RNN") and weight:
        two = node.attributes.get("direction")
        way = f", {two.as_string()}" if two and two.as_string() != "forward" else ""
        return [f"{op} {weight[-1]} → {integer(node, 'hidden_size', 0)}{way}"]
    if op in PRODUCTS and len(weight) > 1:
        turned = op == "Gemm" and integer(node, "transB", 0)
        rows, columns = weight[-2:][::-1] if turned else weight[-2:]
        return [f"{op} {rows} → {columns}"]
    return [op]


def _kernel(node: ir.Node) -> tuple[int, ...]:
    return ints(node, "kernel_shape") or tuple(sizes(node.inputs[1])[2:] if len(node.inputs) > 1 else ())


def _by(numbers: Iterable[int]) -> str:
    return " × ".join(map(str, numbers))
