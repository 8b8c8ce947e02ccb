"""Which parts of a step bear integers: each is measured alone, and those that do not are kept at a higher precision.

1. A part is a product, several products of the same weights, a table, or a state. Alone, it is quantized while all
   others stay in float32; its error is that of the outputs over frames of the calibration, as a share of how much each
   output varies. Where memory has no end, states are also run for long: what they round adds up.
2. Errors of different parts are as good as independent, so their squares add up.
3. While all together miss what is allowed, the part with the greatest error is kept one precision
   higher: int8 products at int16 (int8 weights, 16-bit activations), then float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from export.operations import PRODUCTS, by_rows, float_step, initial_state, repeated
from export.program import Array, Program
from export.progress import Tick, still
from export.quantize import flow
from export.quantize.calibrate import Batch, Seen
from export.quantize.integers import VARIANTS, Memo, Precision, quantize
from export.quantize.reference import Interpreter

STREAMS, STEPS = 8, 64
LONG_STEPS = 3000
AHEAD = 2000
"""Steps within which streams begin: the float step has to come there first."""
OPS = 100_000
"""Ops that the long run takes, at most: a longer Program runs for fewer steps."""
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

    @property
    def share(self) -> str:
        """The error in per cent."""
        return f"{self.error:.2%}" if np.isfinite(self.error) else "not finite"

    @property
    def costs(self) -> str:
        """What it does to the outputs, in words."""
        return f"costs {self.share} of the output's spread" if np.isfinite(self.error) else "gives no finite output"


class Sensitivity:
    """What each part of a Program costs in a variant; measured once, when it is made. runs: on what."""

    def __init__(
        self, program: Program, seen: Mapping[str, Seen], variant: str, runs: Runs, tick: Tick = still
    ) -> None:
        self._trial = _Trial(program, seen, variant, runs)
        rings = {state.name for ring in flow.rings(program) for state in ring.states}
        self._parts: dict[str, Precision] = {
            name: "int8" if kind == "Gather"
            # Recurrent states have 16 bits in every variant.
            else "int16" if kind == "state" and name not in rings
            else VARIANTS[variant]
            for name, kind in self._trial.kinds.items()
        }  # fmt: skip
        self._errors: dict[tuple[str, Precision], float] = {}
        for item in self._parts.items():
            self._errors[item] = self._trial.alone(*item)
            tick(1)

    def program(self, allowed: float) -> tuple[Program, list[Part]]:
        """Return the integer Program whose outputs' error is at most `allowed` of their spread, if any is, and why.

        3: the parts with the greatest errors are kept at a higher precision, as many at once as would do, were the
        errors independent.
        """
        kept: dict[str, Precision] = dict(self._parts)
        best = self._trial.quantized(kept)
        while any(p != "float32" for p in kept.values()) and self._trial.error(best) > allowed:
            while True:
                worst = max((n for n in kept if kept[n] != "float32"), key=lambda name: self._errors[name, kept[name]])
                kept[worst] = LADDER[kept[worst]]
                if (worst, kept[worst]) not in self._errors:
                    exact = kept[worst] == "float32"
                    self._errors[worst, kept[worst]] = 0.0 if exact else self._trial.alone(worst, kept[worst])
                together = sum(self._errors[item] ** 2 for item in kept.items()) ** 0.5
                if together <= allowed or all(p == "float32" for p in kept.values()):
                    break
            best = self._trial.quantized(kept)
        parts = [self._trial.part(*item, self._errors[item], kept[item[0]]) for item in self._parts.items()]
        return best, parts


def told(variant: str, program: Program, parts: Sequence[Part]) -> list[str]:
    """Say in which precision a variant computes, and what was kept at a higher one than it asks for."""
    shares = program.precisions()
    total = sum(shares.values())
    macs = ", ".join(f"{count:,} of {total:,} MACs in {dtype}" for dtype, count in sorted(shares.items()))
    lines = [f"{variant}: {macs}"] if total else []
    lines += [
        f"{variant}: '{part.node}' ({part.kind}) is kept in {part.kept}: alone in {part.precision} it {part.costs}"
        for part in sorted(parts, key=lambda part: -part.error)
        if part.kept != part.precision
    ]
    return lines


@dataclass(frozen=True)
class Outputs:
    """Of a step's outputs, the first `delay` do not exist. remembers: they hang on all frames before."""

    delay: int
    remembers: bool


class _Trial:
    """members: the names under which quantization knows a part; kinds: what each is."""

    def __init__(self, program: Program, seen: Mapping[str, Seen], variant: str, runs: Runs) -> None:
        self.program, self.seen, self.variant, self.runs = program, seen, variant, runs
        self.members, self.memo = parts(program), Memo()
        written = {op.output: op for op in program.ops}
        self.ops = {name: [written[m] for m in members if m in written] for name, members in self.members.items()}
        self.kinds = {name: ops[0].kind if ops else "state" for name, ops in self.ops.items()}

    def quantized(self, precision: Mapping[str, Precision]) -> Program:
        spread = {member: precision[name] for name, members in self.members.items() for member in members}
        return quantize(self.program, self.seen, self.variant, spread, self.memo)

    def alone(self, name: str, precision: Precision) -> float:
        others: dict[str, Precision] = dict.fromkeys(self.members, "float32")
        program = self.quantized({**others, name: precision})
        return (self.runs.long if self.kinds[name] == "state" else self.runs.short).error(program)

    def error(self, program: Program) -> float:
        return self.runs.long.error(program)

    def part(self, name: str, precision: Precision, error: float, kept: Precision) -> Part:
        ops = self.ops[name]
        node = ops[0].node if ops else name
        return Part(name, node, self.kinds[name], sum(map(self.program.macs, ops)), precision, error, kept)


class Run:
    """What variants are run on, and what it should give.

    streams: of all batches together, as good as that divides; one alone runs from the reset.
    """

    def __init__(  # noqa: PLR0917 - what is run, on what, for how long, against what
        self,
        program: Program,
        batches: Sequence[Batch],
        steps: int,
        streams: int,
        delay: int,
        spread: NDArray[np.floating],
    ) -> None:
        self.spread = spread
        each = max(1, streams // len(batches))
        self.laid = [_Laid(program, batch, steps, each, delay) for batch in batches]

    def error(self, program: Program) -> float:
        """Return the worst output's rms error as a share of its spread; NaN is beyond any."""
        with np.errstate(all="ignore"):
            totals, rows = zip(*(laid.squares(program) for laid in self.laid), strict=True)
            worst = float(np.max(np.sqrt(sum(totals) / sum(rows)) / self.spread))
        return worst if np.isfinite(worst) else np.inf


class Runs:
    """The runs that all variants of a step are measured on, each laid out once, when it is first asked for.

    batches: those of the calibration; outputs: what is to be known of the step's.
    """

    def __init__(self, program: Program, seen: Mapping[str, Seen], batches: Sequence[Batch], outputs: Outputs) -> None:
        self._program, self._batches, self._outputs = program, batches, outputs
        self._spread = np.concatenate([_spread(seen[name].sample) for name in program.outputs])

    @cached_property
    def short(self) -> Run:
        """Several streams side by side."""
        return Run(self._program, self._batches, STEPS, STREAMS, self._outputs.delay, self._spread)

    @cached_property
    def long(self) -> Run:
        """One stream for many steps, where memory has no end; else the short run."""
        if not self._outputs.remembers:
            return self.short
        steps = max(STEPS, min(LONG_STEPS, OPS // max(len(self._program.ops), 1)))
        return Run(self._program, self._batches, steps, 1, self._outputs.delay, self._spread)


class _Laid:
    """One batch's part of a run: frames side by side, float32[steps, streams, frames, features], and their outputs.

    They are out of its longest sequence; each stream begins with the state that the float step has come to there. Of
    sequences that begin anew, each is a stream.
    """

    def __init__(self, program: Program, batch: Batch, steps: int, streams: int, delay: int) -> None:
        if batch.anew:
            self._anew(program, batch, delay + steps, delay)
        else:
            self._within(program, batch, steps, streams, delay)
        state, rows = self.begin, []
        for x in self.frames:
            values, state = float_step(program, x, state, self.held)
            rows.append([part.astype(np.float64) for part in self._outputs(program, values)])
        self.expected = rows[self.delay :]

    def _anew(self, program: Program, batch: Batch, steps: int, delay: int) -> None:
        size, streams = program.frames, len(batch.sequences)
        steps = min(steps, min(map(len, batch.sequences)) // size)
        self.delay, self.held = min(delay, steps - 1), batch.held
        frames = np.stack([sequence[: steps * size] for sequence in batch.sequences])
        self.frames = frames.reshape(streams, steps, size, -1).swapaxes(0, 1)
        self.begin = initial_state(program, streams, self.held)

    def _within(self, program: Program, batch: Batch, steps: int, streams: int, delay: int) -> None:
        longest = max(range(len(batch.sequences)), key=lambda place: len(batch.sequences[place]))
        sequence, size = batch.sequences[longest], program.frames
        total = len(sequence) // size
        steps = min(delay + steps, total)
        span = min(total - steps, AHEAD)
        starts = np.unique(np.linspace(min(delay, span), span, streams).astype(int)).tolist() if streams > 1 else [0]
        self.delay = min(max(delay - starts[0], 0), steps - 1)
        alone = {name: array[longest : longest + 1] for name, array in batch.held.items()}
        self.held = {name: np.repeat(array, len(starts), axis=0) for name, array in alone.items()}
        pieces = [sequence[start * size : (start + steps) * size] for start in starts]
        self.frames = np.stack(pieces).reshape(len(starts), steps, size, -1).swapaxes(0, 1)
        found, state = [], initial_state(program, 1, alone)
        for t in range(starts[-1] + 1):
            if t in starts:
                found.append(state)
            _, state = float_step(program, sequence[None, t * size : (t + 1) * size], state, alone)
        self.begin = {name: np.concatenate([each[name] for each in found]) for name in state}

    def _outputs(self, program: Program, values: Mapping[str, Array]) -> list[Array]:
        """Return each output as [rows, numbers]."""
        found = []
        for name in program.outputs:
            rows = by_rows(repeated(values[name], self.frames.shape[1]), program.shapes[name])
            found.append(rows.reshape(len(rows), -1))
        return found

    def squares(self, program: Program) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each output's sum of squared errors, and over how many rows it goes."""
        interpreter = Interpreter(program, self.frames.shape[1])
        interpreter.hold(self.held)
        interpreter.begin(self.begin)
        given = []
        for x in self.frames:
            interpreter.step(x)
            given.append(self._outputs(program, interpreter.values))
        totals, rows = [], []
        for place in range(len(program.outputs)):
            steps = zip(given[self.delay :], self.expected, strict=True)
            errors = np.concatenate([y[place] - expected[place] for y, expected in steps])
            totals.append(np.square(errors).sum(axis=0))
            rows.append(np.full(errors.shape[1], len(errors), np.float64))
        return np.concatenate(totals), np.concatenate(rows)


def _spread(sample: NDArray[np.float32]) -> NDArray[np.floating]:
    """Return how much each number of an output varies."""
    flat = sample.reshape(len(sample), -1)
    return np.asarray(np.maximum(flat.std(axis=0), 1e-6 * np.maximum(np.abs(flat).max(axis=0), 1e-6)))


def parts(program: Program) -> dict[str, list[str]]:
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
