"""What a pipeline remembers, gathered from its parts between two chunks, and given back to them by another process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard

from edgeseq.errors import ModelError, StateError
from edgeseq.pipeline.downtime import Downtime
from edgeseq.pipeline.lane import Lane
from edgeseq.pipeline.silence import Silence
from edgeseq.pipeline.snapshot import Keeper, Snapshot, Told
from edgeseq.types import Chunk, Flushing, Plain, Replayable, Sink, Source

log = logging.getLogger(__name__)


class Memory:
    """Takes snapshots of these parts for a keeper, and takes its last one up; without a keeper it does nothing.

    told: what the streams' last events left, asked once the sinks are open. Of a live source it overrides an older
    snapshot: what raised those events does not come again. One that is replayed raises them again by itself.
    """

    def __init__(self, source: Source, lanes: Mapping[str, Lane], silence: Silence, sinks: Sequence[Sink]) -> None:
        self.keeper: Keeper | None = None
        self.told: Callable[[], Mapping[str, Told]] = dict
        self._told: dict[str, Told] = {}
        self._source, self._lanes, self._silence, self._sinks = source, lanes, silence, sinks
        self._position: Plain | None = None
        self._downtime = Downtime(source.spec.rate_hz)

    def resume(self, admit: Callable[[str], Lane | None]) -> bool:
        """Take up the last snapshot, in lanes that are admitted for it.

        Returns False where it does not fit, with the reason logged; the lanes are then to be thrown away.
        """
        snapshot = (self.keeper.last() if self.keeper else None) or Snapshot()
        told = {} if _replays(self._source) else self.told()
        self._told = dict(told)
        silent = {stream: t_ns for stream, t_ns in snapshot.silent.items() if stream not in self._told}
        silent |= {stream: told.silent_ns for stream, told in self._told.items() if told.silent_ns is not None}
        try:
            for stream, state in snapshot.lanes.items():
                lane = _fitting(admit(stream))
                lane.set_state(state)
                self.stand(lane)
            # Last, for it cannot be taken back.
            if snapshot.source is not None:
                _replayable(self._source).set_state(snapshot.source)
        except (ModelError, StateError) as cause:
            log.warning("the checkpoint is not taken up, everything starts afresh: %s", cause)
            self._told = dict(told)
            stand = {stream: each.silent_ns for stream, each in told.items() if each.silent_ns is not None}
            self._silence.resume({}, stand, time.monotonic())
            return False
        self._position = snapshot.source
        heard = {stream: lane.last_ns for stream, lane in self._lanes.items() if lane.last_ns is not None}
        self._silence.resume(heard, silent, time.monotonic())
        if snapshot.source is None:
            self._downtime.begin(heard)
        return True

    def stand(self, lane: Lane) -> None:
        """Let a lane that is new to this process stand where its last event left it, if it knows no later."""
        told = self._told.pop(lane.stream, None)
        if told is None or told.decider is None or lane.decider is None or told.last_ns <= (lane.last_ns or -1):
            return
        try:
            lane.decider.set_state(told.decider)
        except StateError as cause:
            log.warning("stream '%s' does not stand where its last event left it: %s", lane.stream, cause)

    def marked(self, chunk: Chunk) -> Chunk:
        """Return the next chunk, with a gap mark where a downtime ends with it."""
        return self._downtime.marked(chunk)

    def taken(self, chunk: Chunk) -> None:
        """Take note of how far the source is now: every lane has taken all of a chunk."""
        self._position = chunk.state

    def turn(self) -> None:
        """Keep a snapshot if one is due; called between two chunks."""
        if self.keeper is not None and self.keeper.due():
            self.keep()

    def keep(self) -> None:
        """Keep a snapshot."""
        if self.keeper is not None:
            lanes = {stream: lane.get_state() for stream, lane in self._lanes.items()}
            self.keeper.keep(Snapshot(self._position, lanes, self._silence.streams), self._flush)

    def forget(self) -> None:
        """Keep nothing: the source has ended, and the sinks have delivered."""
        if self.keeper is not None:
            self.keeper.done()

    def close(self) -> None:
        """Return when nothing is being written any more."""
        if self.keeper is not None:
            self.keeper.close()

    @property
    def dropped(self) -> Mapping[str, int]:
        """The snapshots that could not be kept, counted by reason."""
        return self.keeper.dropped if self.keeper else {}

    def _flush(self) -> None:
        """See that what the sinks were told so far is safe: events before the snapshot are not told again after it."""
        for sink in self._sinks:
            if isinstance(sink, Flushing):
                sink.flush()


def _fitting(lane: Lane | None) -> Lane:
    if lane is None:
        raise StateError("it has more streams than max_streams.")
    return lane


def _replays(source: Source) -> TypeGuard[Replayable]:
    return isinstance(source, Replayable) and source.replays


def _replayable(source: Source) -> Replayable:
    if not _replays(source):
        raise StateError("it is of a source that can be replayed, and this one cannot.")
    return source
