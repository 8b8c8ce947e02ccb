"""The outbox's contract: what was put is there until it is acknowledged, whoever restarts, fills or flips what."""

import errno
import itertools
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseq.errors import ConfigError, SinkError
from edgeseq.outbox import New, Outbox, OutboxFull


def payloads(outbox: Outbox, sink: str = "mqtt") -> list[bytes]:
    return [payload for _, _, payload in outbox.pending(10**6, sink)]


def test_what_was_put_is_pending_in_order_until_it_is_acknowledged(folder: Path) -> None:
    outbox = Outbox(folder / "deep" / "er")
    ids = [outbox.put(b"%d" % place, key=f"k{place % 2}") for place in range(5)]
    assert ids == sorted(set(ids))
    assert outbox.pending(2, "mqtt") == [(ids[0], "k0", b"0"), (ids[1], "k1", b"1")]
    assert outbox.pending(9, "mqtt", after=ids[1], upto=ids[3]) == [(ids[2], "k0", b"2"), (ids[3], "k1", b"3")]
    outbox.ack([ids[0], ids[3], 10**9], "mqtt")
    for _ in range(3):
        assert payloads(outbox) == [b"1", b"2", b"4"]
        assert outbox.stats()["pending"] == {"mqtt": 3}
        outbox.close()
        outbox = Outbox(folder / "deep" / "er")
    assert outbox.put(b"new", key="k") > max(ids)
    outbox.close()


def test_each_sink_acknowledges_for_itself(folder: Path) -> None:
    outbox = Outbox(folder, ("mqtt", "sqlite"))
    first, second = outbox.put(b"1", key="k"), outbox.put(b"2", key="k")
    outbox.ack([first], "sqlite")
    outbox.ack([second], "mqtt")
    outbox.close()
    outbox = Outbox(folder, ("sqlite", "mqtt", "new"))
    assert (payloads(outbox, "mqtt"), payloads(outbox, "sqlite"), payloads(outbox, "new")) == ([b"1"], [b"2"], [])
    with pytest.raises(ValueError, match="other"):
        outbox.pending(1, "other")
    with pytest.raises(ValueError, match="other"):
        outbox.ack([1], "other")
    outbox.close()


def test_the_same_event_is_there_once_even_after_it_was_delivered_and_removed(folder: Path) -> None:
    outbox = Outbox(folder, max_bytes=65536)
    first = outbox.put(b"1", key="k", event_id="a", state=b"s")
    assert outbox.put(b"other", key="k", event_id="a") == first
    outbox.ack([first], "mqtt")
    for place in range(1000):
        outbox.ack([outbox.put(b"x" * 100, key="j", event_id=str(place))], "mqtt")
    assert outbox.stats()["bytes"] < 65536
    assert not next(folder.glob("*.log")).name.startswith("0000000000000001")
    outbox.close()
    outbox = Outbox(folder, max_bytes=65536)
    assert outbox.put(b"other", key="k", event_id="a") == first, "the latest event of a key is known as long as the key"
    assert payloads(outbox) == []
    assert outbox.states() == {"k": b"s"}
    outbox.close()


def test_the_same_event_from_many_threads_is_there_once(folder: Path) -> None:
    outbox = Outbox(folder)
    ids = [0] * 32
    start = threading.Barrier(len(ids))

    def put(place: int) -> None:
        start.wait()
        ids[place] = outbox.put(b"p", key="k", event_id=f"e{place % 4}")

    run([threading.Thread(target=put, args=(place,)) for place in range(len(ids))])
    assert len(set(ids)) == 4
    assert sorted(set(ids)) == [number for number, _, _ in outbox.pending(99, "mqtt")]
    outbox.close()


def run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_a_stream_that_ended_may_say_the_same_again(folder: Path) -> None:
    outbox = Outbox(folder)
    ids = [outbox.put(b"1", key="k", event_id=name, state=b"s") for name in "ab"]
    outbox.end({"k": b"over"})
    assert outbox.states() == {"k": b"over"}
    ids.append(outbox.put(b"2", key="k", event_id="a", state=b"t"))
    outbox.close()
    outbox = Outbox(folder)
    ids.append(outbox.put(b"2", key="k", event_id="b", state=b"u"))
    assert outbox.put(b"3", key="k", event_id="b") == ids[-1]
    assert len(set(ids)) == 4
    assert len(payloads(outbox)) == 4
    outbox.close()


def test_threads_share_a_sync(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, started, release = os.fdatasync, threading.Event(), threading.Event()
    outbox = Outbox(folder)
    outbox.put(b"0", key="k")
    calls = []

    def slow(file: int) -> None:
        calls.append(file)
        started.set()
        assert release.wait(30)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", slow)
    first = threading.Thread(target=outbox.put, args=(b"1",), kwargs={"key": "k"})
    first.start()
    assert started.wait(30)
    others = [threading.Thread(target=outbox.put, args=(b"2",), kwargs={"key": "k"}) for _ in range(20)]
    for thread in others:
        thread.start()
    while len(outbox._waiting) < 20:
        threading.Event().wait(0.001)
    assert payloads(outbox) == [b"0"], "nothing shows before it is durable"
    release.set()
    for thread in [first, *others]:
        thread.join(30)
    assert len(calls) == 2
    assert payloads(outbox) == [b"0", b"1", *[b"2"] * 20]
    outbox.close()


def test_more_than_may_be_drops_the_oldest_of_the_lowest_severity(folder: Path) -> None:
    outbox = Outbox(folder, max_events=4)
    for place, severity in enumerate([2, 1, 1, 2]):
        outbox.put(b"%d" % place, key="k", severity=severity)
    outbox.put(b"4", key="k", severity=1)
    assert payloads(outbox) == [b"0", b"2", b"3", b"4"]
    outbox.put(b"5", key="k", severity=2)
    outbox.put(b"6", key="k", severity=2)
    assert payloads(outbox) == [b"0", b"3", b"5", b"6"]
    with pytest.raises(OutboxFull, match="all that waits in it is more severe"):
        outbox.put(b"7", key="k", severity=1)
    outbox.put(b"8", key="k", severity=2)
    assert outbox.stats()["dropped"] == {"full": 4, "refused": 1}
    outbox.close()
    outbox = Outbox(folder, max_events=4)
    assert payloads(outbox) == [b"3", b"5", b"6", b"8"], "dropped events stay dropped"
    outbox.close()


def test_the_disk_is_bounded_and_what_is_severe_outlives_what_is_not(folder: Path) -> None:
    rng = np.random.default_rng(0)
    outbox = Outbox(folder, max_bytes=100_000)
    put: dict[int, int] = {}
    for _ in range(2000):
        severity = int(rng.choice([0] * 8 + [1, 2]))
        try:
            put[outbox.put(rng.bytes(rng.integers(400)), key="k", severity=severity)] = severity
        except OutboxFull:
            assert severity < 2
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 100_000
    kept = [number for number, _, _ in outbox.pending(10**6, "mqtt")]
    dropped = outbox.stats()["dropped"]
    assert dropped["full"] == len(put) - len(kept)
    assert dropped.get("refused", 0) == 2000 - len(put)
    critical = [number for number in put if put[number] == 2]
    gone = set(put) - set(kept)
    assert all(put[number] == 0 for number in gone) or not any(
        put[number] == 0 for number in kept if number < max(gone)
    )
    assert set(critical) <= set(kept) or {put[number] for number in kept} == {2}
    outbox.close()
    outbox = Outbox(folder, max_bytes=100_000)
    assert [number for number, _, _ in outbox.pending(10**6, "mqtt")] == kept
    outbox.close()


def test_too_old_is_dropped_by_segments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count(10**18, 10**9)
    monkeypatch.setattr("edgeseq.outbox.outbox.time.time_ns", lambda: next(now))
    outbox = Outbox(folder, max_bytes=16384, max_age_s=100)
    for place in range(300):
        outbox.put(b"%d" % place + b"x" * 100, key="k")
    kept = payloads(outbox)
    assert kept[-1].startswith(b"299")
    assert len(kept) < 100
    assert outbox.stats()["dropped"] == {"expired": 300 - len(kept)}
    outbox.close()


def test_what_is_acknowledged_is_removed(folder: Path) -> None:
    outbox = Outbox(folder, max_bytes=1 << 20)
    for place in range(100):
        ids = [id_ for id_ in outbox.put_all([New(b"x" * 500, "k") for _ in range(50)]) if isinstance(id_, int)]
        outbox.ack(ids, "mqtt")
        assert place < 10 or outbox.stats()["bytes"] < (1 << 20) // 4
    outbox.close()


def test_an_old_event_that_waits_keeps_its_neighbours_acknowledgements(folder: Path) -> None:
    outbox = Outbox(folder, max_bytes=1 << 18)
    stuck, gone = outbox.put(b"stuck", key="k"), outbox.put(b"gone", key="k")
    for place in range(200):
        outbox.ack([outbox.put(b"x" * 1000, key="k"), *([gone] if place == 20 else [])], "mqtt")
    assert payloads(outbox) == [b"stuck"]
    outbox.close()
    outbox = Outbox(folder, max_bytes=1 << 18)
    assert outbox.pending(9, "mqtt") == [(stuck, "k", b"stuck")]
    outbox.close()


def test_one_process_at_a_time(folder: Path) -> None:
    outbox = Outbox(folder)
    with pytest.raises(SinkError, match="in use by another process"):
        Outbox(folder)
    outbox.close()
    outbox.close()
    with pytest.raises(ValueError, match="closed"):
        outbox.put(b"", key="k")
    Outbox(folder).close()


def test_a_folder_that_cannot_be_is_a_sentence(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(SinkError, match=r"cannot be used: .*Set \[outbox\] path"):
        Outbox(folder / "file" / "outbox")


@pytest.mark.parametrize(
    "more",
    [{"max_events": 0}, {"max_bytes": 10}, {"max_age_s": 0.0}, {"sinks": list("abcdefghi")}, {"sinks": ["a", "a"]}],
)
def test_parameters(folder: Path, more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Outbox(folder, **more)


def test_another_version_is_not_guessed_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseq.outbox.store.VERSION", 2)
    outbox = Outbox(folder)
    outbox.put(b"1", key="k")
    outbox.close()
    monkeypatch.undo()
    for _ in range(2):
        with pytest.raises(SinkError, match="of version 2 of the outbox, this edgeseq knows 1"):
            Outbox(folder)


@pytest.mark.parametrize("what", ["write", "fdatasync"])
def test_a_disk_that_fails_costs_the_events_it_refused_and_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    outbox = Outbox(folder)
    outbox.put(b"before", key="k")
    real = os.write

    def fail(file: int, data: bytes = b"") -> int:
        if what == "write":
            real(file, bytes(data)[:-3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, what, fail)
    for _ in range(3):
        with pytest.raises(OutboxFull, match=r"cannot be written: No space left.* Make room"):
            outbox.put(b"during", key="k")
    with pytest.raises(OutboxFull):
        outbox.ack([2], "mqtt")
    monkeypatch.undo()
    outbox.put(b"after", key="k")
    assert payloads(outbox) == [b"before", b"after"]
    assert outbox.stats()["dropped"] == {"refused": 3}
    outbox.close()
    outbox = Outbox(folder)
    assert payloads(outbox) == [b"before", b"after"]
    assert outbox.stats()["damage"]["places"] == 0
    outbox.close()


def test_what_was_delivered_makes_room_on_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        outbox = Outbox(folder)
        outbox.ack([outbox.put(b"x" * 1000, key="k")], "mqtt")
        outbox.close()
    outbox = Outbox(folder)
    assert outbox.stats()["segments"] == 3
    real = os.write

    def small(file: int, data: bytes) -> int:
        left = 3500 - sum(path.stat().st_size for path in folder.glob("*.log"))
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, bytes(data)[:left])

    monkeypatch.setattr(os, "write", small)
    for place in range(3):
        outbox.put(b"%d" % place + b"y" * 900, key="k")
    with pytest.raises(OutboxFull):
        outbox.put(b"y" * 1000, key="k")
    assert [payload[:1] for payload in payloads(outbox)] == [b"0", b"1", b"2"]
    outbox.close()


def test_where_there_is_no_room_for_all_there_is_for_some(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(folder)
    outbox.put(b"0", key="k")
    real = os.write

    def small(file: int, data: bytes) -> int:
        left = 2000 - sum(path.stat().st_size for path in folder.glob("*.log"))
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, bytes(data)[:left])

    monkeypatch.setattr(os, "write", small)
    results = outbox.put_all([New(b"%02d" % place + b"x" * 100, "k") for place in range(50)])
    kept = [place for place, result in enumerate(results) if isinstance(result, int)]
    assert 8 <= len(kept) < 16
    assert [payload[:2] for payload in payloads(outbox)[1:]] == [b"%02d" % place for place in kept]
    assert outbox.stats()["dropped"] == {"refused": 50 - len(kept)}
    outbox.close()


def test_an_event_that_finds_room_at_the_second_attempt_is_not_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(folder, max_events=2)
    for payload in (b"a", b"b"):
        outbox.put(payload, key="k", severity=5)
    store = outbox._store
    append = store.append

    def fail_once(*_: object) -> None:
        monkeypatch.setattr(store, "append", append)
        # Meanwhile one that waited is found to be damaged.
        store.index.segments[0].settle(1, store.index.mask)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(store, "append", fail_once)
    results = outbox.put_all([New(b"low", "k", 0), New(b"high", "k", 9)])
    assert all(isinstance(result, int) for result in results)
    assert payloads(outbox) == [b"a", b"high"], "the low one was kept, and made room"
    assert outbox.stats()["dropped"] == {"full": 1}
    outbox.close()
