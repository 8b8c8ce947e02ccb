"""What Python's garbage collector does in a process that has loaded one model: its pauses, and how often it comes.

It is the process that `benchmarks.collector` starts, and loads nothing that a device would not.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq import backends, bundle
from edgeseq.collector import frozen
from edgeseq.pipeline import Pipeline
from edgeseq.types import About, Channel, Chunk, Frames, StreamSpec

PAUSES = 15
STEPS = 100_000


class Again:
    """A source of the same frame over and over, a chunk each."""

    def __init__(self, frame: Frames) -> None:
        self.spec = StreamSpec(tuple(Channel(str(place)) for place in range(frame.shape[1])), 1.0)
        self.dropped: Counter[str] = Counter()
        self._frame = frame

    def __iter__(self) -> Iterator[Chunk]:
        for place in range(STEPS):
            yield Chunk(np.array([place], np.int64), self._frame)

    def close(self) -> None:
        """Nothing is open."""


class Collections:
    """Counts what the collector does."""

    def __init__(self) -> None:
        self.began, self.took = 0, list[int]()
        gc.callbacks.append(self._told)

    def _told(self, phase: str, _: Any) -> None:
        if phase == "start":
            self.began = time.perf_counter_ns()
        else:
            self.took.append(time.perf_counter_ns() - self.began)

    def pause_us(self) -> float:
        """Return how long a full collection takes, the median of several."""
        self.took.clear()
        for _ in range(PAUSES):
            gc.collect()
        return float(np.median(self.took)) / 1000


def measured(path: Path, backend: str) -> dict[str, float]:
    """Return the pauses in microseconds, and the collections while a pipeline makes STEPS steps."""
    opened = bundle.read(path)
    model = backends.load(opened, backend, "float32")
    frame = np.zeros((1, sum(opened.graph().widths)), np.float32)
    outputs = tuple(tensor.name for tensor in opened.graph().outputs)
    pipeline = Pipeline(source=Again(frame), model=model, sinks=[], about=About("", "", "", "", outputs))
    gc.collect()
    seen = Collections()
    found = {"containers": len(gc.get_objects()), "full_us": seen.pause_us()}
    with frozen():
        found["frozen_us"] = seen.pause_us()
    seen.took.clear()
    pipeline.run()
    return found | {"steps": STEPS, "collections": len(seen.took) - 1}  # one is frozen's own


if __name__ == "__main__":
    print(json.dumps(measured(Path(sys.argv[1]), sys.argv[2])))
