"""What a step has to do at least: the bytes that it reads, the products that it adds up."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeseq import footprint
from edgeseq.bundle import Bundle, ModelFile

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Work:
    """A model file's work. None: bundle.toml does not say, as with files that others made."""

    weight_bytes: int | None
    state_bytes: int
    bytes_per_step: int | None
    float_macs: int | None
    integer_macs: int | None

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of a step, whatever they are computed in."""
        known = [macs for macs in (self.float_macs, self.integer_macs) if macs is not None]
        return sum(known) if known else None


def of(bundle: Bundle, file: ModelFile) -> Work:
    """Return a model file's work.

    Bytes per step: every weight and every state, once, and what enters and leaves. Of a table of tokens' vectors a step
    reads one row, and how large the table is bundle.toml does not say: there the bytes are unknown.
    """
    graph = bundle.graph(file.graph)
    weights, states = file.weight_bytes or None, footprint.of_states(bundle, file)
    through = FLOAT_BYTES * sum(math.prod(tensor.shape) for tensor in (*graph.inputs, *graph.outputs))
    counted = bool(file.float_macs or file.integer_macs)
    return Work(
        weight_bytes=weights,
        state_bytes=states,
        bytes_per_step=None if weights is None or graph.tokens else weights + states + through,
        float_macs=file.float_macs if counted else None,
        integer_macs=file.integer_macs if counted else None,
    )
