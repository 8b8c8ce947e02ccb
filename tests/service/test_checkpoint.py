"""The file of a snapshot: whole or refused, the one before at hand, this pipeline's or nobody's."""

import hashlib
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import StateError
from edgeseq.pipeline.snapshot import LaneState, Snapshot
from edgeseq.service.checkpoint import MAGIC, Checkpoint, decoded, encoded, write

MINE = {"pipeline": "wear", "model": "abc", "variant": "float32"}


def snapshot(number: int = 7) -> Snapshot:
    arrays = {
        "model.h": np.arange(6, dtype=np.float32).reshape(2, 3) * np.float32(0.1),
        "model.q": np.array([[-128, 127]], np.int8),
        "model.steps": np.array(number, np.int64),
        "features.0.running": np.array([True, False]),
        "features.1.kept": np.empty((0, 3), np.float64),
        "model.odd": np.array([np.nan, -0.0, np.inf], np.float32),
    }
    counts = {"seen": number, "last_ns": 2**62, "began_ns": None, "dropped": {"not_finite_frame": 1}}
    lanes = {"ü/1": LaneState(arrays, counts, {"level": 1, "worst": 0.1}), "": LaneState({}, {}, None)}
    return Snapshot({"chunks": number, "start_ns": -1}, lanes, {"quiet": 5})


def same(one: Snapshot, other: Snapshot) -> bool:
    def plainly(each: Snapshot) -> object:
        arrays = {
            (stream, name): (value.dtype.str, value.shape, value.tobytes())
            for stream, lane in each.lanes.items()
            for name, value in lane.arrays.items()
        }
        rest = {stream: (lane.counts, lane.decider) for stream, lane in each.lanes.items()}
        return each.source, each.silent, arrays, rest

    return plainly(one) == plainly(other)


def test_what_is_read_is_what_was_written() -> None:
    read, identity = decoded(encoded(snapshot(), MINE))
    assert same(read, snapshot())
    assert identity == MINE
    read.lanes["ü/1"].arrays["model.h"][...] = 1


@given(place=st.integers(0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(place: int, bit: int) -> None:
    raw = bytearray(encoded(snapshot(), MINE))
    raw[place % len(raw)] ^= 1 << bit
    with pytest.raises(StateError):
        decoded(bytes(raw))


def test_any_part_of_a_file_is_no_file() -> None:
    raw = encoded(snapshot(), MINE)
    for length in range(len(raw)):
        with pytest.raises(StateError):
            decoded(raw[:length])


def test_content_with_a_right_sum_that_is_no_snapshot_is_refused() -> None:
    for lane in ({"arrays": {"a": ["|O", [1], b"12345678"]}}, {"arrays": {"a": ["<f4", [3], b"1234"]}}, {"arrays": 3}):
        content = {
            "identity": MINE,
            "source": None,
            "silent": {},
            "lanes": {"": {"counts": {}, "decider": None, **lane}},
        }
        body = msgspec.msgpack.encode(content)
        with pytest.raises(StateError, match="its content is no snapshot"):
            decoded(MAGIC + hashlib.sha256(body).digest() + body)


def kept(path: Path, *numbers: int, identity: dict[str, str] = MINE) -> None:
    """Keep snapshots, one after another."""
    checkpoint = Checkpoint(path, identity, 1e-9)
    for number in numbers:
        checkpoint.keep(snapshot(number), lambda: None)
    checkpoint.close()


def last(path: Path, identity: dict[str, str] = MINE) -> Snapshot | None:
    return Checkpoint(path, identity, 10).last()


def test_the_newest_is_taken_and_the_one_before_where_it_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint"
    kept(path, 1, 2, 3)
    newest = last(path)
    assert newest is not None
    assert same(newest, snapshot(3))
    path.write_bytes(path.read_bytes()[:-1])
    assert not caplog.records
    before = last(path)
    assert before is not None
    assert same(before, snapshot(2))
    assert f"{path}: its sum does not agree" in caplog.text
    Checkpoint(path, MINE, 10).before.write_bytes(b"")
    assert last(path) is None
    assert "it is no checkpoint" in caplog.text


def test_none_at_all_is_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert last(tmp_path / "checkpoint") is None
    assert not caplog.records


def test_another_one_s_is_not_taken_and_the_log_says_whose_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint"
    kept(path, 1, 2)
    assert last(path, {**MINE, "model": "another", "variant": "int8"}) is None
    (record,) = caplog.records
    assert record.message == f"{path} is not taken up: it is of another model, variant. Everything starts afresh."
    assert last(path, {"pipeline": "wear"}) is None
    assert last(path) is not None, "it is left as it was"


def test_the_hot_loop_waits_for_no_disk(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint", MINE, 1e-9)
    told, may_go_on = threading.Event(), threading.Event()

    def before() -> None:
        told.set()
        assert may_go_on.wait(60)

    assert checkpoint.due()
    checkpoint.keep(snapshot(1), before)
    assert told.wait(60)
    assert not checkpoint.due(), "the one before is not written yet"
    assert not (tmp_path / "checkpoint").exists(), "what was told is made safe first"
    may_go_on.set()
    checkpoint.close()
    assert last(tmp_path / "checkpoint") is not None


def test_the_interval_is_kept(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint", MINE, 3600)
    assert not checkpoint.due()
    checkpoint.keep(snapshot(1), lambda: None)
    checkpoint.close()
    assert not checkpoint.due()


def test_a_mistake_in_the_writing_is_not_lost(tmp_path: Path) -> None:
    def before() -> None:
        raise KeyError("no such sink")

    checkpoint = Checkpoint(tmp_path / "checkpoint", MINE, 1e-9)
    checkpoint.keep(snapshot(1), before)
    with pytest.raises(KeyError, match="no such sink"):
        checkpoint.close()


def test_done_leaves_nothing(tmp_path: Path) -> None:
    kept(tmp_path / "checkpoint", 1, 2)
    assert len([*tmp_path.iterdir()]) == 2
    Checkpoint(tmp_path / "checkpoint", MINE, 10).done()
    assert not [*tmp_path.iterdir()]
    Checkpoint(tmp_path / "checkpoint", MINE, 10).done()


def test_a_full_disk_is_counted_and_told_once_and_the_old_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint"
    kept(path, 1)
    checkpoint = Checkpoint(path, MINE, 1e-9)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        for number in (2, 3):
            checkpoint.keep(snapshot(number), lambda: None)
            while not checkpoint.due():
                threading.Event().wait(0.001)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert checkpoint.dropped == {"not_written": 2}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cannot be written: File too large" in caplog.text
    old = last(path)
    assert old is not None
    assert same(old, snapshot(1))
    checkpoint.keep(snapshot(4), lambda: None)
    checkpoint.close()
    assert "can be written again" in caplog.text
    new = last(path)
    assert new is not None
    assert same(new, snapshot(4))


WRITER = """
import sys
from pathlib import Path
from edgeseq.service.checkpoint import write
path, number = Path(sys.argv[1]), 0
while True:
    number += 1
    write(path, path.with_name("before"), number.to_bytes(8, "little") * 20_000)
    print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_any_time_leaves_a_whole_one(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "checkpoint"
    wait = np.random.default_rng(seed)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(int(wait.integers(2, 40))):
            told = int(process.stdout.readline())
        threading.Event().wait(wait.random() * 0.01)
        process.kill()
        told = int(([str(told), *process.stdout.read().split()])[-1])
    found = [
        int.from_bytes(file.read_bytes()[:8], "little")
        for file in (path, path.with_name("before"))
        if file.exists()
        and len({file.read_bytes()[i : i + 8] for i in range(0, 160_000, 8)}) == 1
        and file.stat().st_size == 160_000
    ]
    assert found, "one of both is whole"
    assert max(found) >= told


def test_what_is_written_is_synced_before_its_name_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill does not tell whether data reach the disk; the order of calls does."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(place: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{place}") else "file")  # noqa: PTH112
        fsync(place)

    def replaced(self: Path, target: Path) -> Path:
        calls.append(f"{self.name} -> {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    path = tmp_path / "checkpoint"
    for _ in range(2):
        write(path, tmp_path / "before", b"x")
    first = ["file", "checkpoint.new -> checkpoint", "folder"]
    assert calls == [*first, "file", "checkpoint -> before", *first[1:]]
