"""The garbage collector beside the hot loop: it passes over what was loaded before, and collects what comes later."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from plain_step import PlainStep

from edgeseq.collector import frozen
from edgeseq.pipeline import Pipeline
from edgeseq.types import About, Channel, Chunk, Event, Output, StreamSpec

FRAMES = 20_000


@pytest.fixture(scope="module", autouse=True)
def _libraries_out_of_the_collectors_way() -> None:
    """Take the place of what stands in all other tests: here the collector is looked at as it is."""


class Node:
    """An object in a cycle, which nothing but the collector gives back."""

    alive = 0

    def __init__(self) -> None:
        self.itself = self
        Node.alive += 1

    def __del__(self) -> None:
        Node.alive -= 1


class Steady:
    """A source of so many frames, each in a chunk of its own; it fails at its end where asked to."""

    spec = StreamSpec((Channel("a"),), 1.0)

    def __init__(self, count: int, failure: Exception | None = None) -> None:
        self.dropped: Counter[str] = Counter()
        self._count, self._failure = count, failure

    def __iter__(self) -> Iterator[Chunk]:
        for place in range(self._count):
            yield Chunk(np.array([place], np.int64), np.ones((1, 1), np.float32))
        if self._failure:
            raise self._failure

    def close(self) -> None:
        pass


class Watching:
    """A sink that looks, at every output, how many nodes are alive, and at the first also what the collector sees."""

    def __init__(self, loaded: Any, *, careless: bool = False) -> None:
        self.dropped: Counter[str] = Counter()
        self.seen: list[bool] = []
        self.most_alive = 0
        self._loaded, self._careless = loaded, careless

    def open(self, about: About) -> None:
        pass

    def output(self, output: Output, level: str) -> None:  # noqa: ARG002 - a sink takes them
        if self._careless:
            Node()
        if not self.seen:
            self.seen.append(tracked(self._loaded))
        self.most_alive = max(self.most_alive, Node.alive)

    def event(self, event: Event) -> None:
        pass

    def end(self, stream: str) -> None:
        pass

    def close(self) -> None:
        pass


def tracked(thing: Any) -> bool:
    """Return whether the collector walks an object: it lists those alone."""
    return any(each is thing for each in gc.get_objects())


def pipeline(source: Steady, sink: Watching) -> Pipeline:
    return Pipeline(source=source, model=PlainStep(1), sinks=[sink], about=About("d", "p", "plain", "1", ("h", "s")))


@pytest.mark.parametrize("failure", [None, ValueError("the wire broke")])
def test_what_was_loaded_before_is_passed_over_while_the_pipeline_runs(failure: Exception | None) -> None:
    loaded = {"weights": [1.0]}
    sink = Watching(loaded)
    made = pipeline(Steady(3, failure), sink)
    assert tracked(loaded)
    if failure:
        with pytest.raises(ValueError, match="the wire broke"):
            made.run()
    else:
        made.run()
    assert sink.seen == [False]
    assert tracked(loaded)
    assert gc.get_freeze_count() == 0


def test_cycles_made_in_the_loop_are_given_back() -> None:
    sink = Watching(None, careless=True)
    before = Node.alive
    pipeline(Steady(FRAMES), sink).run()
    assert sink.most_alive - before <= 2 * gc.get_threshold()[0] < FRAMES
    gc.collect()
    assert Node.alive == before


def test_garbage_from_before_is_not_kept() -> None:
    gc.disable()  # or it might be collected on the way
    try:
        before = Node.alive
        Node()
        with frozen():
            assert Node.alive == before
    finally:
        gc.enable()


def test_what_others_froze_stays_frozen() -> None:
    loaded: list[Any] = [[]]
    with frozen():
        with frozen():
            later: list[Any] = [[]]
            assert tracked(later)
        assert not tracked(loaded)
    assert tracked(loaded)
