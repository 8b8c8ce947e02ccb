"""What each round of a Loop reads, told by runs at two lengths; see loops.py (3).

1. Gather, Slice and SequenceAt of a value that grows with time read one entry, its place plus a constant that of the
   round. Which entry, a run says.
2. The entries that are read are cut out of the value and scanned.
3. Anything else that a body reads of such a value is refused: it would need the whole sequence in every round.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from export.errors import ExportError, node_error
from export.graph import Array, StreamGraph, bodies, constant_of, integer, probe, reads
from export.passes import buffers, time_axis

LAST = np.iinfo(np.int64).max
Both = tuple[Array, Array]
Seen = dict[ir.Value, Both]


@dataclass
class Carried:
    """What a round gives on to the next. outer: its value before the first round; last: behind the last one."""

    outer: ir.Value
    inner: ir.Value
    after: ir.Value
    last: ir.Value


@dataclass
class Rounds:
    """A Loop on its way to a Scan. scanned: scan inputs (outer, axis, inner); given: outputs (inner, axis, outer).

    sequences: those that each round adds to, and what it adds.
    """

    node: ir.Node
    body: ir.Graph
    carried: list[Carried]
    given: list[tuple[ir.Value, int, ir.Value]]
    scanned: list[tuple[ir.Value, int, ir.Value]] = field(default_factory=list)
    sequences: list[tuple[Carried, ir.Value]] = field(default_factory=list)

    def replaced(self, old: ir.Value, new: ir.Value) -> None:
        """Let a value of the body stand in for another."""
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        for entry in self.carried:
            entry.after = new if entry.after is old else entry.after
        self.given = [(new if inner is old else inner, axis, outer) for inner, axis, outer in self.given]

    def live(self, *, shapes: bool = True) -> set[ir.Value]:
        """Return what the values that are read outside are made of, in this round or one before.

        shapes: also what they take only the shape of.
        """
        found: set[ir.Value] = set()
        waiting = [inner for inner, _, outer in self.given if is_read(outer)]
        waiting += [part for _, part in self.sequences] + [e.after for e in self.carried if is_read(e.last)]
        while waiting:
            value = waiting.pop()
            if value in found:
                continue
            found.add(value)
            node = value.producer()
            if node is not None and node.graph is self.body and (shapes or node.op_type not in ("Shape", "Size")):
                waiting.extend(reads(node))
            waiting.extend(entry.after for entry in self.carried if entry.inner is value)
        return found

    def refused(self, reason: str) -> ExportError:
        """Return the refusal of the loop."""
        return node_error(str(self.node.name), "Loop", reason)


def is_read(value: ir.Value) -> bool:
    """Return whether anything reads a value."""
    return bool(value.uses()) or value.is_graph_output()


def lengths(stream: StreamGraph, values: list[ir.Value]) -> Seen:
    """Return what tensors of the graph hold in runs at two lengths."""
    runs = []
    for length in time_axis.LENGTHS:
        feeds = stream.noise(length)
        known = {str(value.name): content for value in values if (content := constant_of(value)) is not None}
        known |= {name: array for name, array in feeds.items() if name not in known}
        asked = [value for value in values if str(value.name) not in known]
        runs.append(known | (probe(stream.model, feeds, asked) if asked else {}))
    return {value: (runs[0][str(value.name)], runs[1][str(value.name)]) for value in values if value.name in runs[0]}


def grown(short: Array, long: Array) -> int | None:
    """Return the axis along which a value grew, None if it did not."""
    if short.ndim != long.ndim:
        return None
    return next((axis for axis, (a, b) in enumerate(zip(short.shape, long.shape, strict=True)) if a != b), None)


def watch(stream: StreamGraph, node: ir.Node, values: list[ir.Value]) -> dict[ir.Value, Both]:
    """Return what values inside a Loop hold in each round, [rounds, ...], in runs at two lengths."""
    model = stream.model.clone()
    loop = next(other for other in model.graph if other.name == node.name)
    body = loop.attributes["body"].as_graph()
    known = {value.name: value for value in [*body.inputs, *(value for inner in body for value in inner.outputs)]}
    before = len(loop.outputs)
    loop.resize_outputs(before + len(values))
    for place, value in enumerate(values):
        copy = ir.node("Identity", [known[value.name]])
        copy.outputs[0].name = f"watched.inside.{place}"
        copy.outputs[0].type = known[value.name].type
        body.append(copy)
        body.outputs.append(copy.outputs[0])
        loop.outputs[before + place].name = f"watched.{place}"
    watched = loop.outputs[before:]
    runs = [probe(model, stream.noise(length), watched) for length in time_axis.LENGTHS]
    return {
        value: (runs[0][str(seen.name)], runs[1][str(seen.name)]) for value, seen in zip(values, watched, strict=True)
    }


def inside_on_data(stream: StreamGraph, node: ir.Node) -> set[ir.Value]:
    """Return all values, those within a loop's body too, that depend on the content of an input."""
    body, found = node.attributes["body"].as_graph(), time_axis.data_dependent(stream)
    found -= {value for inner in body.all_nodes() for value in inner.outputs}
    pairs = list(zip([*node.inputs[1:]], body.inputs[1:], body.outputs, strict=False))
    size = -1
    while size != len(found):
        size = len(found)
        found.update(inner for outer, inner, after in pairs if outer in found or after in found)
        for inner in body:
            # Shapes are no content.
            if inner.op_type in ("Shape", "Size", "SequenceLength") or not any(v in found for v in reads(inner)):
                continue
            found.update(inner.outputs)
            found.update(value for part in bodies(inner) for deep in part.all_nodes() for value in deep.outputs)
    return found


@dataclass(frozen=True)
class Place:
    """What a node reads in turn: a value along its time axis, from an entry on. kept: the axis stays, with size 1."""

    node: ir.Node
    value: ir.Value
    axis: int
    start: int
    kept: bool


def find(stream: StreamGraph, rounds: Rounds, seen: Seen) -> list[Place]:
    """Find all that the body reads in turn of values that run over time (1)."""
    timed = {value: axis for value, both in seen.items() if (axis := grown(*both)) is not None}
    on_data, found = inside_on_data(stream, rounds.node), []
    live = rounds.live()
    for node in rounds.body:
        if not any(value in live for value in node.outputs):
            continue
        value, axis = _source(node, rounds)
        if value not in timed or value is None:
            whole = next((value for value in reads(node) if value in timed), None)
            if whole is not None:  # 3
                raise node_error(
                    str(node.name), node.op_type,
                    f"in every round of '{rounds.node.name}' it reads all of '{whole.name}', which runs over time.",
                )  # fmt: skip
            continue
        if axis % seen[value][0].ndim != timed[value]:
            raise node_error(str(node.name), node.op_type, "it reads from a value over time, but not along time.")
        if any(index in on_data for index in node.inputs[1:3]):
            raise node_error(str(node.name), node.op_type, "which time it reads depends on the data.")
        found.append(Place(node, value, timed[value], *_start(stream, rounds, node)))
    return found


def scan(stream: StreamGraph, rounds: Rounds, places: list[Place], counts: tuple[int, int], seen: Seen) -> None:
    """Make scan inputs of all that the body reads in turn (2)."""
    made: dict[tuple[ir.Value, int], ir.Value] = {}
    for place in places:
        node, key = place.node, (place.value, place.start)
        if key not in made:
            made[key] = _enter(stream, rounds, place, counts, seen[place.value])
        entry = made[key]
        axes = stream.constant("axis", np.array([place.axis], np.int64))
        taken = ir.node("Unsqueeze", [entry, axes]) if place.kept else ir.node("Identity", [entry])
        taken.name = f"{node.name}.entry"
        taken.outputs[0].name = f"{node.name}.entry.y"
        rounds.body.insert_before(node, taken)
        rounds.replaced(node.outputs[0], taken.outputs[0])
        rounds.body.remove(node, safe=True)


def _source(node: ir.Node, rounds: Rounds) -> tuple[ir.Value | None, int]:
    """Return the value outside the body that a node reads entries of, if it does, and along which axis (1)."""
    value = node.inputs[0] if node.inputs and node.op_type in ("Gather", "Slice", "SequenceAt") else None
    if value is None or value.graph is rounds.body:
        return None, 0
    if node.op_type == "Gather":
        return value, integer(node, "axis", 0)
    if node.op_type == "Slice":
        axes = constant_of(node.inputs[3]) if len(node.inputs) > 3 else np.zeros(1)  # noqa: PLR2004 - Slice's fourth
        steps = constant_of(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)  # noqa: PLR2004 - and fifth input
        if axes is None or steps is None or axes.size != 1 or steps.reshape(-1)[0] != 1:
            return None, 0
        return value, int(axes.reshape(-1)[0])
    split = value.producer()
    if split is None or split.op_type != "SplitToSequence" or split.inputs[0] is None:
        return None, 0
    each = constant_of(split.inputs[1]) if len(split.inputs) > 1 else np.ones(1)
    if each is None or np.any(each != 1):
        raise node_error(str(split.name), "SplitToSequence", "it cuts the sequence into parts longer than one step.")
    return split.inputs[0], integer(split, "axis", 0)


def _start(stream: StreamGraph, rounds: Rounds, node: ir.Node) -> tuple[int, bool]:
    """Return which entry the first round reads, and whether the time axis stays, with size 1."""
    places = [value for value in node.inputs[1 : 3 if node.op_type == "Slice" else 2] if value is not None]
    inside = [value for value in places if value.graph is rounds.body]
    if not inside:
        raise node_error(str(node.name), node.op_type, "it reads the same entry of time in every round.")
    watched = watch(stream, rounds.node, inside)
    starts = []
    for run in (0, 1):
        read = watched[inside[0]][run]
        at = read.reshape(len(read), -1)
        if at.shape[1] != 1 or places[0] is not inside[0]:
            raise node_error(str(node.name), node.op_type, "it reads more than one step in a round.")
        line = at[:, 0] - at[0, 0]
        if len(at) > 1 and np.array_equal(line, -np.arange(len(at))):
            raise node_error(
                str(node.name), node.op_type, "it runs backwards over time: its output depends on frames that have not "
                "come yet. Train it forward, or run it over whole windows (--window)."
            )  # fmt: skip
        if not np.array_equal(line, np.arange(len(at))) or at[0, 0] < 0:
            raise node_error(str(node.name), node.op_type, "it does not read one step after another, from a first on.")
        if node.op_type == "Slice":
            end = watched[inside[1]][run].reshape(len(read)) if len(inside) > 1 else None
            if end is None or not np.array_equal(end, at[:, 0] + 1):
                raise node_error(str(node.name), "Slice", "it reads more than one step in a round.")
        starts.append(int(at[0, 0]))
    if starts[0] != starts[1]:
        raise node_error(str(node.name), node.op_type, "where it begins to read depends on how long the sequence is.")
    split = node.inputs[0].producer() if node.op_type == "SequenceAt" and node.inputs[0] is not None else None
    # Told how to split, SplitToSequence does not look at keepdims.
    kept = split is not None and (integer(split, "keepdims", 1) or len(split.inputs) > 1)
    ranked = node.op_type == "Gather" and watched[inside[0]][0].ndim > 1
    return starts[0], bool(ranked or node.op_type == "Slice" or kept)


def _enter(stream: StreamGraph, rounds: Rounds, place: Place, counts: tuple[int, int], seen: Both) -> ir.Value:
    """Make the entries of a value a scan input, and return one of them as the body sees it."""
    ends = [array.shape[place.axis] - place.start - count for array, count in zip(seen, counts, strict=True)]
    if ends[0] != ends[1] or ends[0] < 0:
        raise rounds.refused(f"it does not make as many rounds as '{place.value.name}' has time steps.")
    source = place.value
    if place.start or ends[0]:
        bounds = [place.start, -ends[0] if ends[0] else LAST, place.axis]
        at = [stream.constant("at", np.array([bound], np.int64)) for bound in bounds]
        source = buffers.emit(stream, rounds.node, "Slice", [source, *at])
    inner = ir.Value(name=stream.new_name(f"{rounds.node.name}.x{len(rounds.scanned)}"))
    rounds.scanned.append((source, place.axis, inner))
    return inner
