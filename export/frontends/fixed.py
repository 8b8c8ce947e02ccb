"""Models of a fixed length: set free where that can be proven, or run over windows of their length alone.

1. A graph that runs at other lengths, hears what lies beyond its own and has no unrolled loop is free already.
2. A loop over time that was unrolled, or a length that was written into the nodes, is undone (see export/unrolled).
   Between the lengths, one is left over at which the untouched original runs: there it is what counts.
3. What cannot be undone runs over windows of exactly its length; any other choice is answered with the reason.
4. A graph that says its time is free may have been made for one length all the same: it runs at no other, or a loop in
   it was unrolled, which does not hear what lies beyond. It is taken as fixed to that length.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import replace
from typing import Any

import numpy as np

from export import unrolled
from export.errors import ExportError
from export.frontends.doubles import evaluator
from export.frontends.sequence import PROOF_LENGTHS, Run, Sequence
from export.graph import Array, Input, first_line, floats, session

LONGEST = 2048
"""Length up to which the one is looked for at which a graph runs that says its time is free."""


def freed(sequence: Sequence) -> Sequence:
    """Return the model with its time axis free, if it is, or can be made so; or else with the reason (`fixed`)."""
    window = sequence.window or (None if sequence.groups > 1 else _frozen_at(sequence))
    if window is None:
        return sequence
    if sequence.window is None:
        note = f"its input says that time is free, but its nodes were made for {window} steps"
        sequence = replace(sequence, window=window, notes=[*sequence.notes, note])
    elif _is_free(sequence, window) and not unrolled.unrolled_over(sequence.model, sequence.inputs, window):  # 1
        return replace(sequence, notes=[*sequence.notes, f"the time axis was fixed at {window} steps and was set free"])
    try:
        model, loops = unrolled.rolled(sequence.model, sequence.inputs, window)  # 2
    except ExportError as cause:
        reason = f"{sequence.origin}: its time axis is fixed at {window} steps and cannot be set free: {cause}"
        return replace(sequence, fixed=reason)  # 3
    runtime, engine = session(model), evaluator(model)

    def run(engine: Any, dtype: type[np.floating], original: Run) -> Run:
        return lambda x: original(x) if _length(sequence.inputs, x) == window else _run(sequence, engine, x, dtype)

    note = (
        f"time was fixed at {window} steps; {loops} unrolled loops over it were rolled, and it was set free: at that "
        "length the result equals the original, at others there is none to compare with"
        if loops else f"time was fixed at {window} steps and was set free: its nodes held that length"
    )  # fmt: skip
    return replace(
        sequence, model=model, notes=[*sequence.notes, note],
        single=run(runtime, np.float32, sequence.single), double=run(engine, np.float64, sequence.double),
    )  # fmt: skip


def _run(sequence: Sequence, engine: Any, x: Items[Array], dtype: type[np.floating]) -> list[Array]:
    feeds = {entry.name: array for entry, array in zip(sequence.inputs, floats(x, dtype), strict=True)}
    try:
        return [np.asarray(y) for y in engine.run(None, feeds)]
    except Exception as cause:
        raise ExportError(f"{sequence.origin}: set free, it does not run: {first_line(cause)}") from cause


def _length(inputs: Items[Input], x: Items[Array]) -> int:
    return int(x[0].shape[inputs[0].time_axis])


def _is_free(sequence: Sequence, window: int) -> bool:
    for length in (2 * window, window + 1):
        heard = _hears(sequence, length, window)
        if heard is not None:
            return heard
    return False


def _hears(sequence: Sequence, length: int, beyond: int) -> bool | None:
    """Return whether what lies beyond a frame changes anything; None where the model does not run at that length."""
    one, other = sequence.noise(length, 1), sequence.noise(length, 2)
    for entry, ours, theirs in zip(sequence.inputs, one, other, strict=True):
        first = [slice(None)] * ours.ndim
        first[entry.time_axis] = slice(beyond)
        theirs[tuple(first)] = ours[tuple(first)]
    try:
        pairs = zip(sequence.single(one), sequence.single(other), strict=True)
    except ExportError:
        return None
    return any(not np.array_equal(ours, theirs) for ours, theirs in pairs)


def _frozen_at(sequence: Sequence) -> int | None:
    """Return over how many steps a loop is unrolled in a graph that says its time is free; None where it is (4)."""
    length = PROOF_LENGTHS[0]
    while _hears(sequence, length, 0) is None and length <= LONGEST:
        length *= 2
    if length > LONGEST:  # nodes that hold one length run at no other
        only = (each for each in range(1, LONGEST + 1) if _hears(sequence, each, 0) is not None)
        return next(only, None)
    counted = unrolled.unrolled_over(sequence.model, sequence.inputs, length)
    # That nothing is heard of later frames is no proof by itself: a state that is saturated hears nothing either.
    if counted or not unrolled.cut_short(sequence.model, sequence.inputs, (length, 2 * length)):
        return counted or None
    if _hears(sequence, 2 * length, length) is not False or not _hears(sequence, 2 * length, 0):
        return None
    heard_at, deaf_at = 0, length
    while deaf_at - heard_at > 1:
        middle = (heard_at + deaf_at) // 2
        heard_at, deaf_at = (middle, deaf_at) if _hears(sequence, 2 * length, middle) else (heard_at, middle)
    return deaf_at if deaf_at > 1 else None  # nobody unrolls a loop over one step: it reads the first frame alone
