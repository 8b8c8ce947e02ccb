"""Find the single steps that a graph of fixed length takes out of time, and set free what does not need them.

The graph is walked once, in order. What time does to a value is seen by running each node alone, at the fixed length
and at a longer one; no op is matched but those that take steps out or hold the length as a number:

1. A value that grew along an axis has its time there.
2. Gather, Slice and Split may take single steps out of it. Where nearly all steps are taken out one by one, the time
   was unrolled: the values that depend on them are steps, and not walked further here.
3. Where only the last step is taken, by its number, it is taken by counting from the end.
4. Reshape, Expand and Slice that hold the length as a number get one that does not: Reshape, by which element lies
   where; the others, since they meant the whole axis, or of a padded one as many steps as there are.
5. A constant as long as time, but the same at all times, is held once. One that differs is refused.
6. What is gathered over time and divided by the number of steps is a mean, which would be wrong at other lengths.
7. What hangs on inputs of another time alone, and not on this one, is held: the same at every step.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir

from export.errors import ExportError, node_error
from export.graph import Array, constant_of, integer, reads, session
from export.passes.pointwise import ELEMENTWISE

LEAST = 3
"""Steps at least of what is unrolled: with two there is nothing to compare."""
TAKING = {"Gather", "GatherElements", "GatherND", "Slice", "Split"}
END = np.iinfo(np.int64).max


class NumberedError(ExportError):
    """Some steps are taken by their numbers, and not all."""

    numbers: frozenset[int] = frozenset()


class Step(NamedTuple):
    """One step of a value with time. kept: the step has the time axis still, of size 1."""

    source: ir.Value
    axis: int
    number: int
    kept: bool


@dataclass
class Walk:
    """What was found. long: shapes at the longer length, of all values that are no steps. steps: single steps.

    level: the last step that a value depends on. region: nodes whose inputs depend on single steps, in order.
    packs: concatenations of one value at all steps, with those values. pending: what waits for these to have time.
    held: what is the same at every step (7). known: what values hold at the fixed length.
    """

    graph: ir.Graph
    fixed: int
    longer: int
    long: dict[ir.Value, tuple[int, ...]] = field(default_factory=dict)
    steps: dict[ir.Value, Step] = field(default_factory=dict)
    lengths: dict[ir.Value, int] = field(default_factory=dict)
    level: dict[ir.Value, int] = field(default_factory=dict)
    region: list[ir.Node] = field(default_factory=list)
    packs: dict[ir.Node, list[ir.Value]] = field(default_factory=dict)
    pending: set[ir.Value] = field(default_factory=set)
    held: set[ir.Value] = field(default_factory=set)
    known: Mapping[str, Array] = field(default_factory=dict)
    freed: int = 0

    def time(self, value: ir.Value | None) -> tuple[int, ...]:
        """Return the axes along which a value grew."""
        if value is None or value not in self.long:
            return ()
        return tuple(i for i, (a, b) in enumerate(zip(shape(value), self.long[value], strict=True)) if a != b)


def shape(value: ir.Value) -> tuple[int, ...]:
    """Return a value's shape at the fixed length."""
    return tuple(int(dim) for dim in value.shape or ())  # type: ignore[arg-type] # all of them known


def longer_than(length: int) -> int:
    """Return a prime more than twice a length: nothing that holds the length divides it."""
    candidate = 2 * length + 1
    while any(candidate % divisor == 0 for divisor in range(2, math.isqrt(candidate) + 1)):
        candidate += 1
    return candidate


def walk(  # noqa: PLR0917
    graph: ir.Graph,
    inputs: dict[ir.Value, tuple[int, ...]],
    fixed: int,
    longer: int,
    free: Collection[str] = (),
    known: Mapping[str, Array] | None = None,
) -> Walk:
    """Walk a graph whose nodes are in order. inputs: the frames, and their shapes at the longer length.

    free: inputs of another time, which is free already. known: what values hold, of which shapes that follow that time
    are read. Raises ExportError naming the node that holds the length in a way that cannot be set free.
    """
    found = Walk(graph, fixed, longer, long=dict(inputs), known=known or {})
    found.held.update(value for value in inputs if value.name in free)
    for value in inputs:
        _take_steps(found, value)
    for node in list(graph):
        given = [value for value in node.inputs if value is not None and value.const_value is None]
        if all(output in found.steps for output in node.outputs):
            continue
        if any(value in found.held for value in given) and all(
            value in found.held for value in reads(node) if value.const_value is None
        ):
            found.held.update(node.outputs)  # 7
            found.long |= {output: shape(output) for output in node.outputs}
            continue
        stepwise = [value for value in given if value in found.level]
        if any(value in found.pending for value in given) or (stepwise and any(found.time(v) for v in given)):
            found.pending.update(node.outputs)
        elif stepwise:
            _enter_region(found, node, stepwise)
        else:
            for output, dims in zip(node.outputs, _grown(found, node), strict=True):
                found.long[output] = dims  # 1
                _take_steps(found, output)
    return found


def _enter_region(found: Walk, node: ir.Node, stepwise: list[ir.Value]) -> None:
    entries = _entries(node, found)
    numbers = [found.level.get(entry, -1) for entry in entries]
    if node.op_type == "Concat" and len(numbers) >= LEAST and len(numbers) in found.lengths.values():
        upward = list(range(len(numbers)))
        if numbers == upward and len({shape(entry) for entry in entries}) == 1:
            found.packs[node] = entries
            found.pending.update(node.outputs)
            return
        if numbers == upward[::-1]:
            raise node_error(str(node.name), node.op_type, "it turns time around: its output would need frames that "
                             "have not come yet.")  # fmt: skip
    found.region.append(node)
    number = max(found.level[value] for value in stepwise)
    found.level.update(dict.fromkeys(node.outputs, number))


def _entries(node: ir.Node, found: Walk) -> list[ir.Value]:
    """Return what a concatenation joins, through concatenations that it alone reads, as of a list that grew."""
    if node.op_type != "Concat":
        return []
    axis, entries, rest = integer(node, "axis", 0), [], [v for v in node.inputs if v is not None]
    while rest:
        value = rest.pop(0)
        if value.const_value is not None and 0 in shape(value):
            continue
        inner = value.producer() if value in found.level and value not in found.steps else None
        nested = inner is not None and inner.op_type == "Concat" and len(shape(value)) > axis
        if inner is not None and nested and integer(inner, "axis", 0) == axis and len(inner.inputs) <= LEAST - 1:
            rest = [v for v in inner.inputs if v is not None] + rest
        else:
            entries.append(value)
    return entries


def _take_steps(found: Walk, value: ir.Value) -> None:
    """See which single steps are taken out of a value with time (2, 3)."""
    axes = found.time(value)
    if len(axes) != 1:
        return
    axis, length = axes[0], shape(value)[axes[0]]
    taken: dict[ir.Value, Step] = {}
    for node, index in value.uses():
        if index == 0 and node.graph is found.graph:
            taken |= _taken(node, value, axis, length)
    once: dict[Step, ir.Value] = {}
    for output, step in list(taken.items()):
        if once.setdefault(step, output) is not output and not output.is_graph_output():
            output.replace_all_uses_with(once[step])
            del taken[output]
    numbers = {step.number for step in taken.values()}
    if len(numbers) >= max(LEAST, length - 1):
        found.steps |= taken
        found.lengths[value] = length
        found.level |= {output: step.number for output, step in taken.items()}
    else:
        for output, step in taken.items():
            if step.number == length - 1:
                _from_the_end(found, output)  # 3
            elif output.uses() or output.is_graph_output():
                reason = (
                    f"it takes step {step.number} of {length} by its number, and not all of the others are taken so."
                )
                refusal = NumberedError(str(node_error(*_told(output), reason)))
                refusal.numbers = frozenset(numbers)
                raise refusal


def _taken(node: ir.Node, value: ir.Value, axis: int, length: int) -> dict[ir.Value, Step]:
    rank = len(shape(value))
    if node.op_type == "Gather" and integer(node, "axis", 0) % rank == axis:
        index = constant_of(node.inputs[1])
        if index is not None and index.size == 1 and index.ndim <= 1:
            return {node.outputs[0]: Step(value, axis, int(index.reshape(())) % length, bool(index.ndim))}
    if node.op_type == "Slice" and (bounds := _bounds(node, rank)) is not None:
        start, stop, along, step = bounds
        first, last, _ = slice(start, stop).indices(length)
        if along == axis and step == 1 and last - first == 1:
            return {node.outputs[0]: Step(value, axis, first, kept=True)}
    if node.op_type == "Split" and integer(node, "axis", 0) % rank == axis and len(node.outputs) == length:
        return {output: Step(value, axis, place, kept=True) for place, output in enumerate(node.outputs)}
    return {}


def _bounds(node: ir.Node, rank: int) -> tuple[int, int, int, int] | None:
    """Return start, stop, axis and step of a Slice along one axis."""
    content = [constant_of(value) for value in node.inputs[1:]]
    if any(array is None or array.size != 1 for array in content) or len(content) not in (3, 4):
        return None
    start, stop, axis, *step = [int(array.reshape(())) for array in content if array is not None]
    return start, stop, axis % rank, step[0] if step else 1


def taken_by_number(graph: ir.Graph) -> dict[str, tuple[ir.Value, ir.Value, list[bytes]]]:
    """Return what takes a part by numbers that count from the front: by output, what is read, given, and the numbers.

    The graph's constants must be known, those that hang on its length, too.
    """
    found = {}
    for node in graph:
        value, output = node.inputs[0] if node.inputs else None, node.outputs[0]
        if value is None or node.op_type not in TAKING:
            continue
        numbers = [constant_of(given) for given in node.inputs[1:]]
        known = [np.asarray(array, np.int64) for array in numbers if array is not None]
        if len(known) < len(numbers):
            continue
        if all((array >= 0).all() for array in known):
            found[str(output.name)] = value, output, [array.tobytes() for array in known]
    return found


def _told(output: ir.Value) -> tuple[str, str]:
    node = output.producer()
    return (str(node.name), node.op_type) if node is not None else (str(output.name), "input")


def _from_the_end(found: Walk, output: ir.Value) -> None:
    node = output.producer()
    if node is not None and node.op_type == "Gather":
        index = constant_of(node.inputs[1])
        _replace(found, node, 1, np.full_like(index, -1))
    elif node is not None and node.op_type == "Slice":
        _replace(found, node, 1, np.array([-1], np.int64))
        _replace(found, node, 2, np.array([END], np.int64))


def _replace(found: Walk, node: ir.Node, index: int, array: Array) -> None:
    """Give a node another constant."""
    old = constant_of(node.inputs[index])
    if old is not None and np.array_equal(old, array):
        return
    name = f"{node.outputs[0].name}.free{index}"
    constant = ir.Value(name=name, const_value=ir.tensor(array, name=name), shape=ir.Shape(array.shape))
    constant.dtype = ir.DataType.from_numpy(array.dtype)
    found.graph.register_initializer(constant)
    node.replace_input_with(index, constant)
    found.freed += 1


def _grown(found: Walk, node: ir.Node) -> list[tuple[int, ...]]:
    """Return the shapes of a node's outputs at the longer length."""
    given = [value for value in node.inputs if value is not None and value.const_value is None]
    if not any(found.time(value) for value in given):
        _check_share(found, node)
        return [shape(output) for output in node.outputs]
    _free(found, node)
    try:
        return _run(found, node)
    except ExportError as cause:
        reason = f"it holds the number of {found.fixed} time steps and does not run at another ({cause})."
        raise node_error(str(node.name), node.op_type, reason) from cause


def _check_share(found: Walk, node: ir.Node) -> None:
    """Refuse a mean over time that was written as a sum divided by how many steps there are (6)."""
    counts = {"Div": found.fixed, "Mul": 1 / found.fixed}
    content = [array for value in node.inputs if (array := constant_of(value)) is not None and array.dtype.kind == "f"]
    if node.op_type in counts and any(np.allclose(array, counts[node.op_type], rtol=1e-6, atol=0) for array in content):
        raise node_error(
            str(node.name),
            node.op_type,
            f"it divides what was gathered over time by the number of steps, {found.fixed}.",
        )


def _free(found: Walk, node: ir.Node) -> None:
    """Take the length out of the constants of a node, where it is known what it stands for (4, 5)."""
    value, output = node.inputs[0], node.outputs[0]
    axes = found.time(value)
    if node.op_type == "Reshape" and value is not None and len(axes) == 1:
        _free_reshape(found, node, value, axes[0])
    elif node.op_type == "Slice" and value is not None and (bounds := _bounds(node, len(shape(value)))) is not None:
        beyond = shape(value)[bounds[2]] - bounds[1]
        if bounds[2] in axes and bounds[3] > 0 and (beyond == 0 or 0 < beyond == shape(value)[bounds[2]] - found.fixed):
            _replace(found, node, 2, np.array([-beyond or END], np.int64))
    elif node.op_type == "Expand" and value is not None:
        target = np.array(shape(output), np.int64)
        offset = len(target) - len(shape(value))
        target[[axis + offset for axis in axes]] = 1
        _replace(found, node, 1, target)
    elif node.op_type in ELEMENTWISE:
        grown = {axis - len(shape(v)) for v in node.inputs if v is not None for axis in found.time(v)}
        for index, constant in enumerate(node.inputs):
            content = constant_of(constant)
            if content is not None:
                _hold_once(found, node, index, content, grown)


def _free_reshape(found: Walk, node: ir.Node, value: ir.Value, axis: int) -> None:
    """Let the dimension that time moves to be inferred: the first behind as many elements as were before it."""
    before, target = math.prod(shape(value)[:axis]), shape(node.outputs[0])
    places = [i for i, dim in enumerate(target) if dim > 1 and math.prod(target[:i]) == before]
    if not places:
        raise node_error(
            str(node.name), node.op_type, f"it mixes the {found.fixed} time steps with what lies beside them."
        )
    _replace(found, node, 1, np.array([-1 if i == places[0] else dim for i, dim in enumerate(target)], np.int64))


def _hold_once(found: Walk, node: ir.Node, index: int, content: Array, grown: set[int]) -> None:
    for axis in grown:
        if -axis > content.ndim or content.shape[axis] == 1:
            continue
        first = np.take(content, [0], axis=axis)
        if not np.array_equal(np.broadcast_to(first, content.shape), content):
            raise node_error(str(node.name), node.op_type, "it has a constant that differs from step to step.")  # 5
        content = first
        _replace(found, node, index, content)


def _run(found: Walk, node: ir.Node) -> list[tuple[int, ...]]:
    """Run a node alone at the longer length and return its outputs' shapes."""
    inputs: dict[str, ir.Value] = {}
    feeds: dict[str, Array] = {}
    constants = []
    for value in reads(node):
        if value.const_value is not None:
            constants.append(ir.to_proto(ir.tensor(value.const_value.numpy(), name=str(value.name))))
        elif str(value.name) not in inputs:
            kind = value.dtype.numpy() if value.dtype else np.float32
            says = value in found.held and np.dtype(kind).kind != "f"
            zeros = np.zeros(found.long[value], kind)
            feeds[str(value.name)] = np.asarray(found.known.get(str(value.name), zeros), kind) if says else zeros
            inputs[str(value.name)] = value
    graph = onnx.helper.make_graph(
        [ir.to_proto(node)],
        "alone",
        [onnx.helper.make_tensor_value_info(name, int(v.dtype or 1), found.long[v]) for name, v in inputs.items()],
        [onnx.ValueInfoProto(name=output.name) for output in node.outputs if output.name],
        list({constant.name: constant for constant in constants}.values()),
    )
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in found.graph.opset_imports.items()]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    try:
        given = iter(session(model, optimize=False).run(None, feeds))
    except ExportError:
        raise
    except Exception as cause:
        raise ExportError(str(cause).splitlines()[0]) from cause
    return [np.shape(next(given)) if output.name else () for output in node.outputs]
