"""Which parts of a step bear integers: each is measured alone, and those that do not are kept at a higher precision.

1. A part is a product, several products of the same weights, a table, or a state. Alone, it is quantized while all
   others stay in float32; its error is that of the outputs, over frames of the calibration from their reset, as a share
   of how much each output varies. Where memory has no end, states are also run for long: what they round adds up.
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
from export.program import Program
from export.progress import Tick, still
from export.quantize.calibrate import Seen
from export.quantize.integers import VARIANTS, Precision, quantize
from export.quantize.reference import Interpreter

STREAMS, STEPS = 8, 64
LONG_STEPS = 3000
OPS = 100_000
"""Ops that the long run takes, at most: a longer Program runs for fewer steps."""
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
    outputs: Outputs,
    tick: Tick = still,
) -> tuple[Program, list[Part]]:
    """Return the integer Program of a variant that keeps its bound, if any does, and what was measured on the way.

    bound: the greatest rms error allowed, as a share of each output's spread.
    """
    trial = _Trial(program, seen, variant, sequences, outputs)
    operand = VARIANTS[variant]
    parts: dict[str, Precision] = {name: "int8" if kind == "Gather" else operand for name, kind in trial.kinds.items()}
    errors: dict[tuple[str, Precision], float] = {}
    for name, precision in parts.items():
        errors[name, precision] = trial.alone(name, precision)
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
                errors[step] = trial.alone(worst, kept[worst])
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


@dataclass(frozen=True)
class Outputs:
    """What is to be known of a step's outputs: the first `delay` do not exist; they hang on all before, or it forgets."""

    delay: int
    remembers: bool


class _Trial:
    """members: the names under which quantization knows a part; kinds: what each is."""

    def __init__(
        self,
        program: Program,
        seen: Mapping[str, Seen],
        variant: str,
        sequences: Sequence[NDArray[np.float32]],
        outputs: Outputs,
    ) -> None:
        self.program, self.seen, self.variant = program, seen, variant
        self.members = _parts(program)
        written = {op.output: op for op in program.ops}
        self.ops = {name: [written[m] for m in members if m in written] for name, members in self.members.items()}
        self.kinds = {name: ops[0].kind if ops else "state" for name, ops in self.ops.items()}
        most = OPS // max(len(program.ops), 1)
        self.runs = [_Run(program, sequences, outputs.delay + STEPS, STREAMS, outputs.delay)]
        if outputs.remembers:
            steps = max(STEPS, min(LONG_STEPS, most))
            self.runs.append(_Run(program, sequences, outputs.delay + steps, 1, outputs.delay))

    def quantized(self, precision: Mapping[str, Precision]) -> Program:
        spread = {member: precision[name] for name, members in self.members.items() for member in members}
        return quantize(self.program, self.seen, self.variant, spread)

    def alone(self, name: str, precision: Precision) -> float:
        others: dict[str, Precision] = dict.fromkeys(self.members, "float32")
        program = self.quantized({**others, name: precision})
        return max(run.error(program) for run in self.runs[: 2 if self.kinds[name] == "state" else 1])

    def error(self, program: Program) -> float:
        return max(run.error(program) for run in self.runs)

    def part(self, name: str, precision: Precision, error: float, kept: Precision) -> Part:
        ops = self.ops[name]
        node = ops[0].node if ops else name
        return Part(name, node, self.kinds[name], sum(map(self.program.macs, ops)), precision, error, kept)


class _Run:
    """Frames side by side, float32[steps, streams, frames, features], each stream from its reset, and their outputs."""

    def __init__(
        self, program: Program, sequences: Sequence[NDArray[np.float32]], steps: int, streams: int, delay: int
    ) -> None:
        self.delay = min(delay, max(map(len, sequences)) // program.frames - 1)
        steps = min(steps, max(map(len, sequences)) // program.frames)
        size = steps * program.frames
        pieces = [s[at : at + size] for s in sequences for at in range(0, len(s) - size + 1, size)]
        picked = [pieces[place] for place in np.unique(np.linspace(0, len(pieces) - 1, streams).astype(int))]
        self.frames = np.stack(picked).reshape(len(picked), steps, program.frames, -1).swapaxes(0, 1)
        state, rows = initial_state(program, len(picked)), []
        for x in self.frames:
            values, state = float_step(program, x, state)
            rows.append(joined(values, program, len(picked)).astype(np.float64))
        self.expected = np.stack(rows[self.delay :])
        flat = self.expected.reshape(-1, self.expected.shape[-1])
        self.spread = np.maximum(flat.std(axis=0), 1e-6 * np.maximum(np.abs(flat).max(axis=0), 1e-6))

    def error(self, program: Program) -> float:
        """Return the worst output's rms error as a share of its spread."""
        interpreter = Interpreter(program, self.frames.shape[1])
        rows = np.stack([interpreter.step(x) for x in self.frames][self.delay :])
        rms = np.sqrt(np.mean(np.square(rows - self.expected), axis=(0, 1)))
        return float(np.max(rms / self.spread))


def _parts(program: Program) -> dict[str, list[str]]:
    """Return the parts of a Program (1): under the name of the first, the names of all that belong to one."""
    constants = program.constants()
    found: dict[str, list[str]] = {}
    sharing: dict[int, str] = {}
    for op in program.ops:
        if program.dtypes.get(op.output):
            continue
        if op.kind in PRODUCTS:
            first = sharing.setdefault(id(op.arrays.get("weight", op)), op.output)
            found.setdefault(first, []).append(op.output)
        elif op.kind == "Gather" and op.inputs[0] in constants and op.inputs[1] not in constants:
            found[op.output] = [op.output]
    return found | {state.name: [state.name] for state in program.states if state.initial.dtype == np.float32}
