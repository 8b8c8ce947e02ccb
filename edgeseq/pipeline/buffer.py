"""A bounded buffer between source and model: a thread of its own reads the source, the hot loop takes what waits."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from dataclasses import replace
from typing import Literal, Self

import numpy as np

from edgeseq.types import Chunk, Source

WhenFull = Literal["block", "drop-oldest", "skip-to-newest"]
"""The TOML key `when_full`: what happens to samples that come while the buffer is full."""
WORDS: dict[WhenFull, str] = {
    "block": "the source waits",
    "drop-oldest": "the oldest are dropped, counted, and a gap",
    "skip-to-newest": "all that wait are dropped, counted, and a gap",
}
"""The policies, and what each does."""
LEAST_SAMPLES, LEAST_S = 1 << 12, 10.0
MOST_TOGETHER = 4096
"""Samples of chunks that are joined: more would keep the hot loop from turning."""
ENDS_WITHIN_S = 5.0
"""A source that was closed ends its iteration within this time, or is left alone."""

log = logging.getLogger(__name__)


def default_samples(rate_hz: float) -> int:
    """Return how many samples wait where the configuration does not say: 10 s of one stream, 4,096 at least."""
    return max(LEAST_SAMPLES, int(rate_hz * LEAST_S))


class Buffer:
    """Chunks in the order in which they came, at most `samples` of them waiting, a longer chunk only by itself.

    when_full: "block" lets the source wait, and loses nothing. "drop-oldest" drops what has waited longest,
    "skip-to-newest" all that waits; what is lost is counted in `dropped` by sample, and the next chunk of that stream
    has its gap mark.

    Consecutive chunks that wait are taken as one, so that a model which has fallen behind catches up by `run`. Under
    "block" they are joined only where they stand side by side, and the order between streams stays the source's; a
    policy that loses samples anyway joins each stream's own.
    """

    def __init__(self, source: Source, *, samples: int, when_full: WhenFull) -> None:
        self.dropped: Counter[str] = Counter()
        self._source = source
        self._most, self._when_full = samples, when_full
        lock = threading.Lock()
        self._came, self._room = threading.Condition(lock), threading.Condition(lock)
        # By stream, and the stream served longest ago first; under "block" all in one queue.
        self._waiting: dict[str, deque[Chunk]] = {}
        self._samples = 0
        self._lost: set[str] = set()
        self._read = self._stopped = self._closed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._reading, name="edgeseq-source", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Drop what waits, close the source, and see that the reading ends."""
        with self._room:
            self._closed = True
            self._room.notify()
        self.stop()
        self._thread.join(ENDS_WITHIN_S)
        if self._thread.is_alive():
            log.warning("the source was closed %g s ago and still reads; it is left behind.", ENDS_WITHIN_S)
        if self._samples:
            self.dropped["left_behind"] += self._samples

    def stop(self) -> None:
        """End the reading, from any thread; what was read can be taken still."""
        self._stopped = True
        self._source.close()

    @property
    def ended(self) -> bool:
        """Whether the source has ended and everything was taken."""
        with self._came:
            return self._read and not self._waiting and self._failure is None

    def take(self, wait_s: float) -> Chunk | None:
        """Return the next chunk, joined with what follows it; None if nothing comes within wait_s, or the source ended.

        Raises what the source raised, once everything before it was taken.
        """
        with self._came:
            self._came.wait_for(lambda: self._waiting or self._read, wait_s)
            if self._waiting:
                chunk = self._next()
                # Not for every chunk: two threads that take turns at each spend their time on that.
                if self._samples <= self._most // 2:
                    self._room.notify()
                return chunk
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return None

    def _reading(self) -> None:
        """Read the source to its end, in the thread."""
        try:
            for chunk in self._source:
                if self._stopped or not self._put(chunk):
                    break
        except Exception as cause:  # noqa: BLE001 - raised again where the chunks are taken
            self._failure = cause
        finally:
            with self._came:
                self._read = True
                self._came.notify()

    def _put(self, chunk: Chunk) -> bool:
        """Let a chunk wait, after making room. Returns False if nobody will take it."""
        count = len(chunk.t_ns)
        with self._came:
            if self._when_full == "block":
                self._room.wait_for(lambda: self._closed or self._has_room(count))
            elif not self._has_room(count):
                self._make_room(0 if self._when_full == "skip-to-newest" else self._most - count)
            if self._closed:
                self.dropped["left_behind"] += count
                return False
            key = "" if self._when_full == "block" else chunk.stream
            self._waiting.setdefault(key, deque()).append(chunk)
            self._samples += count
            self._came.notify()
        return True

    def _has_room(self, count: int) -> bool:
        return self._samples == 0 or self._samples + count <= self._most

    def _make_room(self, left: int) -> None:
        """Drop the oldest chunks until at most `left` samples wait; of a stream that ended its end is kept."""
        ends = []
        while self._samples > max(0, left):
            chunk = self._pop()[1]
            self.dropped[self._when_full.replace("-", "_")] += len(chunk.t_ns)
            self._lost.add(chunk.stream)
            if chunk.last:
                ends.append(replace(chunk, t_ns=chunk.t_ns[:0], values=chunk.values[:0]))
        for end in reversed(ends):
            queue = self._waiting.pop(end.stream, deque())
            queue.appendleft(end)
            self._waiting = {end.stream: queue, **self._waiting}

    def _next(self) -> Chunk:
        """Return the oldest chunk joined with those of its stream that follow without a gap, and its mark of a loss."""
        key, first = self._pop()
        parts, count = [first], len(first.t_ns)
        while (queue := self._waiting.get(key)) and _follows(parts[-1], queue[0]):
            count += len(queue[0].t_ns)
            if count > MOST_TOGETHER:
                break
            parts.append(self._pop()[1])
        if queue:  # the other streams come first now
            self._waiting[key] = self._waiting.pop(key)
        gap = first.gap or first.stream in self._lost
        self._lost.discard(first.stream)
        if len(parts) == 1:
            return replace(first, gap=gap) if gap != first.gap else first
        t_ns = np.concatenate([part.t_ns for part in parts])
        return replace(parts[-1], t_ns=t_ns, values=np.concatenate([part.values for part in parts]), gap=gap)

    def _pop(self) -> tuple[str, Chunk]:
        """Take out the first queue's oldest chunk."""
        key, queue = next(iter(self._waiting.items()))
        chunk = queue.popleft()
        if not queue:
            del self._waiting[key]
        self._samples -= len(chunk.t_ns)
        return key, chunk


def _follows(before: Chunk, after: Chunk) -> bool:
    """Whether two chunks may be taken as one."""
    return before.stream == after.stream and not before.last and not after.gap
