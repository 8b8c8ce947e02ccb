"""A pipeline of plain parts for tests: chunks that are given, and a sink that remembers everything."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from plain_step import PlainStep

from edgeseq.pipeline import Pipeline, Summary
from edgeseq.types import About, Channel, Chunk, Event, Frames, Output, StreamSpec

SPEC = StreamSpec((Channel("a"), Channel("b")), 1.0)
ABOUT = About("device", "pipeline", "plain", "1", ("h", "square"))


class Given:
    """A source that gives these chunks."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self.spec = SPEC
        self.dropped: Counter[str] = Counter()
        self.closed = False
        self._chunks = chunks

    def __iter__(self) -> Iterator[Chunk]:
        yield from self._chunks

    def close(self) -> None:
        self.closed = True


class Seen:
    """A sink that remembers everything in order."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.outputs: list[tuple[Output, str]] = []
        self.events: list[Event] = []
        self.order: list[str] = []

    def open(self, about: About) -> None:
        assert about is ABOUT
        self.order.append("open")

    def output(self, output: Output, level: str) -> None:
        self.outputs.append((output, level))
        self.order.append("output")

    def event(self, event: Event) -> None:
        self.events.append(event)
        self.order.append("event")

    def end(self, stream: str) -> None:
        self.order.append(f"end {stream}")

    def close(self) -> None:
        self.order.append("close")

    def values(self, stream: str = "") -> Frames:
        return np.array([output.values for output, _ in self.outputs if output.stream == stream], np.float32)

    def times(self, stream: str = "") -> list[int]:
        return [output.t_ns for output, _ in self.outputs if output.stream == stream]


def samples(count: int, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)


def chunk(values: Frames, first: int = 0, **more: Any) -> Chunk:
    return Chunk(np.arange(first, first + len(values), dtype=np.int64), values, **more)


def run(chunks: Iterable[Chunk], model: PlainStep | None = None, **more: Any) -> tuple[Seen, Summary]:
    seen = Seen()
    pipeline = Pipeline(source=Given(chunks), model=model or PlainStep(2), sinks=[seen], about=ABOUT, **more)
    return seen, pipeline.run()
