"""The SQLite sink, read back with sqlite3 alone."""

import json
import resource
import sqlite3
from pathlib import Path

import pytest

from edgeseq.errors import ConfigError, SinkError
from edgeseq.sinks import _payload
from edgeseq.sinks.sqlite import Sqlite
from edgeseq.types import About, Event

ABOUT = About("press-4", "wear", "rul", "1", ("rul",), "cycles")


def event(number: int) -> Event:
    return Event("raised", f"7@{number}", 0, "7", "warning", 1, 40.5, number)


def rows(path: Path) -> list[tuple[str, int, str]]:
    with sqlite3.connect(path) as database:
        return database.execute("SELECT event_id, t_ns, payload FROM events ORDER BY t_ns").fetchall()


def test_an_event_is_a_row_with_the_payload_that_others_are_sent(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    for _ in range(2):
        sink = Sqlite(path=path)
        sink.open(ABOUT)
        sink.event(event(5))
        sink.close()
    ((event_id, t_ns, payload),) = rows(path)
    assert (event_id, t_ns) == ("7@5-0", 5)
    assert json.loads(payload) == json.loads(_payload.encode(_payload.event(ABOUT, event(5))))


def test_what_comes_out_of_the_outbox_twice_is_there_once(tmp_path: Path) -> None:
    sink, done = Sqlite(path=tmp_path / "events.db"), list[int]()
    sink.open(ABOUT)
    events = [(number, "7", _payload.encode(_payload.event(ABOUT, event(number), number))) for number in range(10)]
    for _ in range(2):
        sink.deliver(events, done.extend)
    sink.close()
    assert done == [*range(10), *range(10)]
    assert [row[1] for row in rows(tmp_path / "events.db")] == list(range(10))


def test_the_oldest_are_removed(tmp_path: Path) -> None:
    sink = Sqlite(path=tmp_path / "events.db", max_events=3)
    sink.open(ABOUT)
    for number in range(10):
        sink.event(event(number))
    sink.close()
    assert [row[1] for row in rows(tmp_path / "events.db")] == [7, 8, 9]


def test_what_cannot_be_written_is_said_and_counted(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be read as one" * 100)
    with pytest.raises(SinkError, match="cannot be used: file is not a database"):
        Sqlite(path=tmp_path / "text").open(ABOUT)
    sink = Sqlite(path=tmp_path / "events.db")
    sink.open(ABOUT)
    other = sqlite3.connect(tmp_path / "events.db")
    other.execute("DROP TABLE events")
    other.close()
    sink.event(event(1))
    assert sink.dropped == {"not_written": 1}
    with pytest.raises(SinkError, match="no such table"):
        sink.deliver([(1, "7", _payload.encode(_payload.event(ABOUT, event(1), 1)))], print)
    sink.close()
    with pytest.raises(ConfigError):
        Sqlite(path=tmp_path / "x", max_events=0)


def test_a_disk_that_is_full_at_the_start_keeps_nothing_from_starting(tmp_path: Path) -> None:
    sink, limits = Sqlite(path=tmp_path / "events.db"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        sink.open(ABOUT)
        sink.event(event(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sink.dropped == {"not_written": 1}
    sink.event(event(2))
    sink.close()
    assert [row[1] for row in rows(tmp_path / "events.db")] == [2]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (".", "Is a directory"),
        ("text", "file is not a database"),
        ("nowhere/events.db", "there is no folder .*nowhere"),
    ],
)
def test_what_can_be_no_database_is_found_before_it_runs(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "text").write_text("a recording that somebody needs")
    with pytest.raises(SinkError, match=message):
        Sqlite(path=tmp_path / path).check()
    assert Sqlite(path=tmp_path / "new.db").check().endswith("new.db")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "text"]
