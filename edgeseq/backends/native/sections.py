"""A program's operations in three parts, by what they lean on: inputs, states, or both. What is held is a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeseq.backends.native.cells import cells
from edgeseq.backends.native.fusing import fused
from edgeseq.backends.native.program import Description, Op


@dataclass(frozen=True)
class Sections:
    """Operations that read no state, not even through others; those that read nothing but states; the rest.

    known: what the second and third part, the outputs and the states to come read of the inputs and of the first part.
    """

    of_inputs: Sequence[Op]
    of_states: Sequence[Op]
    rest: Sequence[Op]
    known: Sequence[str]


def sections(told: Description) -> Sections:
    """Divide a program's operations; each part keeps their order."""
    stateless = {entry.name for entry in told.inputs}
    stateful = {*(state.input for state in told.states), *told.held}
    constant: set[str] = set()
    first, second, rest = [], [], []
    for op in cells(fused(told), told):
        read = set(op.inputs) - constant
        if not read:
            constant.add(op.output)
        if read <= stateless:
            first.append(op)
            stateless.add(op.output)
        elif read <= stateful:
            second.append(op)
            stateful.add(op.output)
        else:
            rest.append(op)
    later = [name for op in (*second, *rest) for name in op.inputs]
    later += [*told.outputs, *(state.output for state in told.states)]
    return Sections(first, second, rest, [name for name in dict.fromkeys(later) if name in stateless])
