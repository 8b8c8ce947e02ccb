"""The Gaussian error linear unit, x/2 (1 + erf(x/√2)), which exporters write as five ops: one again.

Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, equation 1.
"""

from __future__ import annotations

import math

from export.program import Op, Program

NEAR = 1e-6
"""How far off a constant in float32 may lie, for its size."""


def fuse_gelu(program: Program) -> None:
    """Let one op stand for those that compute it, in whatever order the factors come, and drop what nothing reads."""
    search = _Search(program)
    erfs = [op for op in program.ops if op.kind == "Erf" and program.dtype(op.output) == "float32"]
    found = {last.output: x for op in erfs for last, x in search.around(op)}
    program.ops = [
        Op("Gelu", op.output, (found[op.output],), op.node, {"approximate": "none"}) if op.output in found else op
        for op in program.ops
    ]
    if found:
        program.pruned()


class _Search:
    """What makes and what reads each tensor, and the constants of one number."""

    def __init__(self, program: Program) -> None:
        self._makers = {op.output: op for op in program.ops}
        self._readers = program.readers()
        self._kept = {*program.outputs, *(state.output for state in program.states)}
        self._shapes = program.shapes
        self._numbers = {name: float(c.item()) for name, c in program.constants().items() if c.size == 1}

    def around(self, erf: Op) -> list[tuple[Op, str]]:
        """Return the last of the ops that make up a gelu with this erf, and what enters it; nothing if it is none."""
        x, factor = self._scaled(erf.inputs[0])
        last = self._reader(erf.output)
        if not _near(factor, math.sqrt(0.5)) or last is None or last.kind != "Add" or self._beside(last, erf) != 1:
            return []
        factor, times = 1.0, 0
        while not (times and _near(factor, 0.5)):
            following = self._reader(last.output)
            if following is None or self._shapes[following.output] != self._shapes[x]:
                return []
            there, more = self._factor(following, last.output, x)
            times += there
            if times > 1 or not more:
                return []
            last, factor = following, factor * more
        return [(last, x)]

    def _reader(self, name: str) -> Op | None:
        """Return the one op that reads a tensor."""
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self._kept else None

    def _beside(self, op: Op, given: Op) -> float | None:
        """Return the number that an op takes besides what another one gives."""
        return next((self._numbers.get(name) for name in op.inputs if name != given.output), None)

    def _scaled(self, name: str) -> tuple[str, float]:
        """Return what a tensor is a multiple of, and how often; itself once where nothing else is known."""
        op = self._makers.get(name)
        if op is not None and op.kind in {"Mul", "Div"}:
            for place, other in enumerate(op.inputs):
                if other in self._numbers and (op.kind == "Mul" or place == 1) and self._numbers[other]:
                    number = self._numbers[other]
                    return op.inputs[1 - place], number if op.kind == "Mul" else 1 / number
        return name, 1.0

    def _factor(self, op: Op, name: str, x: str) -> tuple[int, float]:
        """Return how many x, and what number, an op multiplies a tensor with; the number is 0 if it does not."""
        source, number = self._scaled(op.output)
        if source == name:
            return 0, number
        if op.kind != "Mul" or name not in op.inputs:
            return 0, 0.0
        other = op.inputs[1 - op.inputs.index(name)]
        source, number = (x, 1.0) if other == x else self._scaled(other)
        return 1, number if source == x else 0.0


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= NEAR * abs(b)
