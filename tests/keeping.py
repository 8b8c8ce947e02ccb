"""What a pipeline tells and keeps, kept in memory: a sink and a keeper."""

from collections.abc import Callable, Mapping

from edgeseq.pipeline.snapshot import Snapshot
from edgeseq.types import About, Event, Output


class Told:
    """A sink that writes down all that it is told, a line each."""

    def __init__(self) -> None:
        self.dropped: Mapping[str, int] = {}
        self.lines: list[str] = []

    def open(self, about: About) -> None:
        pass

    def output(self, output: Output, level: str) -> None:
        self.lines.append(f"{output.stream} {output.t_ns} {output.values.tobytes().hex()} {output.warming} {level}")

    def event(self, event: Event) -> None:
        self.lines.append(f"{event.event_id} {event}")

    def end(self, stream: str) -> None:
        self.lines.append(f"end {stream}")

    def close(self) -> None:
        pass


class Kept:
    """A keeper that keeps, every so many turns, a snapshot and how many lines were told before it."""

    def __init__(self, told: Told, last: Snapshot | None = None, every: int = 1) -> None:
        self.dropped: Mapping[str, int] = {}
        self.kept: list[tuple[Snapshot, int]] = []
        self.forgotten = False
        self._told, self._last, self._every = told, last, every
        self._turns = 0

    def last(self) -> Snapshot | None:
        return self._last

    def due(self) -> bool:
        self._turns += 1
        return self._turns % self._every == 0

    def keep(self, snapshot: Snapshot, before: Callable[[], None]) -> None:
        before()
        self.kept.append((snapshot, len(self._told.lines)))

    def done(self) -> None:
        self.forgotten = True

    def close(self) -> None:
        pass
