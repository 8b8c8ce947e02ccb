"""Which parts of a step bear integers: each is measured alone, and those that do not are kept at a higher precision.

1. A part is a product, a table or a state. Alone, it is quantized while all others stay in float32; its error is that
   of the outputs, over frames of the calibration from their reset, as a share of how much each output varies.
2. Errors of different parts are as good as independent, so their squares add up.
3. While all together miss GOAL of what the variant is allowed, the part with the greatest error is kept one precision
   higher: int8 products at int16 (int8 weights, 16-bit activations), then float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.operations import PRODUCTS, float_step, initial_state, joined
from export.program import Array, Program
from export.progress import Tick, still
from export.quantize.calibrate import Seen
from export.quantize.integers import VARIANTS, Precision, quantize
from export.quantize.reference import Interpreter

STREAMS, STEPS = 8, 160
GOAL = 0.75
"""Share of the bound that all parts together may take: the proof runs longer, and on other engines."""
LADDER: Mapping[Precision, Precision] = {"int8": "int16", "int16": "float32"}


@dataclass(frozen=True)
class Part:
    """One part. error: of the outputs, as a share of their spread, with this part alone in `precision`.

    kept: the precision that it was kept at. macs: multiply-accumulates of a step.
    """

    name: str
    node: str
    kind: str
    macs: int
    precision: Precision
    error: float
    kept: Precision


def measure(  # noqa: PLR0917 - what is measured, on what, against what
    program: Program,
    seen: Mapping[str, Seen],
    variant: str,
    sequences: Sequence[NDArray[np.float32]],
    bound: float,
    tick: Tick = still,
) -> tuple[Program, list[Part]]:
    """Return the integer Program of a variant that keeps its bound, if any does, and what was measured on the way.

    bound: the greatest rms error allowed, as a share of each output's spread.
    """
    trial = _Trial(program, seen, variant, _side_by_side(program, sequences))
    operand = VARIANTS[variant]
    parts: dict[str, Precision] = {
        name: operand if kind != "table" else "int8" for name, kind in _parts(program).items()
    }
    errors: dict[tuple[str, Precision], float] = {}
    for name, precision in parts.items():
        errors[name, precision] = trial.alone(name, precision, parts)
        tick(1)
    kept: dict[str, Precision] = dict(parts)
    best = trial.quantized(kept)
    error = trial.error(best)
    while error > GOAL * bound and any(precision != "float32" for precision in kept.values()):
        # 3: as many at once as would do, were the errors independent
        while True:
            worst = max((name for name in kept if kept[name] != "float32"), key=lambda name: errors[name, kept[name]])
            kept[worst] = LADDER[kept[worst]]
            step = (worst, kept[worst])
            if kept[worst] == "float32":
                errors[step] = 0.0
            elif step not in errors:
                errors[step] = trial.alone(worst, kept[worst], parts)
            together = sum(errors[item] ** 2 for item in kept.items()) ** 0.5
            if together <= GOAL * bound or all(precision == "float32" for precision in kept.values()):
                break
        best = trial.quantized(kept)
        error = trial.error(best)
    return best, [trial.part(name, precision, errors[name, precision], kept[name]) for name, precision in parts.items()]


def told(variant: str, program: Program, parts: Sequence[Part]) -> list[str]:
    """Say in which precision a variant computes, and what was kept at a higher one than it asks for."""
    shares = program.precisions()
    total = sum(shares.values())
    macs = ", ".join(f"{count:,} of {total:,} MACs in {dtype}" for dtype, count in sorted(shares.items()))
    lines = [f"{variant}: {macs}"] if total else []
    lines += [
        f"{variant}: '{part.node}' ({part.kind}) is kept in {part.kept}: alone in {part.precision} it costs "
        f"{part.error:.2%} of the output's spread"
        for part in sorted(parts, key=lambda part: -part.error)
        if part.kept != part.precision
    ]
    return lines


class _Trial:
    def __init__(self, program: Program, seen: Mapping[str, Seen], variant: str, frames: Array) -> None:
        self.program, self.seen, self.variant, self.frames = program, seen, variant, frames
        self.written = {op.output: op for op in program.ops}
        streams = frames.shape[1]
        state, rows = initial_state(program, streams), []
        for x in frames:
            values, state = float_step(program, x, state)
            rows.append(joined(values, program, streams).astype(np.float64))
        self.expected = np.stack(rows)
        flat = self.expected.reshape(-1, self.expected.shape[-1])
        self.spread = np.maximum(flat.std(axis=0), 1e-6 * np.maximum(np.abs(flat).max(axis=0), 1e-6))

    def quantized(self, precision: Mapping[str, Precision]) -> Program:
        return quantize(self.program, self.seen, self.variant, precision)

    def alone(self, name: str, precision: Precision, parts: Mapping[str, Precision]) -> float:
        others: dict[str, Precision] = dict.fromkeys(parts, "float32")
        return self.error(self.quantized({**others, name: precision}))

    def error(self, program: Program) -> float:
        """Return the worst output's rms error as a share of its spread."""
        interpreter = Interpreter(program, self.frames.shape[1])
        rows = np.stack([interpreter.step(x) for x in self.frames])
        rms = np.sqrt(np.mean(np.square(rows - self.expected), axis=(0, 1)))
        return float(np.max(rms / self.spread))

    def part(self, name: str, precision: Precision, error: float, kept: Precision) -> Part:
        op = self.written.get(name)
        if op is None:
            return Part(name, name, "state", 0, precision, error, kept)
        return Part(name, op.node, op.kind, self.program.macs(op), precision, error, kept)


def _parts(program: Program) -> dict[str, str]:
    """Return the names of a Program's parts, and what each is (1)."""
    constants = program.constants()
    found = {}
    for op in program.ops:
        if program.dtypes.get(op.output):
            continue
        if op.kind in PRODUCTS:
            found[op.output] = "product"
        elif op.kind == "Gather" and op.inputs[0] in constants and op.inputs[1] not in constants:
            found[op.output] = "table"
    return found | {state.name: "state" for state in program.states if state.initial.dtype == np.float32}


def _side_by_side(program: Program, sequences: Sequence[NDArray[np.float32]]) -> Array:
    """Cut the sequences into frames float32[steps, streams, frames, features], each stream from its reset."""
    steps = min(STEPS, max(len(sequence) for sequence in sequences) // program.frames)
    long = [sequence for sequence in sequences if len(sequence) >= steps * program.frames]
    pieces = [s[at : at + steps * program.frames] for s in long for at in range(0, len(s), steps * program.frames)]
    whole = [piece for piece in pieces if len(piece) == steps * program.frames]
    picked = [whole[place] for place in np.unique(np.linspace(0, len(whole) - 1, STREAMS).astype(int))]
    return np.stack(picked).reshape(len(picked), steps, program.frames, -1).swapaxes(0, 1)
