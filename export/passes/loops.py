"""A Loop over time is brought into the form of a Scan, which scan.py makes a step.

What can be read off a run is not looked for in the graph: how many rounds the loop makes, and which entry of a value
each round reads, are told by runs at two lengths, whatever computes them (a trip count, a condition, a counter carried
along …). What comes out is held against the original graph before it counts.

1. What is the same in every round moves out of the body.
2. Neither trip count nor condition may depend on the data; the rounds must follow the length of time.
3. Entries of a value over time that are read in turn (Gather, Slice, SequenceAt) become a scan input.
4. What is gathered round by round becomes a scan output: a sequence that each round adds to, a tensor that each round
   is concatenated to, or a tensor as long as time of which each round writes its entry.
5. The number of the round, where it is more than a place to read or write, becomes a counter that is carried along. A
   body that makes an unbounded number of it needs --max-steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from export.errors import ExportError, node_error
from export.graph import StreamGraph, integer, probe, reads
from export.passes import buffers, time_axis
from export.passes import rounds as rounds_of
from export.passes.counter import BOUNDED
from export.passes.rounds import Carried, Rounds, is_read

WRITING = {"ScatterND", "ScatterElements"}
ENDING = {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Shape", "Size"}
"""What makes something of a number that does not grow with it."""
TRIP, CONDITION, FIRST = 0, 1, 2
"""A Loop's inputs: how often, whether at all, what it carries. Its body's first two are the round and the condition."""


def apply(stream: StreamGraph) -> bool:
    """Rewrite every Loop whose rounds depend on data."""
    changed = False
    while (node := _next(stream)) is not None:
        original = stream.model.clone()
        name = str(node.name)
        _rewrite(stream, node)
        common.RemoveUnusedNodesPass()(stream.model)
        _prove(stream, original, name)
        changed = True
    return changed


def _next(stream: StreamGraph) -> ir.Node | None:
    on_data = time_axis.data_dependent(stream)
    loops = (node for node in stream.graph if node.op_type == "Loop" and node.domain in ("", "ai.onnx"))
    return next((node for node in loops if any(value in on_data for value in node.outputs)), None)


def _rewrite(stream: StreamGraph, node: ir.Node) -> None:
    body = node.attributes["body"].as_graph()
    count = len(node.inputs) - FIRST
    if any(value is None for value in node.inputs[FIRST:]):
        raise node_error(str(node.name), "Loop", "a value that it carries is missing.")
    carried = [
        Carried(outer, inner, after, last)
        for outer, inner, after, last in zip(
            node.inputs[FIRST:], body.inputs[FIRST:], body.outputs[1 : 1 + count], node.outputs[:count], strict=True
        )
        if outer is not None
    ]
    given = [(inner, 0, outer) for inner, outer in zip(body.outputs[1 + count :], node.outputs[count:], strict=True)]
    rounds = Rounds(node, body, carried, given)
    _move_out(stream, rounds)
    counts = _counts(stream, rounds)
    for entry in list(rounds.carried):
        _gathered(stream, rounds, entry, counts)
    _move_out(stream, rounds)
    # All that runs tell is asked before the graph is taken apart.
    values = [*stream.graph.inputs, *(value for other in stream.graph for value in other.outputs if value.name)]
    seen = rounds_of.lengths(stream, values)
    places = rounds_of.find(stream, rounds, seen)
    for entry, part in rounds.sequences:
        _sequence(stream, rounds, entry, part, seen)
    rounds_of.scan(stream, rounds, places, counts, seen)
    _replace(stream, rounds, seen)


def _move_out(stream: StreamGraph, rounds: Rounds) -> None:
    """Take out of the body what is the same in every round (1)."""
    graph, body = stream.graph, rounds.body
    condition = stream.constant("true", np.array(True))
    body.inputs[CONDITION].replace_all_uses_with(condition)
    for entry in list(rounds.carried):
        if through(entry.after) is entry.inner:
            entry.inner.replace_all_uses_with(entry.outer)
            entry.last.replace_all_uses_with(entry.outer, replace_graph_outputs=True)
            rounds.carried.remove(entry)
    inside = set(body.inputs) | {value for inner in body for value in inner.outputs}
    for inner in list(body):
        kept = any(value in inside for value in reads(inner)) or any(value.is_graph_output() for value in inner.outputs)
        if kept or inner.op_type.startswith("Random"):
            continue
        body.remove(inner)
        inner.name = stream.new_name(f"{rounds.node.name}.{inner.name}")
        for value in inner.outputs:
            value.name = stream.new_name(f"{rounds.node.name}.{value.name}")
            inside.discard(value)
        graph.insert_before(rounds.node, inner)


def _counts(stream: StreamGraph, rounds: Rounds) -> tuple[int, int]:
    """Return how many rounds there are at two lengths (2)."""
    on_data = rounds_of.inside_on_data(stream, rounds.node)
    trip, condition = rounds.node.inputs[TRIP], rounds.body.outputs[0]
    if trip in on_data or condition in on_data or rounds.node.inputs[CONDITION] in on_data:
        raise rounds.refused(
            "how many rounds it makes depends on the data: that is time that depends on data. Let it run over all "
            "frames, and where it would have ended keep what it carries as it is (torch.where)."
        )
    short, long = rounds_of.watch(stream, rounds.node, [rounds.body.inputs[TRIP]])[rounds.body.inputs[TRIP]]
    if len(short) == len(long):
        raise rounds.refused(
            f"it makes {len(short)} rounds however long the sequence is; only loops over time are streamed."
        )
    return len(short), len(long)


def through(value: ir.Value) -> ir.Value:
    """Return what a value is, past all Identity nodes."""
    node = value.producer()
    while node is not None and node.op_type == "Identity" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def _gathered(stream: StreamGraph, rounds: Rounds, entry: Carried, counts: tuple[int, int]) -> None:
    """Turn a carried value that is only added to into scan outputs (4)."""
    adding = through(entry.after).producer()
    alone = adding is not None and adding.inputs[0] is not None and through(adding.inputs[0]) is entry.inner
    if isinstance(entry.inner.type, ir.SequenceType) or isinstance(entry.outer.type, ir.SequenceType):
        if adding is None or adding.op_type != "SequenceInsert" or not alone or len(adding.inputs) > FIRST:
            raise rounds.refused("it carries a sequence that it does more with than add to its end.")
        begun = entry.outer.producer()
        if begun is None or begun.op_type != "SequenceEmpty":
            raise rounds.refused("the sequence that it adds to is not empty at first.")
        if len(entry.inner.uses()) > 1:
            raise rounds.refused("it reads what it has gathered of earlier rounds; carry a state of fixed size.")
        rounds.sequences.append((entry, _part(adding, 1)))
        rounds.carried.remove(entry)
        return
    seen = rounds_of.lengths(stream, [entry.outer, entry.last])
    grown = rounds_of.grown(*seen[entry.last])
    if grown is None:
        _like_first(stream, rounds, entry, seen)
        return
    name = str(entry.last.name)
    if adding is None or not alone:
        raise rounds.refused(f"what it carries as '{name}' grows with time, and not by one entry a round.")
    if adding.op_type == "Concat" and len(adding.inputs) == FIRST:
        rank = seen[entry.last][0].ndim
        if (
            integer(adding, "axis", 0) % rank != grown
            or seen[entry.outer][0].shape[grown]
            or len(entry.inner.uses()) > 1
        ):
            raise rounds.refused(f"'{name}' is not empty at first, or it reads what it has gathered of earlier rounds.")
        part = _inner_op(stream, rounds, "Squeeze", [_part(adding, 1)], grown)
    elif adding.op_type in WRITING and seen[entry.last][0].shape[grown] == counts[0]:
        dims = [size for axis, size in enumerate(seen[entry.last][0].shape) if axis != grown]
        row = stream.constant("row", np.array(dims, np.int64))
        part = _inner(rounds, ir.node("Reshape", [_part(adding, 2), row]))
        entry.inner.replace_all_uses_with(entry.outer)
    else:
        raise rounds.refused(f"what it carries as '{name}' grows with time in a way that is not known here.")
    rounds.given.append((part, grown, entry.last))
    rounds.carried.remove(entry)


def _like_first(stream: StreamGraph, rounds: Rounds, entry: Carried, seen: rounds_of.Seen) -> None:
    """Spread what is carried at first to the shape that it has later."""
    first, last = seen[entry.outer], seen[entry.last]
    if first[0].shape != last[0].shape and rounds_of.grown(*first) is None:
        shape = stream.constant("spread", np.array(last[0].shape, np.int64))
        entry.outer = buffers.emit(stream, rounds.node, "Expand", [entry.outer, shape])


def _sequence(stream: StreamGraph, rounds: Rounds, entry: Carried, part: ir.Value, seen: rounds_of.Seen) -> None:
    """Let the readers of a gathered sequence read a tensor instead."""
    readers = list(entry.last.uses())
    stacked: ir.Value | None = None
    for node, _ in readers:
        if node.op_type == "ConcatFromSequence" and node.graph is stream.graph:
            axis = node.attributes["axis"].as_int() % seen[node.outputs[0]][0].ndim
            whole = part
            if not integer(node, "new_axis", 0):
                whole = _inner_op(stream, rounds, "Squeeze", [part], axis)
            rounds.given.append((whole, axis, node.outputs[0]))
            continue
        if node.op_type not in ("SequenceAt", "SequenceLength") or node.graph is None:
            raise node_error(str(node.name), node.op_type, "what it does with a gathered sequence is not known here.")
        if stacked is None:
            stacked = ir.Value(name=stream.new_name(f"{entry.last.name}.stacked"), type=_element(entry))
            rounds.given.append((part, 0, stacked))
        if node.op_type == "SequenceAt":
            reading = ir.node("Gather", [stacked, node.inputs[1]], {"axis": 0})
        else:
            counting = ir.node("Shape", [stacked], {"start": 0, "end": 1})
            node.graph.insert_before(node, _named(stream, counting))
            reading = ir.node("Squeeze", [counting.outputs[0]])
        node.graph.insert_before(node, _named(stream, reading))
        node.outputs[0].replace_all_uses_with(reading.outputs[0], replace_graph_outputs=True)
        node.graph.remove(node, safe=True)


def _replace(stream: StreamGraph, rounds: Rounds, seen: rounds_of.Seen) -> None:
    """Put the Scan in the Loop's place."""
    node = rounds.node
    live = rounds.live()
    rounds.carried = [entry for entry in rounds.carried if entry.inner in live or is_read(entry.last)]
    rounds.given = [entry for entry in rounds.given if is_read(entry[2])]
    counter = rounds.body.inputs[TRIP]
    if counter not in rounds.live(shapes=False):
        counter.replace_all_uses_with(stream.constant("round", np.array(0, np.int64)))
    else:  # 5
        _check_counter(stream, rounds)
        first, one = (stream.constant("round", np.array(number, np.int64)) for number in (0, 1))
        unread = ir.Value(name=stream.new_name(f"{node.name}.rounds"))
        rounds.carried.append(Carried(first, counter, _inner(rounds, ir.node("Add", [counter, one])), unread))
    leaving = [entry.last for entry in rounds.carried] + [outer for _, _, outer in rounds.given]
    if not rounds.scanned:
        raise rounds.refused("it reads nothing of the input in turn, so it is no recurrence over time.")
    scanning = _body(rounds, leaving, _ranks(rounds, seen))
    attributes: dict[str, Any] = {
        "body": scanning,
        "num_scan_inputs": len(rounds.scanned),
        "scan_input_axes": [axis for _, axis, _ in rounds.scanned],
        "scan_output_axes": [axis for _, axis, _ in rounds.given],
    }
    entering = [*(entry.outer for entry in rounds.carried), *(outer for outer, _, _ in rounds.scanned)]
    scan = ir.node("Scan", entering, attributes, num_outputs=len(leaving))
    scan.name = node.name
    stream.graph.insert_before(node, scan)
    for new, old in zip(scan.outputs, leaving, strict=True):
        new.name, old.name = old.name or stream.new_name(f"{node.name}.unread"), None
        new.type = old.type
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    readers = {old.producer() for old in leaving} - {node, None}
    stream.graph.remove([*(reader for reader in readers if reader is not None), node], safe=True)


def _body(rounds: Rounds, leaving: list[ir.Value], known: dict[ir.Value, tuple[ir.TensorType, int]]) -> ir.Graph:
    """Return the Scan's body: the Loop's nodes between the Scan's inputs and outputs."""
    body, name = rounds.body, rounds.node.name
    inputs = [*(entry.inner for entry in rounds.carried), *(inner for _, _, inner in rounds.scanned)]
    outputs: list[ir.Value] = []
    for value in [*(entry.after for entry in rounds.carried), *(inner for inner, _, _ in rounds.given)]:
        made = value.producer()
        # An input, or the same value twice, is given under a name of its own.
        plain = made is not None and made.graph is body and value not in outputs
        outputs.append(value if plain else _inner(rounds, ir.node("Identity", [value])))
    for value, like in zip(outputs, leaving, strict=True):
        value.type, dims = known.get(like, (value.type, None))
        value.shape = None if dims is None else ir.Shape([None] * dims)
    for value in inputs:
        value.shape = value.type = None
    nodes = list(body)
    body.outputs.clear()
    body.remove(nodes)
    body.inputs.clear()
    return ir.Graph(inputs, outputs, nodes=nodes, name=f"{name}.body")


def _ranks(rounds: Rounds, seen: rounds_of.Seen) -> dict[ir.Value, tuple[ir.TensorType, int]]:
    """Return type and number of axes of what the body gives, which onnxruntime must know of a Scan's."""
    ranks = {entry.last: seen[entry.last][0].ndim for entry in rounds.carried if entry.last in seen}
    ranks |= {outer: seen[outer][0].ndim - 1 for _, _, outer in rounds.given if outer in seen}
    return {value: (ir.TensorType(ir.DataType.from_numpy(seen[value][0].dtype)), rank) for value, rank in ranks.items()}


def _check_counter(stream: StreamGraph, rounds: Rounds) -> None:
    """Refuse numbers that grow with the round's without end, where none is given."""
    live, growing = rounds.live(shapes=False), {rounds.body.inputs[TRIP]}
    reader: ir.Node | None = None
    for inner in rounds.body:
        if any(value in growing for value in reads(inner)) and any(value in live for value in inner.outputs):
            reader = reader or inner
            if inner.op_type not in BOUNDED | ENDING:
                growing.update(inner.outputs)
    results = [inner for inner, _, _ in rounds.given] + [entry.after for entry in rounds.carried]
    if any(value in growing for value in results):
        if stream.max_steps is None:
            told = f", by way of '{reader.name}' ({reader.op_type})" if reader is not None else ""
            raise rounds.refused(
                f"it computes with the number of the round{told}, which has no end. Say with --max-steps after how "
                "many steps at most the stream is reset."
            )
        stream.limited = True


def _prove(stream: StreamGraph, original: ir.Model, name: str) -> None:
    """Hold the graph with the Scan against the one with the Loop."""
    for length in time_axis.LENGTHS:
        feeds = stream.noise(length)
        try:
            ours = probe(stream.model, feeds, stream.graph.outputs)
        except ExportError as cause:
            raise node_error(name, "Loop", f"what it does over time was not understood ({cause}).") from cause
        theirs = probe(original, feeds, original.graph.outputs)
        for key, expected in theirs.items():
            here = ours[key]
            if here.shape != expected.shape or not np.allclose(here, expected, rtol=1e-4, atol=1e-5, equal_nan=True):
                raise node_error(name, "Loop", "what it does over time was not understood: another result came out.")


def _part(node: ir.Node, place: int) -> ir.Value:
    value = node.inputs[place]
    if value is None:
        raise node_error(str(node.name), node.op_type, "an input is missing.")
    return value


def _element(entry: Carried) -> ir.TensorType | None:
    kind = entry.inner.type or entry.outer.type
    return ir.TensorType(kind.dtype) if kind is not None else None


def _inner_op(stream: StreamGraph, rounds: Rounds, op_type: str, inputs: list[ir.Value], axis: int) -> ir.Value:
    return _inner(rounds, ir.node(op_type, [*inputs, stream.constant("axis", np.array([axis], np.int64))]))


def _inner(rounds: Rounds, node: ir.Node) -> ir.Value:
    """Append a node to the body and return its output."""
    taken = {value.name for inner in rounds.body for value in inner.outputs}
    node.name = f"{rounds.node.name}.{node.op_type.lower()}{len(taken)}"
    node.outputs[0].name = f"{node.name}.y"
    rounds.body.append(node)
    return node.outputs[0]


def _named(stream: StreamGraph, node: ir.Node) -> ir.Node:
    node.name = stream.new_name(f"stream.{node.op_type.lower()}")
    node.outputs[0].name = stream.new_name(f"{node.name}.y")
    return node
