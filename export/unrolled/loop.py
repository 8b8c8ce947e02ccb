"""Write a recognized loop as an ONNX Scan, and prove its first turns.

1. The body is the template. States come first, then the steps; what is read from several turns back goes from state to
   state.
2. Time is on axis 0 of what goes in and comes out, as every engine has it: Transpose stands around where it was not.
3. A value of the last turn is the last state, or the last row of what comes out.
4. The first turns were computed otherwise, where the exporter folded the initial state: the body, run in float64 on the
   original's first steps, must give what the original has there.
5. What is held the body reads from outside it, and a state may begin with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from export.frontends.doubles import evaluator
from export.graph import Array, constant_of, reads
from export.unrolled.compare import Loop, Slot, UnlikeError
from export.unrolled.steps import Step, Walk, shape

NEAR = 1e-5
"""Share of a value's size by which constants that were folded in float32 may depart from float64."""


@dataclass
class Body:
    """The graph of one turn. states: slots, chains included. sources: values whose steps it takes. leaving: outputs."""

    graph: ir.Graph
    states: list[Slot]
    sources: list[Step]
    leaving: list[ir.Value] = field(default_factory=list)


class _Writer:
    """Copies the template's nodes, values and constants into a graph of their own."""

    def __init__(self, loop: Loop, found: Walk, prefix: str) -> None:
        self.loop, self.found, self.prefix = loop, found, prefix
        self.made: dict[ir.Value, ir.Value] = {}
        self.graph = ir.Graph([], [], nodes=[], name=f"{prefix}.body", opset_imports=found.graph.opset_imports)
        self.states = [
            (value, number)
            for value in dict.fromkeys(value for value, _ in loop.slots)
            for number in range(1, max(back for slot, back in loop.slots if slot is value) + 1)
        ]
        self.entering = {slot: self._input(f"state{i}", slot[0], shape(slot[0])) for i, slot in enumerate(self.states)}
        self.sources: list[Step] = []
        self.numbers: dict[ir.Value, ir.Value] = {}
        self.taken: set[ir.Value] = set()

    def body(self) -> Body:
        wanted = [*self.loop.packs.values(), *self.loop.last.values(), *(value for value, _ in self.states)]
        steps = [v for v in (*(v for node in self.loop.nodes for v in node.inputs), *wanted) if v in self.found.steps]
        for value in dict.fromkeys(steps):
            if value is not None and value not in self.loop.meaning:
                self._step(value)
        for node in self.loop.nodes:
            copy = ir.Node(
                node.domain, node.op_type, [self._of(value) for value in node.inputs], list(node.attributes.values()),
                num_outputs=len(node.outputs), name=self._name(node.name),
            )  # fmt: skip
            for new, old in zip(copy.outputs, node.outputs, strict=True):
                new.name, new.shape, new.type = self._name(old.name), old.shape, old.type
                self.made[old] = new
            self.graph.append(copy)
        body = Body(self.graph, self.states, self.sources)
        for value, back in self.states:
            self._leave(self.made[value] if back == 1 else self.entering[value, back - 1])
        for node, value in self.loop.packs.items():
            self._leave(self._packed(node, value))
        for value in self.rows:
            self._leave(self.made[value])
        return body

    @property
    def rows(self) -> list[ir.Value]:
        """Values of the last turn that are no states: they leave at every turn."""
        states = {value for value, _ in self.states}
        values = dict.fromkeys(value for value in self.loop.last.values() if value not in states)
        return [value for value in values if value not in self.found.steps]

    def _packed(self, node: ir.Node, value: ir.Value) -> ir.Value:
        """Return the value without the axis along which the turns' values are joined, where it is of size 1."""
        axis = node.attributes["axis"].as_int() % len(shape(value))
        if shape(value)[axis] != 1:
            return self.made[value]
        producer = value.producer()
        if producer is not None and producer.op_type == "Unsqueeze" and producer in self.loop.nodes:
            axes = constant_of(producer.inputs[1])
            if axes is not None and [int(a) % len(shape(value)) for a in axes.reshape(-1)] == [axis]:
                return self._of(producer.inputs[0]) or self.made[value]
        rest = shape(value)[:axis] + shape(value)[axis + 1 :]
        return self._emit("Squeeze", self.made[value], np.array([axis], np.int64), rest)

    def _step(self, value: ir.Value) -> None:
        step = self.found.steps[value]
        rest = shape(step.source)[: step.axis] + shape(step.source)[step.axis + 1 :]
        if step.source not in self.numbers:
            self.numbers[step.source] = self._input(f"step{len(self.sources)}", step.source, rest)
            self.sources.append(step)
        entering = self.numbers[step.source]
        if step.kept:
            entering = self._emit("Unsqueeze", entering, np.array([step.axis], np.int64), shape(value))
        self.made[value] = entering

    def _of(self, value: ir.Value | None) -> ir.Value | None:
        if value is None or value in self.found.held:  # 5
            return value
        if value in self.loop.meaning:
            return self.entering[self.loop.meaning[value]]
        if value.const_value is not None and value not in self.made:
            name = self._name(value.name)
            self.made[value] = ir.Value(
                name=name,
                const_value=ir.tensor(value.const_value.numpy(), name=name),
                shape=value.shape,
                type=value.type,
            )
            self.graph.register_initializer(self.made[value])
        return self.made[value]

    def _emit(self, op_type: str, value: ir.Value, axes: Array, dims: tuple[int, ...]) -> ir.Value:
        name = self._name(f"{op_type.lower()}{len(list(self.graph))}")
        constant = ir.Value(name=f"{name}.axes", const_value=ir.tensor(axes, name=f"{name}.axes"))
        constant.shape, constant.dtype = ir.Shape(axes.shape), ir.DataType.INT64
        self.graph.register_initializer(constant)
        node = ir.node(op_type, [value, constant], name=name)
        node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = f"{name}.out", ir.Shape(dims), value.type
        self.graph.append(node)
        return node.outputs[0]

    def _leave(self, value: ir.Value) -> None:
        """Make a value an output; one that enters, or leaves already, does so under a second name."""
        if value in self.taken or value in self.graph.inputs:
            node = ir.node("Identity", [value], name=self._name(f"again{len(self.graph.outputs)}"))
            node.outputs[0].name, node.outputs[0].shape = f"{node.name}.out", value.shape
            node.outputs[0].type = value.type
            self.graph.append(node)
            value = node.outputs[0]
        self.taken.add(value)
        self.graph.outputs.append(value)

    def _input(self, name: str, like: ir.Value, dims: tuple[int, ...]) -> ir.Value:
        value = ir.Value(name=self._name(name), shape=ir.Shape(dims), type=like.type)
        self.graph.inputs.append(value)
        return value

    def _name(self, name: str | None) -> str:
        return f"{self.prefix}.{name}"


def insert(loop: Loop, found: Walk, number: int, truths: Mapping[str, Array]) -> None:
    """Put a Scan in the place of a loop's nodes. truths: the original's values in float64. Raises UnlikeError (4)."""
    writer = _Writer(loop, found, f"loop{number}")
    body = writer.body()
    try:
        _prove(loop, body, writer, found, truths)
    except UnlikeError:
        if not loop.initial:
            raise
        loop.initial.clear()  # a constant that only seemed to stand in a slot's place
        _prove(loop, body, writer, found, truths)
    graph, prefix = found.graph, writer.prefix
    emit = _emitter(graph, prefix)
    starts = [loop.start(slot) for slot in body.states]
    initial = [
        start if isinstance(start, ir.Value) else _constant(graph, f"{prefix}.initial{i}", start)
        for i, start in enumerate(starts)
    ]
    inputs = [*initial, *(_time_first(emit, step) for step in body.sources)]  # 2
    scan = ir.Node(
        "", "Scan", inputs,
        [ir.AttrGraph("body", body.graph), ir.AttrInt64("num_scan_inputs", len(body.sources))],
        num_outputs=len(body.graph.outputs), name=prefix,
    )  # fmt: skip
    for place, (outer, inner) in enumerate(zip(scan.outputs, body.graph.outputs, strict=True)):
        dims = tuple(inner.shape or ()) if place < len(body.states) else (loop.length, *(inner.shape or ()))
        outer.name, outer.shape, outer.type = f"{prefix}.out{place}", ir.Shape(dims), inner.type
    graph.append(scan)
    rows = iter(scan.outputs[len(body.states) :])
    for node, value in loop.packs.items():
        _replace(node.outputs[0], _joined(emit, next(rows), node.attributes["axis"].as_int(), value))
    taken = {value: next(rows) for value in writer.rows}
    for value, template in loop.last.items():
        if (template, 1) in body.states:
            last = scan.outputs[body.states.index((template, 1))]  # 3
        elif template in taken:
            last = emit("Gather", [taken[template], np.array(-1, np.int64)], shape(value), axis=0)
        else:
            step = found.steps[value]
            index = np.array([-1] if step.kept else -1, np.int64)
            last = emit("Gather", [step.source, index], shape(value), axis=step.axis)
        _replace(value, last, but=scan)


def _time_first(emit: Callable[..., ir.Value], step: Step) -> ir.Value:
    if step.axis == 0:
        return step.source
    dims = shape(step.source)
    perm = [step.axis, *(axis for axis in range(len(dims)) if axis != step.axis)]
    return emit("Transpose", [step.source], tuple(dims[axis] for axis in perm), perm=perm)


def _joined(emit: Callable[..., ir.Value], rows: ir.Value, axis: int, value: ir.Value) -> ir.Value:
    """Return what comes out at all turns as the concatenation along an axis that it was."""
    dims = shape(rows)
    axis %= len(shape(value))
    if axis:
        perm = [*range(1, axis + 1), 0, *range(axis + 1, len(dims))]
        rows = emit("Transpose", [rows], tuple(dims[place] for place in perm), perm=perm)  # 2
    if len(dims) == len(shape(value)):
        return rows
    joined = list(shape(value))
    joined[axis] = -1
    whole = (*joined[:axis], dims[0] * shape(value)[axis], *joined[axis + 1 :])
    return emit("Reshape", [rows, np.array(joined, np.int64)], whole)


def _emitter(graph: ir.Graph, prefix: str) -> Callable[..., ir.Value]:
    count = iter(range(1 << 30))

    def emit(op_type: str, inputs: list[ir.Value | Array], dims: tuple[int, ...], **attributes: Any) -> ir.Value:
        name = f"{prefix}.{op_type.lower()}{next(count)}"
        given = [v if isinstance(v, ir.Value) else _constant(graph, f"{name}.constant", v) for v in inputs]
        node = ir.node(op_type, given, attributes=attributes, name=name)
        first = next(value for value in given if value.const_value is None)
        node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = f"{name}.out", ir.Shape(dims), first.type
        graph.append(node)
        return node.outputs[0]

    return emit


def _constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name), shape=ir.Shape(array.shape))
    value.dtype = ir.DataType.from_numpy(array.dtype)
    graph.register_initializer(value)
    return value


def _replace(old: ir.Value, new: ir.Value, but: ir.Node | None = None) -> None:
    """Let all that read one value read another, under the same name where it is an output."""
    for node, index in list(old.uses()):
        if node is not but:
            node.replace_input_with(index, new)
    if old.is_graph_output() and old.graph is not None:
        outputs = old.graph.outputs
        name, old.name = old.name, f"{old.name}.unrolled"
        if new.is_graph_output() or new.name in {value.name for value in outputs}:
            again = ir.node("Identity", [new], name=f"{name}.again")
            again.outputs[0].shape, again.outputs[0].type = new.shape, new.type
            old.graph.append(again)
            new = again.outputs[0]
        new.name = name
        outputs[list(outputs).index(old)] = new


def _prove(loop: Loop, body: Body, writer: _Writer, found: Walk, truths: Mapping[str, Array]) -> None:
    """Run the body in float64 over the first turns and compare (4)."""
    held = {str(value.name): value for node in body.graph for value in reads(node) if value in found.held}
    model = ir.to_proto(ir.Model(body.graph, ir_version=10))
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, int(value.dtype or 1), None) for name, value in held.items()
    )
    engine = evaluator(model)
    steps = {(step.source, step.number): value for value, step in found.steps.items()}
    states: list[Any] = [
        array.astype(np.float64) if array.dtype.kind == "f" else array
        for array in (
            truths[str(start.name)] if isinstance(start, ir.Value) else start
            for start in (loop.start(slot) for slot in body.states)
        )
    ]
    names = [str(value.name) for value in body.graph.inputs]
    watched = [value for value, back in body.states if back == 1] + [*loop.packs.values(), *loop.last.values()]
    for turn, first in enumerate(loop.first):
        feeds = []
        for source in body.sources:
            value = steps[source.source, turn]
            rest = np.squeeze(truths[str(value.name)], found.steps[value].axis) if found.steps[value].kept else None
            feeds.append(truths[str(value.name)] if rest is None else rest)
        inner = [str(writer.made[value].name) for value in watched]
        leaving = [str(value.name) for value in body.graph.outputs[: len(states)]]
        given: Any = engine.run(
            [*leaving, *inner],
            dict(zip(names, [*states, *feeds], strict=True)) | {name: truths[name] for name in held},
        )
        states = given[: len(states)]
        for value, content in zip(watched, given[len(states) :], strict=True):
            if value not in first:
                continue
            expected = truths[str(first[value].name)]
            apart = np.abs(content - expected).max(initial=0)
            if not apart <= NEAR * max(1.0, float(np.abs(expected).max(initial=0))):
                raise UnlikeError.of(
                    first[value].producer(),
                    f"step {turn} is not computed as those after it are: from no constant state known does the loop "
                    f"give its value ({apart:.2g} apart).",
                )
