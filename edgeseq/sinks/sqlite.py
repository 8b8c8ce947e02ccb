"""Events as rows of a SQLite database, for whoever wants to ask this device what happened."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import ConfigError, SinkError
from edgeseq.sinks import _payload
from edgeseq.types import About, Event, Output, Pending

ROOM = 500
"""Events in one transaction."""
_HEAD = b"SQLite format 3\0"
"""What every database of SQLite begins with."""
_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY)
"""Errors that end by themselves, or when somebody makes room on the disk."""
log = logging.getLogger(__name__)
_TABLE = """
CREATE TABLE IF NOT EXISTS events (
    event_id TEXT NOT NULL, device TEXT NOT NULL, pipeline TEXT NOT NULL, stream TEXT NOT NULL, t_ns INTEGER NOT NULL,
    alert TEXT NOT NULL, kind TEXT NOT NULL, level TEXT NOT NULL, severity INTEGER NOT NULL, score REAL,
    payload TEXT NOT NULL, PRIMARY KEY (event_id, device, pipeline)
)"""
_COLUMNS = ("event_id", "device", "pipeline", "stream", "t_ns", "alert", "kind", "level", "severity", "score")
_INSERT = f"INSERT OR IGNORE INTO events VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"  # noqa: S608 - question marks


class Sqlite:
    """One row an event in the table `events`; `payload` is the very JSON that the MQTT sink sends.

    path: the database, made where it is not there. max_events: of more, the oldest are removed.

    dropped: "not_written" events, where no outbox keeps them until they can be.
    """

    def __init__(self, *, path: Path, max_events: int = 100_000) -> None:
        if max_events < 1:
            raise ConfigError("max_events must be at least 1.")
        self.dropped: Counter[str] = Counter()
        self._path, self._max_events = path, max_events
        self._about = About("", "")
        self._database: sqlite3.Connection | None = None
        self._wanted = False
        # The hot loop and the outbox's thread may both come.
        self._lock = threading.Lock()

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters that work: a database in memory."""
        return {"path": Path(":memory:")}

    def check(self) -> str:
        """See that the file is a database, or may become one; nothing is made."""
        try:
            head = b""
            if self._path.exists():
                with self._path.open("rb") as file:
                    head = file.read(len(_HEAD))
        except OSError as cause:
            raise self._unfit(cause.strerror or str(cause)) from cause
        if head not in (b"", _HEAD):
            raise self._unfit("file is not a database")
        if not self._path.parent.is_dir():
            raise self._unfit(f"there is no folder {self._path.parent}")
        return f"keeps the last {self._max_events:,} events in the database {self._path}"

    def open(self, about: About) -> None:
        """Open or make the database; where its disk is full or fails, that is tried again. Raises SinkError."""
        self._about, self._wanted = about, True
        try:
            self._connect()
        except sqlite3.Error as cause:
            if getattr(cause, "sqlite_errorcode", 0) & 0xFF not in _PASSING:
                raise self._unfit(str(cause)) from cause
            log.warning("the database %s cannot be used: %s. That is tried again with each event.", self._path, cause)

    def _connect(self) -> sqlite3.Connection:
        """Return the open database. Raises sqlite3.Error."""
        if self._database is None:
            with ExitStack() as undo:
                made = sqlite3.connect(self._path, check_same_thread=False)
                undo.callback(made.close)
                # In WAL mode with full sync a committed row survives a loss of power.
                made.execute("PRAGMA journal_mode = WAL")
                made.execute("PRAGMA synchronous = FULL")
                made.execute(_TABLE)
                undo.pop_all()
            self._database = made
        return self._database

    def _unfit(self, reason: str) -> SinkError:
        """Return what to raise for a database that cannot be."""
        return SinkError(
            f"the database {self._path} cannot be used: {reason}. It must be one of SQLite, or not be there yet, in a "
            "folder that this user may write to."
        )

    def output(self, output: Output, level: str) -> None:
        """Do nothing: the database is of events."""

    def event(self, event: Event) -> None:
        """Write an event."""
        try:
            self._insert([_payload.encode(_payload.event(self._about, event))])
        except SinkError:
            self.dropped["not_written"] += 1

    def end(self, stream: str) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._wanted = False
            if self._database is not None:
                self._database.close()
                self._database = None

    def room(self) -> int:
        """Return how many events are written at a time."""
        return ROOM

    def deliver(self, events: Sequence[Pending], done: Callable[[Sequence[int]], None]) -> None:
        """Write events in one transaction. Raises SinkError; then none of them is there."""
        self._insert([payload for _, _, payload in events])
        done([number for number, _, _ in events])

    def _insert(self, payloads: Sequence[bytes]) -> None:
        rows = []
        for payload in payloads:
            fields = msgspec.json.decode(payload)
            rows.append((*(fields[column] for column in _COLUMNS), payload.decode()))
        with self._lock:
            if not self._wanted:
                raise SinkError(f"the database {self._path} is closed.")
            try:
                with self._connect() as transaction:
                    transaction.executemany(_INSERT, rows)
                    transaction.execute(
                        "DELETE FROM events WHERE rowid <= (SELECT max(rowid) FROM events) - ?", (self._max_events,)
                    )
            except sqlite3.Error as cause:
                raise SinkError(f"the database {self._path} cannot be written: {cause}.") from cause
