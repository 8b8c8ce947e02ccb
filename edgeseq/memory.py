"""What a pipeline remembers, gathered from its parts between two chunks, and given back to them by another process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from edgeseq.downtime import Downtime
from edgeseq.errors import ModelError, StateError
from edgeseq.lane import Lane
from edgeseq.silence import Silence
from edgeseq.snapshot import Keeper, Snapshot
from edgeseq.types import Chunk, Flushing, Plain, Replayable, Sink, Source

log = logging.getLogger(__name__)


class Memory:
    """Takes snapshots of these parts for a keeper, and takes its last one up; without a keeper it does nothing."""

    def __init__(self, source: Source, lanes: Mapping[str, Lane], silence: Silence, sinks: Sequence[Sink]) -> None:
        self.keeper: Keeper | None = None
        self._source, self._lanes, self._silence, self._sinks = source, lanes, silence, sinks
        self._position: Plain | None = None
        self._downtime = Downtime(source.spec.rate_hz)

    def resume(self, admit: Callable[[str], Lane | None]) -> bool:
        """Take up the last snapshot, in lanes that are admitted for it.

        Returns False where it does not fit, with the reason logged; the lanes are then to be thrown away.
        """
        snapshot = (self.keeper.last() if self.keeper else None) or Snapshot()
        try:
            for stream, state in snapshot.lanes.items():
                _fitting(admit(stream)).set_state(state)
            # Last, for it cannot be taken back.
            if snapshot.source is not None:
                _replayable(self._source).set_state(snapshot.source)
        except (ModelError, StateError) as cause:
            log.warning("the checkpoint is not taken up, everything starts afresh: %s", cause)
            return False
        self._position = snapshot.source
        heard = {stream: lane.last_ns for stream, lane in self._lanes.items() if lane.last_ns is not None}
        self._silence.resume(heard, snapshot.silent, time.monotonic())
        if snapshot.source is None:
            self._downtime.begin(heard)
        return True

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


def _replayable(source: Source) -> Replayable:
    if not isinstance(source, Replayable):
        raise StateError("it is of a source that can be replayed, and this one cannot.")
    return source
