"""The streaming rewrite: one pass a file. This list, in order, is the whole of it.

Each pass takes the StreamGraph and returns whether it changed anything; what it cannot handle it refuses by node.
"""

from __future__ import annotations

from collections.abc import Callable

from export.graph import StreamGraph
from export.passes import (
    align,
    attention,
    attention_pooling,
    branches,
    clean,
    convolution,
    counts,
    cumulative,
    first,
    front,
    joined,
    lengths,
    loops,
    mean,
    padding,
    pairs,
    picked,
    recurrent,
    scan,
    single_step,
    stacked,
    time_axis,
    timeline,
    transposed,
)

Pass = Callable[[StreamGraph], bool]

REWRITE: tuple[Pass, ...] = (
    branches.apply,
    clean.apply,
    loops.apply,
    lengths.apply,
    time_axis.apply,
    transposed.apply,
    picked.apply,
    joined.apply,
    pairs.apply,
    timeline.apply,
    first.apply,
    align.apply,
    stacked.apply,
    padding.apply,
    front.apply,
    convolution.apply,
    recurrent.apply,
    scan.apply,
    cumulative.apply,
    mean.apply,
    attention_pooling.apply,
    counts.apply,
    attention.apply,
    single_step.apply,
)


def rewrite(stream: StreamGraph) -> StreamGraph:
    """Turn a sequence graph into its step graph, in place. Raises ExportError naming the node that cannot stream."""
    for apply in REWRITE:
        apply(stream)
    return stream
