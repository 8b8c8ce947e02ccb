"""What holds for every source, ours and registered ones: each is found by itself, none needs a line here.

A source's example ends by itself, or it has `example_messages`, topics and payloads that a broker passes to it for as
long as it reads.
"""

import inspect
import itertools
import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plugin_examples
import pytest

from edgeseq import plugins
from edgeseq.errors import StateError
from edgeseq.types import Checkable, Chunk, Replayable

ALL = pytest.mark.parametrize("name", plugins.known("sources"))


@pytest.fixture(autouse=True)
def examples_write_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def make(name: str, **more: Any) -> Any:
    cls = plugins.find("sources", name)
    return cls(**{**plugin_examples.of(cls), **more})


Play = Callable[[str], tuple[Any, Iterator[Chunk]]]


@pytest.fixture
def play(request: pytest.FixtureRequest) -> Play:
    """Return a source made of its example, and its chunks; a broker's are closed after the eighth."""

    def played(name: str) -> tuple[Any, Iterator[Chunk]]:
        messages = getattr(plugins.find("sources", name), "example_messages", None)
        if messages is None:
            source = make(name)
            return source, iter(source)
        port = request.getfixturevalue("mosquitto").port
        source = make(name, port=port)
        return source, published(source, port, messages())

    return played


def published(source: Any, port: int, messages: list[tuple[str, bytes]]) -> Iterator[Chunk]:
    """Yield eight chunks of a source while messages are published again and again."""
    over = threading.Event()

    def publish() -> None:
        while not over.wait(0.01):
            for topic, payload in messages:
                command = ["mosquitto_pub", "-p", str(port), "-t", topic, "-q", "1", "-s"]
                subprocess.run(command, input=payload, check=True)

    publisher = threading.Thread(target=publish, daemon=True)
    publisher.start()
    yield from itertools.islice(source, 8)
    source.close()
    over.set()
    publisher.join(30)


@ALL
def test_source_gives_whole_chunks_in_order(name: str, play: Play) -> None:
    source, chunks = play(name)
    assert not isinstance(source, Checkable) or source.check()
    before: dict[str, int] = {}
    ended = set()
    for chunk in chunks:
        assert chunk.values.dtype == np.float32
        assert chunk.t_ns.dtype == np.int64
        assert chunk.values.shape == (len(chunk.t_ns), len(source.spec.channels))
        assert chunk.stream not in ended
        times = [before.get(chunk.stream, int(chunk.t_ns[0])), *chunk.t_ns.tolist()] if len(chunk.t_ns) else []
        assert times == sorted(times)
        if times:
            before[chunk.stream] = times[-1]
        if chunk.last:
            ended.add(chunk.stream)
    assert before
    assert ended >= set(before) or hasattr(source, "example_messages"), "every stream's end is marked"


@ALL
def test_source_keeps_nothing_of_its_chunks(name: str, play: Play) -> None:
    whole = [chunk.values.copy() for chunk in play(name)[1]]
    spoiled = []
    for chunk in play(name)[1]:
        spoiled.append(chunk.values.copy())
        chunk.values[:] = -1e9
    # A device cuts its chunks, and ends, at a pace of its own.
    first, second = np.concatenate(whole), np.concatenate(spoiled)
    both = min(len(first), len(second))
    assert second[:both].tobytes() == first[:both].tobytes()


@ALL
def test_source_ends_when_closed(name: str) -> None:
    source = make(name)
    if "pace" in inspect.signature(type(source)).parameters:
        # An hour a second: only close can end this within the test's time.
        source = make(name, pace=1 / 3600)
    chunks: list[Chunk] = []
    thread = threading.Thread(target=lambda: chunks.extend(source), daemon=True)
    thread.start()
    source.close()
    thread.join(30)
    assert not thread.is_alive()


def plainly(chunk: Chunk) -> tuple[Any, ...]:
    return chunk.t_ns.tolist(), chunk.values.tobytes(), chunk.gap, chunk.stream, chunk.last, chunk.state


@ALL
def test_source_goes_on_behind_any_chunk(name: str, play: Play) -> None:
    cls = plugins.find("sources", name)
    if not hasattr(cls, "set_state"):
        assert all(chunk.state is None for chunk in play(name)[1]), "it says nothing of where it is"
        return
    example = plugin_examples.of(cls)
    source = cls(**example)
    assert isinstance(source, Replayable)
    assert source.replays
    whole = [plainly(chunk) for chunk in source]
    states = [json.loads(json.dumps(chunk[-1])) for chunk in whole]
    assert None not in states
    for done, state in enumerate(states, start=1):
        again = cls(**example)
        again.set_state(state)
        assert [plainly(chunk) for chunk in again] == whole[done:]
        assert again.dropped == source.dropped, "what was dropped before is not forgotten"
    for wrong in ({}, {"chunks": "1"}, {**states[0], "bytes": 1}):
        with pytest.raises(StateError):
            cls(**example).set_state(wrong)
