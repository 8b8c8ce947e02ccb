"""A record of the log as bytes, and how records are found again behind damage. No I/O.

sync     8 bytes   the segment's own, drawn at random and kept in its file's name, so that no payload can imitate it
length   uint32    bytes of the body, little-endian
crc      uint32    CRC-32 of length and body, little-endian
body     MessagePack of one of the records below, an array whose first element tells which

A damaged record is skipped to the next place where all of that holds. Nothing before or behind it is touched.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

VERSION = 1
SYNC_BYTES = 8
_LENGTH = struct.Struct("<I")
_FRAME = struct.Struct("<II")
OVERHEAD = SYNC_BYTES + _FRAME.size


class Head(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The first record of a segment: the format's version, and the sinks that its events are for."""

    version: int
    sinks: list[str]


class Put(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """An event. at_ns: when it was put, on the wall clock. state: what its key stands at from here on; None as before.

    The payload comes last: nothing of a payload that looks like a record's beginning can shift what stands before it.
    """

    id: int
    at_ns: int
    severity: int
    key: str
    event_id: str
    state: bytes | None
    payload: bytes


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Events that a sink has; with sink None, events that are owed to nobody any more, for they were dropped."""

    ids: list[int]
    sink: str | None


class Latest(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """What a key stands at since its event `id`, which itself may be gone from the log.

    ended: its events up to this id are of a stream that ended, and may come once more; 0 for none.
    """

    id: int
    key: str
    event_id: str
    state: bytes
    ended: int


Record = Head | Put | Ack | Latest


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no record."""

    offset: int
    length: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


def encode(record: Record, sync: bytes) -> bytes:
    """Return a record as the bytes of its segment."""
    body = _encode(record)
    length = _LENGTH.pack(len(body))
    return b"".join((sync, length, _LENGTH.pack(zlib.crc32(body, zlib.crc32(length))), body))


def decode(data: bytes | memoryview, offset: int, sync: bytes) -> tuple[Record, int] | None:
    """Return the record that begins at `offset` and where it ends; None where none does."""
    body = offset + OVERHEAD
    if body > len(data) or data[offset : offset + SYNC_BYTES] != sync:
        return None
    length, crc = _FRAME.unpack_from(data, offset + SYNC_BYTES)
    end = body + length
    if end > len(data) or zlib.crc32(data[body:end], zlib.crc32(_LENGTH.pack(length))) != crc:
        return None
    try:
        return _decode(data[body:end]), end
    except msgspec.MsgspecError:
        return None


def scan(data: bytes, sync: bytes) -> Iterator[tuple[int, Record] | Damage]:
    """Yield every record with its offset, and what lies between them."""
    view, offset = memoryview(data), 0
    while offset < len(data):
        found = decode(view, offset, sync)
        if found:
            yield offset, found[0]
            offset = found[1]
            continue
        place = data.find(sync, offset + 1)
        while place >= 0 and decode(view, place, sync) is None:
            place = data.find(sync, place + 1)
        end = len(data) if place < 0 else place
        yield Damage(offset, end - offset)
        offset = end
