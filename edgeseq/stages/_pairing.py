"""Which output of a model file is the next value of which state input, where shapes and types leave one answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from edgeseq.stages._fit import written
from edgeseq.stages._scale import Scale

NARROW = {"int8", "uint8", "int16", "uint16"}
"""Integers as which files store real numbers."""
UNSAID = "integers of which the file does not say what they mean"
SEVERAL = "integers whose scale is not one and the same wherever the file has it"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a model file. shape: None where the file leaves a size open.

    dtype: what it takes or gives here, float32 where the file stores real numbers as integers: scale says how. unclear:
    why what its integers mean cannot be told, where that is asked.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[np.generic]
    scale: Scale | None = None
    unclear: str = ""

    def words(self) -> str:
        """Say type and shape."""
        return f"{self.scale.words() if self.scale else self.dtype} {written(self.shape)}"

    def entry(self) -> str:
        """Say name and shape, and what is unclear."""
        return f"'{self.name}' {written(self.shape)}" + (f" ({self.dtype}, {self.unclear})" if self.unclear else "")


def agree(one: Port, other: Port) -> bool:
    """Whether one may carry what the other does: the same type and no size that differs."""
    pairs = zip(one.shape, other.shape, strict=False)
    same_rank = len(one.shape) == len(other.shape)
    return one.dtype == other.dtype and same_rank and all(a == b or a is None or b is None for a, b in pairs)


def pair(states: Sequence[Port], outputs: Sequence[Port]) -> tuple[dict[str, str] | None, bool]:
    """Return an output for each state input, and whether there is no other way; None where there is none.

    One output at least must be left, the model's result. Names decide nothing; they only make what is given where there
    are several ways the likelier one, for a person to judge.
    """
    edges = {state.name: _likeliest(state.name, [o.name for o in outputs if agree(state, o)]) for state in states}
    found = _matching(edges) if len(states) < len(outputs) else None
    if found is None:
        return None, False
    # Another matching, if there is one, does without at least one pair of this one.
    for state, output in found.items():
        without = {**edges, state: [name for name in edges[state] if name != output]}
        if _matching(without) is not None:
            return found, False
    return found, True


def _likeliest(state: str, outputs: Sequence[str]) -> list[str]:
    """Return the outputs whose names are most like the state's first."""
    return sorted(outputs, key=lambda output: -SequenceMatcher(None, state, output).ratio())


def _matching(edges: Mapping[str, Sequence[str]]) -> dict[str, str] | None:
    """Return a state -> output assignment that uses no output twice, by augmenting paths; None if there is none."""
    taken: dict[str, str] = {}

    def place(state: str, seen: set[str]) -> bool:
        for output in edges[state]:
            if output in seen:
                continue
            seen.add(output)
            if output not in taken or place(taken[output], seen):
                taken[output] = state
                return True
        return False

    if not all(place(state, set()) for state in edges):
        return None
    by_state = {state: output for output, state in taken.items()}
    return {state: by_state[state] for state in edges}
