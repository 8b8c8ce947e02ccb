"""How values flow through a float Program: what is only moved, what only float ops read, which states are rings.

1. A ring is a state that leaves as it entered, but for entries moved along and new ones put in. All that is moved
   together with it has to be stored alike.
2. What only float ops read gains nothing from integers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from export.operations import ARITHMETIC, MOVING, PRODUCTS, REAL
from export.program import Op, Program, ProgramState


@dataclass(frozen=True)
class Ring:
    """States that are moved together, and all the tensors that are moved with them."""

    states: tuple[ProgramState, ...]
    tensors: frozenset[str]


def moved(op: Op) -> list[str]:
    """Return the inputs whose numbers a moving op hands on: not its conditions, not its places."""
    if op.kind == "Where":
        return list(op.inputs[1:])
    return list(op.inputs[:1] if op.kind == "Gather" else op.inputs)


def rings(program: Program) -> list[Ring]:
    """Return the rings among the states (1)."""
    constants = program.constants()
    found: list[Ring] = []
    for state in program.states:
        if state.initial.dtype.kind != "f":
            continue
        tensors = {state.input}
        for op in program.ops:
            if op.kind in MOVING and tensors.intersection(moved(op)):
                tensors.add(op.output)
        if state.output not in tensors or state.input in constants:
            continue
        joined = [ring for ring in found if ring.tensors & tensors]
        states = (*(s for ring in joined for s in ring.states), state)
        found = [ring for ring in found if ring not in joined]
        found.append(Ring(states, frozenset(tensors.union(*(ring.tensors for ring in joined)))))
    return found


def float_only(program: Program) -> set[str]:
    """Return the tensors that only float ops read, moved or summed up on the way there (2)."""
    readers = program.readers()
    kept = {*program.outputs, *(state.output for state in program.states)}
    found: set[str] = set()
    for op in reversed(program.ops):
        reading = readers.get(op.output, [])
        if op.output not in kept and reading and all(_floating(reader, found) for reader in reading):
            found.add(op.output)
    return found


def _floating(op: Op, found: set[str]) -> bool:
    return op.kind in REAL or (op.kind in {*MOVING, *ARITHMETIC} and op.output in found)


def behind(name: str, readers: Mapping[str, list[Op]]) -> list[Op]:
    """Return the ops that read a tensor as data, looking through what only moves it."""
    result, moved_on = [], [name]
    for at in moved_on:  # it grows; what is split and joined again is looked at once
        for op in readers.get(at, []):
            if op.kind not in MOVING:
                result.append(op)
            elif op.output not in moved_on:
                moved_on.append(op.output)
    return result


def for_products(program: Program, names: frozenset[str]) -> bool:
    """Say whether products alone read the tensors, moved about or not."""
    readers = program.readers()
    reading = [op for name in names for op in behind(name, readers)]
    return bool(reading) and all(op.kind in PRODUCTS for op in reading) and not names & set(program.outputs)
