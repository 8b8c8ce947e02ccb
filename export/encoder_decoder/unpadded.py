"""On a device neither source nor target is padded: what says how much of them counts goes from the graph.

That it is all there is, is told by runs at several lengths of source and target. One of the sources is long, so that
what lets only the near through is not taken for what lets everything through.

1. sequence_lens of recurrent ops, and the last row read by its number: see passes/lengths.py.
2. A mask that hangs on no data and lets everything through: Where of it is what it takes, a product with ones the other
   factor, a sum with zeros the other summand.
3. Integers that hang on no data and are the same at all lengths are constants: which of a batch of one is the longest.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from collections.abc import Sequence as Items

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from export.errors import ExportError
from export.graph import Array, Input, StreamGraph, probe, reads
from export.lengths import runs
from export.passes import lengths, time_axis

TRIED = (((37, 5), (54, 20)), ((7, 5), (12, 8)))
"""Lengths of source and target; where the model does not run at them, as with a short table of positions, others."""
LONG = (1030, 5)
NEUTRAL = {"Mul": 1, "Add": 0}
Feeds = Mapping[str, Array]


def apply(whole: StreamGraph, source: Input, target: Input) -> bool:
    """Rewrite an encoder-decoder's graph, before it is split."""
    feeds = functools.cache(lambda: _feeds(whole, source, target))
    changed = lengths.rewritten(whole, feeds)
    on_data = time_axis.data_dependent(whole)
    computed, masks = _computed(whole, on_data), _masks(whole, on_data)
    if not computed:
        return changed
    around = {value for node, _ in masks for value in (*node.inputs, node.outputs[0]) if value is not None}
    seen = [value for value in (*around, *computed) if value.producer() is not None]
    found = [{**each, **probe(whole.model, each, seen)} for each in feeds()]
    for node, place in masks:
        changed |= _pass_over(node, place, found)
    for value in computed:
        changed |= _fold(whole, value, found)
    common.RemoveUnusedNodesPass()(whole.model)
    return changed


def _feeds(whole: StreamGraph, source: Input, target: Input) -> list[Feeds]:
    """Return what it is run on. Raises ExportError where it runs at none of the lengths."""

    def noise(of_source: int, of_target: int) -> Feeds:
        return {source.name: source.noise(of_source), target.name: target.noise(of_target)}

    def run(pair: tuple[int, int]) -> object:
        return probe(whole.model, noise(*pair), whole.graph.outputs)

    try:
        for pair in TRIED[0]:
            run(pair)
        tried = TRIED[0]
    except ExportError:
        tried = TRIED[1]
    return [noise(*pair) for pair in (*tried, *([LONG] if runs(lambda _: run(LONG), 0) else []))]


def _masks(whole: StreamGraph, on_data: set[ir.Value]) -> list[tuple[ir.Node, int]]:
    """Return the nodes on data that read what may be a mask of lengths, computed on no data, and at which input (2)."""
    return [
        (node, place)
        for node in whole.graph
        if node.op_type in ("Where", *NEUTRAL) and node.outputs[0] in on_data and not node.outputs[0].is_graph_output()
        for place, value in enumerate(node.inputs[:1] if node.op_type == "Where" else node.inputs)
        if value is not None and value.producer() is not None and value not in on_data
    ]


def _computed(whole: StreamGraph, on_data: set[ir.Value]) -> list[ir.Value]:
    """Return what is computed on no data and read by what is on data."""
    read = [value for node in whole.graph if node.outputs[0] in on_data for value in reads(node)]
    return [value for value in dict.fromkeys(read) if value.producer() is not None and value not in on_data]


def _pass_over(node: ir.Node, place: int, found: Items[Feeds]) -> bool:
    """Let all that reads a node's output read what passes through it, if that is the same at all lengths."""
    masks = [run[str(node.inputs[place].name)] for run in found]  # type: ignore[union-attr]
    if node.op_type != "Where":
        kept = node.inputs[1 - place] if all(np.all(mask == NEUTRAL[node.op_type]) for mask in masks) else None
    elif all(mask.all() for mask in masks):
        kept = node.inputs[1]
    else:
        kept = None if any(mask.any() for mask in masks) else node.inputs[2]
    if kept is None or any(_of(kept, run).shape != _of(node.outputs[0], run).shape for run in found):
        return False
    node.outputs[0].replace_all_uses_with(kept)
    return True


def _fold(whole: StreamGraph, value: ir.Value, found: Items[Feeds]) -> bool:
    """Make integers a constant if they are the same at all lengths (3)."""
    if any(str(value.name) not in run for run in found):
        return False  # a sequence of tensors
    first, *others = (run[str(value.name)] for run in found)
    if first.dtype.kind != "i" or not all(np.array_equal(first, other) for other in others):
        return False
    value.replace_all_uses_with(whole.constant(f"{value.name}_folded", first))
    return True


def _of(value: ir.Value, run: Feeds) -> Array:
    content = value.const_value
    return run[str(value.name)] if content is None else content.numpy()
