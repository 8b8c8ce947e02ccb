"""The graphs of an encoder-decoder, held against each other: the encoder's parts in their order, then the decoder.

Each takes the source, or what parts before it give; so nothing goes in a circle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseq.bundle import Graph, Tensor
    from edgeseq.tables import Document

LAST = ["encoder", "decoder"]
"""The last part, and what all of them are for."""


def called(name: str) -> str:
    """Return a graph's name as a sentence has it."""
    return f"the {name}" if name in ("step", *LAST) else name


def check(document: Document, graphs: Sequence[Graph]) -> None:
    """Check what each graph takes. Raises BundleError naming the key that is wrong."""
    names = [graph.name for graph in graphs]
    if names[-2:] != LAST or len(set(names)) < len(names):
        raise document.fail(
            "an encoder's parts have names of their own; `encoder` is the last, `decoder` next.", "graphs"
        )
    given: dict[str, dict[str, Tensor]] = {}
    for index, graph in enumerate(graphs):
        last = graph.name == LAST[-1]
        late = (graph.frames_per_step, graph.delay) != (1, 0)
        if graph.backwards and (last or graph.whole or late):
            why = "only a part of an encoder that steps entry by entry, without delay, goes backwards."
            raise document.fail(why, "graphs", index, "backwards")
        for place, tensor in enumerate(graph.inputs):
            where = ("graphs", index, "inputs", place)
            if tensor.part is None and tensor.output is None:
                continue
            rows = _given(document, given, tensor.part, tensor.output, where)
            if last or graph.whole or tensor.dtype != "float32" or math.prod(rows.shape) != graph.widths[place]:
                raise document.fail(f"'{tensor.output}' is nothing that comes in here row by row.", *where)
        _check_held(document, given, graph, index)
        given[graph.name] = {tensor.name: tensor for tensor in graph.outputs}
    sources = [(t.shape, t.dtype) for graph in graphs[:-1] for t in graph.inputs if t.part is None]
    if not sources or len({str(source) for source in sources}) > 1:
        raise document.fail("an encoder takes one source.", "graphs")


def _check_held(document: Document, given: Mapping[str, Mapping[str, Tensor]], graph: Graph, index: int) -> None:
    for place, entry in enumerate(graph.held):
        where = ("graphs", index, "held", place)
        found = _given(document, given, entry.part, entry.output, where)
        # Where it grows with the source, the shape of what gives it has 1, as that of a step's row does.
        if math.prod(1 if size == -1 else size for size in entry.shape) != math.prod(found.shape):
            raise document.fail(f"'{entry.output}' is {found.shape}, which is not held as {entry.shape}.", *where)


def _given(
    document: Document,
    given: Mapping[str, Mapping[str, Tensor]],
    part: str | None,
    output: str | None,
    where: tuple[str | int, ...],
) -> Tensor:
    """Return what a graph takes from one before it. Raises BundleError where there is no such output."""
    before = given.get(part or "")
    if before is None:
        raise document.fail(f"no graph before it is called '{part}'.", *where)
    if output is None or output not in before:
        raise document.fail(f"{called(str(part))} has no output '{output}'.", *where)
    return before[output]
