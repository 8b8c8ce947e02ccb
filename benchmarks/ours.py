"""edgeseq's own contenders: what it is all held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import edgeseq
from benchmarks.measure import Contender
from edgeseq.bundle import Bundle
from edgeseq.types import Frames

STEP, INTO, RUN = "step(x)", "step(x, out=y)", "run(X)"


def contenders(bundle: Bundle, backend: str, rows: Frames, variant: str = "float32") -> dict[str, Contender]:
    """Return a bundle's three ways to be called, by name; each is a model of its own. rows: [T, features]."""
    step, into, run = (edgeseq.load(bundle, backend, variant) for _ in range(3))
    frames = [row.copy() for row in rows]
    y = np.array(into.step(frames[0]))
    return {
        STEP: _contender(STEP, step, step.step, [(x,) for x in frames]),
        INTO: _contender(INTO, into, into.step, [(x, y) for x in frames]),
        RUN: _contender(RUN, run, run.run, [(rows,)], len(rows)),
    }


def _contender(name: str, model: Any, call: Any, arguments: Sequence[tuple[Any, ...]], steps: int = 1) -> Contender:
    settings = f"{model.backend}, {model.variant}"
    return Contender(f"edgeseq {name}", call, arguments, model.reset, steps, settings)
