"""Roll loops over time that an exporter unrolled into ONNX Scan ops, and set the graph's time axis free.

An exporter that knows no loops writes one as T copies of what it does at a step. Here these are found and written as
one Scan each. No layer is looked for and no name is read: T groups of nodes that are proven to be alike are a loop.

1. prepare.py: at the fixed length all shapes and all that depends on no data are constants.
2. steps.py: where time runs, and where single steps are taken out of it.
3. turns.py, compare.py: the groups, one a turn, compared with one of them.
4. loop.py: the Scan in their place. A layer on top of it then has a value with time again: back to 2.
5. batch.py: several sequences side by side, where the rest of the model allows it.
   What hangs on inputs of another time alone (an encoder's) is the same at every turn: the loop reads it as it is.
6. At the fixed length the result equals the original, in float32 and in float64, and it runs at others.

What remains fixed is refused, by node.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence as Items
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from export.errors import ExportError
from export.frontends.doubles import evaluator
from export.graph import Array, Input, first_line, floats, session
from export.unrolled import batch, loop, steps
from export.unrolled.compare import UnlikeError
from export.unrolled.prepare import OTHERS, Keys, frames, prepared
from export.unrolled.turns import Turns, components

NEAR = {"float32": 1e-4, "float64": 1e-6}
"""How far, as a share of the outputs' size, two orders of the same sums may lie apart."""


def rolled(
    model: onnx.ModelProto, inputs: tuple[Input, ...], length: int, free: Collection[str] = ()
) -> tuple[onnx.ModelProto, int]:
    """Return a model of fixed length with its time axis free, and how many loops were rolled.

    inputs: as it takes them, time free. free: those with a time of their own, which is free already. Raises ExportError
    naming the node that keeps it fixed.
    """
    stream = prepared(model, inputs, length, free)  # 1
    original = ir.to_proto(stream.model)
    longer = steps.longer_than(length)
    truths = _truths(original, frames(inputs, length, free, seed=1)) if free else {}
    count = 0
    while True:
        shapes = {
            value: tuple(given.shaped(OTHERS[0] if given.name in free else longer))
            for given, value in zip(inputs, stream.inputs, strict=True)
        }
        found = steps.walk(stream.graph, shapes, length, longer, free, truths)  # 2
        if not found.region:
            break
        truths = truths or _truths(original, frames(inputs, length, free, seed=1))
        for region in components(found):
            _roll(found, region, count, truths)
            count += 1
        stream.graph.sort()
        common.RemoveUnusedNodesPass()(stream.model)
    for given, value in zip(inputs, stream.inputs, strict=True):
        time = f"{given.name}_time" if given.name in free else "time"
        value.shape = ir.Shape([time if dim == -1 else dim for dim in given.shape])
    for value in stream.graph.outputs:
        value.shape = None
    for value in (v for node in stream.graph.all_nodes() for v in node.outputs):
        value.shape = None
    for value in (v for graph in stream.model.graphs() if graph is not stream.graph for v in graph.inputs):
        value.shape = None
    result = ir.to_proto(stream.model)
    if count and not free:
        result = batch.widened(result, inputs)  # 5
    _prove(original, result, inputs, length, free)  # 6
    return result, count


def unrolled_over(model: onnx.ModelProto, inputs: tuple[Input, ...], length: int) -> int:
    """Return over how many steps a loop is unrolled in a model that runs at a length; 0 where none is seen."""
    try:
        stream, longer = prepared(model, inputs, length), steps.longer_than(length)
        shapes = {value: tuple(given.shaped(longer)) for given, value in zip(inputs, stream.inputs, strict=True)}
        found = steps.walk(stream.graph, shapes, length, longer)
    except steps.NumberedError as cause:
        return max(cause.numbers) + 1 if len(cause.numbers) >= steps.LEAST else 0
    except Exception:  # noqa: BLE001 - it is only looked at; what is wrong with it is told by what reads it in earnest
        return 0
    return max(found.lengths.values(), default=0)


def cut_short(model: onnx.ModelProto, inputs: tuple[Input, ...], lengths: tuple[int, int]) -> bool:
    """Return whether a node takes the same first part of time by its numbers, however long time is."""
    try:
        short, long = (steps.taken_by_number(prepared(model, inputs, length).graph) for length in lengths)
    except Exception:  # noqa: BLE001 - as above
        return False
    pairs = [(short[name], long[name]) for name in short.keys() & long.keys()]
    return any(
        numbers == same and value.shape != grown.shape and output.shape == kept.shape
        for (value, output, numbers), (grown, kept, same) in pairs
    )


def _roll(found: steps.Walk, region: list[ir.Node], number: int, truths: dict[str, Array]) -> None:
    """Roll one loop (3, 4): with the least state, or else with a state whose initial value is known."""
    keys = Keys()
    try:
        try:
            loop.insert(Turns(found, region, keys, late=True).loop(), found, number, truths)
        except UnlikeError:
            loop.insert(Turns(found, region, keys, late=False).loop(), found, number, truths)
    except ExportError:
        Turns(found, region, keys, late=False).check_direction()
        raise


def _truths(original: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """Return all of the original's values in float64, on seeded frames."""
    names = [output for node in original.graph.node for output in node.output if output]
    x = dict(zip(feeds, floats(list(feeds.values()), np.float64), strict=True))
    return x | {name: np.asarray(y) for name, y in zip(names, _double(original).run(names, x), strict=True)}


def _double(model: onnx.ModelProto) -> Any:
    try:
        return evaluator(model)
    except Exception as cause:
        raise ExportError(f"it has no meaning in float64: {first_line(cause)}") from cause


def _prove(
    original: onnx.ModelProto,
    result: onnx.ModelProto,
    inputs: tuple[Input, ...],
    length: int,
    free: Collection[str],
) -> None:
    """Hold the result against the original at its length, and run it at others."""
    engines = {"float32": (session(original), session(result)), "float64": (_double(original), _double(result))}
    for seed, (kind, (theirs, ours)) in enumerate(engines.items()):
        feeds = frames(inputs, length, free, seed=2 + seed)
        x = dict(zip(feeds, floats(list(feeds.values()), np.dtype(kind).type), strict=True))
        for ahead, behind in zip(_run(ours, x), _run(theirs, x), strict=True):
            near = NEAR[kind] * max(1.0, float(np.abs(behind).max(initial=0)))
            if ahead.shape != behind.shape or not np.abs(ahead - behind).max(initial=0) <= near:
                raise ExportError(f"rolled into a loop over time, it is not the original at {length} steps.")
    for other in (length + 1, 2 * length + 1):
        _run(engines["float32"][1], frames(inputs, other, free, OTHERS[1]))


def _run(engine: Any, feeds: dict[str, Array]) -> Items[Any]:
    try:
        return [np.asarray(y) for y in engine.run(None, feeds)]
    except Exception as cause:
        raise ExportError(f"rolled into a loop over time, it does not run: {first_line(cause)}") from cause
