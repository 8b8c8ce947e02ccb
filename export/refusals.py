"""What a refused model can still do: run as whole windows, and what that costs, measured here."""

from __future__ import annotations

import time
from collections.abc import Sequence as Items

import numpy as np
from numpy.typing import NDArray

from export.choices import Choice
from export.errors import ExportError, OptionError
from export.frontends.sequence import Sequence
from export.graph import StreamGraph, session
from export.passes import single_step
from export.writers import onnx as writer

Frames = NDArray[np.float32]
WINDOW = 100
"""Frames of the window that is measured, where the model has none of its own and the calibration is no shorter."""
RUNS = 7


def rewritten(
    choice: Choice, sequence: Sequence, cases: Items[Frames], attention_window: int | None, max_steps: int | None
) -> StreamGraph:
    """Return the step graph. Raises ExportError naming the node that cannot stream, and what whole windows cost."""
    try:
        return choice.rewrite(sequence, attention_window, max_steps)
    except OptionError:
        raise
    except ExportError as cause:
        if choice.kind in ("window", "restart"):
            raise
        raise ExportError(f"{cause}{_as_windows(sequence, cases)}") from cause


def _as_windows(sequence: Sequence, cases: Items[Frames]) -> str:
    """Say how the model runs as whole windows; nothing where it does not."""
    longest = max(cases, key=len)
    length = sequence.window or min(WINDOW, len(longest), sequence.lengths[-1])
    try:
        took = _milliseconds(sequence, length, longest)
    except ExportError:
        return ""
    return (
        f" As whole windows it runs: --window N. One window of {length} frames takes {took:.2g} ms here, and every "
        "frame would run it again."
    )


def _milliseconds(sequence: Sequence, length: int, frames: Frames) -> float:
    """Measure one window in onnxruntime. Raises ExportError where its outputs cannot be relied on."""
    stream = Choice("window", length).rewrite(sequence)
    runtime = session(writer.float_step(stream))
    zeros = single_step.feeds(stream)
    last = frames[-1:]
    full = zeros | {entry.name: part for entry, part in zip(stream.frames, sequence.to_inputs(last), strict=True)}
    try:
        one, again, other = (runtime.run(None, feeds) for feeds in (full, full, zeros))
    except Exception as cause:
        raise ExportError("its outputs depend on the data in number.") from cause
    for a, b, c in zip(one, again, other, strict=True):
        if a.shape != c.shape or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            raise ExportError("its outputs change from run to run.")
    taken = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        runtime.run(None, full)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken)) * 1000
