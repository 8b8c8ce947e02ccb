"""All that a pipeline remembers between two chunks, so that another process goes on as if it were the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edgeseq.types import Plain, State


@dataclass(frozen=True, slots=True)
class LaneState:
    """What one stream's lane remembers. arrays: of features and model. counts: its own. decider: None without one."""

    arrays: State
    counts: Plain
    decider: Plain | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """source: where a source that can be replayed stands behind the last chunk taken; None of a live one.

    lanes: by stream. silent: the streams whose silence is a standing alert, with the time of their last sample, ns.
    """

    source: Plain | None = None
    lanes: Mapping[str, LaneState] = field(default_factory=dict)
    silent: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What a stream stood at with its last event, as that was told: `Event.state` of it and those before.

    decider: its state; None where no decider spoke. last_ns: time of the newest sample that had been taken by then.
    silent_ns: where the stream's silence is a standing alert, the time of its last sample.
    """

    decider: Plain | None = None
    last_ns: int = 0
    silent_ns: int | None = None


class Keeper(Protocol):
    """Where snapshots are kept. It is asked from the hot loop, which writes nothing itself."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Snapshots that were not kept, counted by reason."""
        ...

    def last(self) -> Snapshot | None:
        """Return the newest one that is whole and of this pipeline; None if there is none, with the reason logged."""
        ...

    def due(self) -> bool:
        """Whether it is time for the next one, and the one before is written."""
        ...

    def keep(self, snapshot: Snapshot, before: Callable[[], None]) -> None:
        """Write one, in its own time, after `before`: what was told up to it is then safe."""
        ...

    def done(self) -> None:
        """Remove them: the source has ended, and everything was told."""
        ...

    def close(self) -> None:
        """Return when nothing is being written any more."""
        ...
