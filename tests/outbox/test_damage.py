"""Damage anywhere in a store costs the records that it lies in, and is told."""

import errno
import itertools
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from edgeseq.outbox import Outbox
from edgeseq.outbox.record import Put, decode, encode, scan
from edgeseq.outbox.segment import Segment


def payloads(outbox: Outbox, sink: str = "mqtt") -> list[bytes]:
    return [payload for _, _, payload in outbox.pending(10**6, sink)]


def test_every_bit_of_a_store_flipped_costs_its_record_and_no_other(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(folder)
    ids = [outbox.put(b"payload %d" % place, key="k", event_id=f"e{place}", state=b"s") for place in range(5)]
    outbox.ack(ids[1:2], "mqtt")
    outbox.close()
    (path,) = folder.glob("*.log")
    whole = path.read_bytes()
    wanted = [b"payload 0", b"payload 2", b"payload 3", b"payload 4"]
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        caplog.clear()
        outbox = Outbox(folder)
        found = payloads(outbox)
        # What is lost is one event, or one acknowledgement, which delivers its event once more.
        assert len(set(wanted) ^ set(found)) <= 1
        assert set(found) - set(wanted) <= {b"payload 1"}
        assert found == sorted(found)
        assert outbox.stats()["damage"]["places"] == 1
        assert "the outbox lost" in caplog.text
        outbox.put(b"payload 5", key="k")
        outbox.close()
        for other in set(folder.glob("*.log")) - {path}:
            other.unlink()


def test_a_write_that_was_cut_short_is_told_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(folder)
    for place in range(2):
        outbox.put(b"payload %d" % place, key="k")
    outbox.close()
    (path,) = folder.glob("*.log")
    path.write_bytes(path.read_bytes()[:-5])
    for places in (1, 0):
        caplog.clear()
        outbox = Outbox(folder)
        assert payloads(outbox) == [b"payload 0"]
        assert outbox.stats()["damage"]["places"] == places
        assert ("the last write was cut short, or is damaged" in caplog.text) == bool(places)
        outbox.close()


def test_damage_found_when_it_is_read_costs_that_event(folder: Path) -> None:
    outbox = Outbox(folder)
    for place in range(3):
        outbox.put(b"payload %d" % place, key="k")
    (path,) = folder.glob("*.log")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"payload 1", b"payload 7"))
    assert payloads(outbox) == [b"payload 0", b"payload 2"]
    assert outbox.stats()["dropped"] == {"damaged": 1}
    outbox.close()


@pytest.mark.parametrize("seed", range(20))
def test_torn_zeroed_and_foreign_bytes_cost_what_they_cover(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outbox = Outbox(folder)
    for place in range(50):
        outbox.put(b"%d" % place + rng.bytes(rng.integers(100)), key="k")
    outbox.close()
    (path,) = folder.glob("*.log")
    data = bytearray(path.read_bytes())
    sync = bytes.fromhex(re.sub(r".*-(\w+)\.log", r"\1", path.name))
    starts = [offset for offset, _ in scan(bytes(data), sync)][1:]  # type: ignore[misc]
    begin, length = int(rng.integers(len(data))), int(rng.integers(1, 300))
    data[begin : begin + length] = [b"\0" * length, rng.bytes(length), b""][seed % 3]
    path.write_bytes(data)
    covered = sum(s < begin + length and e > begin for s, e in itertools.pairwise([*starts, 10**9]))
    outbox = Outbox(folder)
    assert 50 - covered <= len(payloads(outbox)) <= 50
    outbox.close()


def test_a_payload_that_holds_records_is_one_event(folder: Path) -> None:
    outbox = Outbox(folder / "other")
    outbox.put(b"inner", key="k")
    outbox.close()
    (path,) = (folder / "other").glob("*.log")
    inner = path.read_bytes()
    outbox = Outbox(folder / "this")
    outbox.put(inner, key="k")
    outbox.put(b"after", key="k")
    outbox.close()
    (path,) = (folder / "this").glob("*.log")
    data = path.read_bytes()
    path.write_bytes(data.replace(inner, inner[:-1] + b"!"))
    outbox = Outbox(folder / "this")
    assert payloads(outbox) == [b"after"]
    outbox.close()


def test_every_flipped_bit_of_a_record_is_noticed() -> None:
    sync = b"12345678"
    record = Put(7, 8, 1, "key", "id", b"state", b"payload")
    data = encode(record, sync)
    assert decode(data, 0, sync) == (record, len(data))
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert decode(bytes(flipped), 0, sync) is None


def test_a_long_log_of_damage_is_told_in_few_lines(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(folder)
    for _ in range(40):
        outbox.put(b"payload", key="k")
    outbox.close()
    (path,) = folder.glob("*.log")
    path.write_bytes(path.read_bytes().replace(b"payload", b"paYload"))
    caplog.set_level(logging.WARNING)
    outbox = Outbox(folder)
    assert outbox.stats()["damage"]["places"] == 1, "40 records side by side are one place"
    assert len(caplog.records) == 1
    outbox.close()


def test_without_the_sum_a_flipped_bit_is_delivered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the CRC is for: the same flip that costs a record with it is passed on without it."""
    for protected in (True, False):
        if not protected:
            monkeypatch.setattr("edgeseq.outbox.record.zlib.crc32", lambda _data, _start=0: 0)
        outbox = Outbox(folder / str(protected))
        outbox.put(b"40 degrees", key="k")
        outbox.close()
        (path,) = (folder / str(protected)).glob("*.log")
        path.write_bytes(path.read_bytes().replace(b"40 degrees", b"60 degrees"))
        outbox = Outbox(folder / str(protected))
        assert payloads(outbox) == ([] if protected else [b"60 degrees"])
        outbox.close()


def test_a_file_that_the_disk_does_not_read_costs_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for place in range(3):
        outbox = Outbox(folder)
        outbox.put(b"payload %d" % place, key="k")
        outbox.close()
    bad = sorted(folder.glob("*.log"))[1]
    read = Path.read_bytes

    def read_or_fail(path: Path) -> bytes:
        if path == bad:
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_or_fail)
    outbox = Outbox(folder)
    assert payloads(outbox) == [b"payload 0", b"payload 2"]
    assert outbox.stats()["damage"] == {"places": 1, "bytes": bad.stat().st_size}
    assert f"{bad} cannot be read, its events are lost" in caplog.text
    outbox.close()


def test_what_cannot_be_read_may_come_twice_but_is_not_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(folder)
    outbox.put(b"1", key="k", event_id="a")

    def unread(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Segment, "events", unread)
        assert not outbox.known("a", "k")
        outbox.put(b"2", key="k", event_id="a")
    assert [payload for _, _, payload in outbox.pending(9, "mqtt")] == [b"1", b"2"]
    assert "whether a was told is not known" in caplog.text
    outbox.close()
