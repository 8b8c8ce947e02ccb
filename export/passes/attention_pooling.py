"""A softmax over all time whose weights are summed up with is attention pooling: a weighted mean, which runs along.

Weights change with every further step, but all by the same factor. So a step keeps the greatest score so far, m, what
the weights sum up to beside it, d, and each weighted mean y (Milakov & Gimelshein, "Online normalizer calculation for
softmax", 2018). With the scores s and the values v of a step:

    m' = max(m, s)    d' = d exp(m - m') + sum exp(s - m')    y' = y + sum exp(s - m') (v - y) / d'

1. In the place of the softmax stand the step's exp(s - m'), none of them above 1; d and y are kept in float64. What one
   step adds gets ever smaller: the user says when the stream is reset (--max-steps), as for a mean.
2. Between the softmax and the sum the weights are multiplied and moved alone; the sum is over time alone. Nothing else
   reads them, for those of earlier steps are not kept.
3. d and the sum of exp go the same way as the weights do, so that each stands beside the means that it belongs to.
4. What comes late has no entry yet in the first steps: its weight is 0.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.errors import node_error
from export.graph import StreamGraph, Timing, constant_of, first_input, integer, ints, sizes
from export.passes import buffers

DOUBLE, SINGLE = int(ir.DataType.DOUBLE), int(ir.DataType.FLOAT)
MOVES = {"Transpose", "Reshape", "Squeeze", "Unsqueeze"}
SCALES = {"Mul", "Div", "Neg", "Cast", "Expand"}
LOWEST = float(np.finfo(np.float32).min)
Way = tuple[ir.Node, ...]
"""What a softmax's weights go through, the sum over time that ends it included."""


def claims(stream: StreamGraph, node: ir.Node) -> bool:
    """Return whether a node is a softmax along time."""
    value = node.inputs[0] if node.inputs else None
    if node.op_type != "Softmax" or value is None or value not in stream.time or value in stream.pairs:
        return False
    return integer(node, "axis", -1) % len(sizes(value)) == stream.time[value]


def ends(stream: StreamGraph, node: ir.Node) -> ir.Node | None:
    """Return the softmax along time whose weights this node sums up, None where it does not."""
    if any(output in stream.time for output in node.outputs):
        return None
    return next((softmax for softmax in stream.graph if claims(stream, softmax) if node in _read(softmax)), None)


def timing(stream: StreamGraph, node: ir.Node) -> Timing:
    """Return the weights' timing, made of all frames before. Raises ExportError where they are not only summed (2)."""
    entering = stream.timing[first_input(node)]
    _ways(stream, node)
    return Timing(entering.axis, entering.stride, entering.delay, None, entering.last, entering.offset)


def check(stream: StreamGraph, node: ir.Node, softmax: ir.Node) -> None:
    """Check one sum of weights. Raises ExportError where it comes later, or nothing says when the stream is reset."""
    here = stream.timing[softmax.outputs[0]]
    if any(stream.timing[value].delay != here.delay for value in node.inputs if value in stream.timing):
        raise node_error(str(node.name), node.op_type, "the values it sums come later than their weights.")
    if stream.max_steps is None and not stream.restarted:
        raise node_error(
            str(softmax.name), softmax.op_type,
            "it weighs all time (attention pooling): a mean to which each further step adds less. Say after how many "
            "frames the stream is reset: --max-steps N.",
        )  # fmt: skip


def apply(stream: StreamGraph) -> bool:
    """Rewrite every softmax along time."""
    nodes = [node for node in stream.graph if claims(stream, node)]
    for node in nodes:
        _rewrite(stream, node)
    return bool(nodes)


def _read(softmax: ir.Node) -> set[ir.Node]:
    """Return all that a softmax's weights are read by, directly or not."""
    found: set[ir.Node] = set()
    waiting = [softmax]
    while waiting:
        behind = [user for value in waiting.pop().outputs for user, _ in value.uses() if user not in found]
        found.update(behind)
        waiting.extend(behind)
    return found


def _ways(stream: StreamGraph, softmax: ir.Node) -> list[Way]:
    """Return each way from the weights to a sum over time. Raises ExportError for another use of them (2)."""
    found: list[Way] = []
    waiting: list[tuple[ir.Value, Way]] = [(softmax.outputs[0], ())]
    while waiting:
        value, way = waiting.pop()
        users = [(node, index) for node, index in value.uses() if node.op_type not in ("Shape", "Size")]
        if value.is_graph_output() or not users:
            raise node_error(str(softmax.name), softmax.op_type, _elsewhere("the model's output"))
        for node, index in users:
            further = (*way, node)
            if sum(entering is value for entering in node.inputs) > 1 or _own(node, index, softmax):
                raise node_error(str(softmax.name), softmax.op_type, _elsewhere(f"'{node.name}' ({node.op_type})"))
            if node.outputs[0] not in stream.time and _sums(stream, node, index):
                found.append(further)
            elif node.outputs[0] in stream.time and (
                (node.op_type in SCALES and (node.op_type != "Div" or index == 0))
                or (node.op_type in MOVES and index == 0)
            ):
                waiting.append((node.outputs[0], further))
            else:
                raise node_error(str(softmax.name), softmax.op_type, _elsewhere(f"'{node.name}' ({node.op_type})"))
    return found


def _own(node: ir.Node, index: int, softmax: ir.Node) -> bool:
    """Return whether a node reads the weights by another input, too."""
    behind = _read(softmax) | {softmax}
    others = [value for place, value in enumerate(node.inputs) if place != index and value is not None]
    return any(value.producer() in behind for value in others)


def _elsewhere(where: str) -> str:
    return (
        "its weights over all time change with every step that comes, so those of earlier steps are not known any "
        "more. Multiplied with values and summed over time they stream (attention pooling), but "
        f"{where} reads them otherwise."
    )


def _sums(stream: StreamGraph, node: ir.Node, index: int) -> bool:
    """Return whether a node sums over the time of its input of that number, and over nothing else."""
    value = node.inputs[index]
    if value is None or value not in stream.time:
        return False
    axis, rank = stream.time[value], len(sizes(value))
    if node.op_type == "ReduceSum":
        return index == 0 and all(other == axis or sizes(value)[other] == 1 for other in _reduced(node, rank))
    if node.op_type == "MatMul":
        return axis == (rank - 1 if index == 0 else max(rank - 2, 0))
    if node.op_type == "Einsum":
        terms, result = _equation(node)
        rest = terms[index].replace(terms[index][axis], "")
        return set(rest) <= set(result) and all(len(set(term)) == len(term) for term in terms)
    return False


def _reduced(node: ir.Node, rank: int) -> list[int]:
    given = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = ints(node, "axes") or tuple(int(axis) for axis in (() if given is None else given.reshape(-1)))
    return sorted(axis % rank for axis in axes) if axes else list(range(rank))


def _equation(node: ir.Node) -> tuple[list[str], str]:
    left, _, right = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    return left.split(","), right


def _rewrite(stream: StreamGraph, softmax: ir.Node) -> None:
    scores, weights = first_input(softmax), softmax.outputs[0]
    ways, here = _ways(stream, softmax), stream.timing[scores]
    shape = sizes(scores)
    shape[here.axis] = 1
    axis = stream.constant("axis", np.array([here.axis], np.int64))

    def emit(op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        return buffers.emit(stream, softmax, op_type, list(inputs), **attributes)

    def cast(value: ir.Value, kind: int) -> ir.Value:
        return emit("Cast", value, to=kind)

    there = buffers.within(stream, softmax, scores, here, LOWEST, ending=False)
    name = stream.state_name("softmax")
    old = stream.add_state(f"{name}.greatest", np.full(shape, LOWEST, np.float32))
    sum_so_far = stream.add_state(f"{name}.sum", np.zeros(shape, np.float64))
    greatest, entries = old, stream.frames_per_step // here.stride
    for entry in range(entries):
        alone = there if entries == 1 else buffers.cut(stream, softmax, there, here.axis, entry, entry + 1)
        greatest = emit("Max", greatest, alone)
    risen = emit("Exp", emit("Sub", there, greatest))
    risen = buffers.within(stream, softmax, risen, here, 0.0, ending=False)  # 4
    step = emit("ReduceSum", risen, axis, keepdims=1)
    faded = emit("Mul", sum_so_far, cast(emit("Exp", emit("Sub", old, greatest)), DOUBLE))
    total = emit("Add", faded, cast(step, DOUBLE))
    stream.leave(old, emit("Identity", greatest))
    stream.leave(sum_so_far, total)
    # The greatest score alone adds 1: less is there only before the first entry.
    whole = emit("Max", cast(total, SINGLE), stream.constant("one", np.ones((), np.float32)))
    buffers.take_over(stream, weights, risen)
    for way in ways:
        _run_along(stream, way, risen, (step, whole))
    if not stream.restarted:
        stream.limited = True
        stream.notes.append(f"softmax over time: the stream must be reset after {stream.max_steps} frames at most")


def _run_along(stream: StreamGraph, way: Way, risen: ir.Value, sums: tuple[ir.Value, ir.Value]) -> None:
    """Put the weighted mean so far in the place of a sum over time."""
    given = way[-1].outputs[0]
    users, before = list(given.uses()), buffers.following(stream, way[-1])
    step, whole = (_moved(stream, before, way, risen, value) for value in sums)  # 3

    def emit(op_type: str, *inputs: ir.Value) -> ir.Value:
        return buffers.emit(stream, before, op_type, list(inputs))

    def wide(value: ir.Value) -> ir.Value:
        return buffers.emit(stream, before, "Cast", [value], to=DOUBLE)

    mean = stream.add_state(stream.state_name("weighted"), np.zeros(sizes(given), np.float64))
    change = emit("Div", emit("Sub", wide(given), emit("Mul", mean, wide(step))), wide(whole))
    exact = emit("Add", mean, change)
    stream.leave(mean, exact)
    running = buffers.emit(stream, before, "Cast", [exact], to=SINGLE)
    buffers.end_as(stream, given, running, users)


def _moved(stream: StreamGraph, before: ir.Node, way: Way, weights: ir.Value, value: ir.Value) -> ir.Value:
    """Return a value, one number in the place of a step's weights, as it stands behind the sum."""
    entries = stream.frames_per_step // stream.timing[weights].stride
    place, last = weights, way[-1]

    def shape_of(value: ir.Value) -> list[int]:
        return [entries if axis == stream.time[value] else size for axis, size in enumerate(sizes(value))]

    def stretched(value: ir.Value, to: ir.Value) -> ir.Value:
        shape = stream.constant("shape", np.array(shape_of(to), np.int64))
        return buffers.emit(stream, before, "Expand", [value, shape])

    if entries > 1:
        value = stretched(value, weights)
    for node in way[:-1]:
        output = node.outputs[0]
        if node.op_type in MOVES:
            copy = ir.node(node.op_type, [value, *node.inputs[1:]], dict(node.attributes))
            copy.name = stream.new_name(f"stream.{node.op_type.lower()}")
            copy.outputs[0].name = stream.new_name(f"{copy.name}.y")
            stream.graph.insert_before(before, copy)
            value = copy.outputs[0]
        elif shape_of(output) != shape_of(place):
            value = stretched(value, output)
        place = output
    if entries > 1:
        value = buffers.cut(stream, before, value, stream.time[place], 0, 1)
    if last.op_type == "Einsum":
        return _by_letters(stream, before, last, place, value)
    gone = _gone(stream, last, place)
    if not gone:
        return value
    return buffers.emit(stream, before, "Squeeze", [value, stream.constant("axes", np.array(gone, np.int64))])


def _gone(stream: StreamGraph, node: ir.Node, value: ir.Value) -> list[int]:
    """Return the axes that a sum takes away from what it sums."""
    if node.op_type == "ReduceSum":
        return [] if integer(node, "keepdims", 1) else _reduced(node, len(sizes(value)))
    beside = [other for other in node.inputs if other is not value]
    return [stream.time[value]] if any(len(sizes(other)) == 1 for other in beside) else []


def _by_letters(stream: StreamGraph, before: ir.Node, node: ir.Node, place: ir.Value, value: ir.Value) -> ir.Value:
    """Return a value that stands as an Einsum's input does, as its output stands, with 1 for what it has not."""
    terms, result = _equation(node)
    term = terms[list(node.inputs).index(place)]
    kept = [letter for letter in result if letter in term]
    order = [term.index(letter) for letter in kept] + [stream.time[place]]
    turned = ir.node("Transpose", [value])
    turned.attributes["perm"] = ir.AttrInt64s("perm", order)
    turned.name = stream.new_name("stream.transpose")
    turned.outputs[0].name = stream.new_name(f"{turned.name}.y")
    stream.graph.insert_before(before, turned)
    shape = [sizes(place)[term.index(letter)] if letter in term else 1 for letter in result]
    return buffers.emit(
        stream, before, "Reshape", [turned.outputs[0], stream.constant("shape", np.array(shape, np.int64))]
    )
