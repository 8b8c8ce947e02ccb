"""What can happen to bytes on their way: errors of one bit, mutated and random frames, made many at a time."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import wired_device

import firmware_bridge as wire
from firmware_bridge import framing

BLOCK = 2000


@dataclass(frozen=True)
class Block:
    """Wrong frames as bytes for a decoder. frames: how many."""

    data: bytes
    frames: int


def real_frames(count: int) -> list[bytes]:
    """Return frames of the real device, its zeros included: of samples in all formats and lengths, and of all else."""
    found: list[bytes] = []
    shares = {("int16", 3, 4): 0.3, ("int24", 3, 3): 0.3, ("float32", 3, 2): 0.3, ("int16", 3, 39): 0.05}
    shares |= {("float32", 1, 59): 0.05}
    for (form, channels, rows), share in shares.items():
        options = ("--format", form, "--channels", str(channels), "--rows", str(rows), "--autostart", "--boot", "9")
        raw = wired_device.recorded(*options, "--count", str(int(share * count) + 1), host=host_bytes())
        found += [piece + b"\0" for piece in raw.split(b"\0") if piece]
    assert len(found) >= count
    rng = np.random.default_rng(7)
    return [found[place] for place in rng.permutation(len(found))[:count]]


def host_bytes() -> bytes:
    """Return one of every message that a host sends."""
    said = [wire.Ask(), wire.Rate(rate=Fraction(800)), wire.Ping(token=7), wire.Stop(), wire.Start()]
    return b"".join(wire.encode(message) for message in said)


def ping(*, length: int = 0, version: int = 1, crc: int = 0, total: int = 0) -> bytes:
    """Return a PING, made by hand as docs/wire.md has it; what is not 0, or version 1, is by so much wrong."""
    contents = bytes((version, wire.Ping.TYPE, 0)) + struct.pack("<HII", 0, 0, 7)
    frame = bytes((1 + len(contents) + 5 + length,)) + contents
    frame += ((zlib.crc32(frame) + crc) % (1 << 32)).to_bytes(4, "little")
    frame += bytes(((total - sum(frame)) % 256,))
    return b"".join(bytes((len(run) + 1,)) + run for run in frame.split(b"\0")) + b"\0"


WRONG = ({"length": 1}, {"length": -1}, {"version": 2}, {"crc": 1}, {"crc": 1 << 31}, {"total": 1}, {"total": 128})
"""Each breaks one check and keeps all others."""


def cut_in_two() -> tuple[bytes, bytes]:
    """Return a frame, and a longer one that holds it as its tail, cut in two by a zero where one bit has to be 1.

    That is the one case in which no checksum helps: the second half is a frame of its own. Both without the last zero.
    """
    inner = ping()[:-1]
    outer = bytes((len(inner) + 23, 1)) + b"\2" * 20 + b"\4" + inner
    whole = framing.encode(outer)
    cut = whole.replace(b"\4" + inner, b"\0" + inner)
    assert cut != whole
    return inner, cut


def one_bit_wrong(frame: bytes) -> bytes:
    """Return the frame once for each bit, that bit wrong, each alone between zeros."""
    bits = 8 * len(frame)
    copies = np.zeros((bits, len(frame) + 3), np.uint8)
    copies[:, 1 : 1 + len(frame)] = np.frombuffer(frame, np.uint8)
    places = np.arange(bits)
    copies[places, 1 + places // 8] ^= (1 << places % 8).astype(np.uint8)
    return copies.tobytes()


def wrong_frames(frames: Sequence[bytes], rng: np.random.Generator, count: int) -> Iterator[Block]:
    """Yield so many frames that are none: mutated ones, and random ones of right length and version."""
    done = 0
    while done < count:
        frame = frames[int(rng.integers(len(frames)))]
        block = _mutated(frame, rng) if rng.random() < 0.7 else _random(rng)
        done += block.frames
        yield block


def _mutated(frame: bytes, rng: np.random.Generator) -> Block:
    """Change one to six bytes of each copy, at random or by a bit, in place or all over."""
    copies = np.zeros((BLOCK, len(frame) + 1), np.uint8)
    copies[:, : len(frame)] = np.frombuffer(frame, np.uint8)
    inside = len(frame) - 1
    first = rng.integers(0, inside, BLOCK)
    rows = np.arange(BLOCK)
    close = rng.random(BLOCK) < 0.5
    for change in range(int(rng.integers(1, 7))):
        place = np.where(close, (first + change) % inside, rng.integers(0, inside, BLOCK))
        by = np.where(rng.random(BLOCK) < 0.5, 1 << rng.integers(0, 8, BLOCK), rng.integers(1, 256, BLOCK))
        copies[rows, place] ^= by.astype(np.uint8)
    # Two changes may have undone each other: such a copy is a frame, and is left out.
    changed = (copies[:, :inside] != np.frombuffer(frame[:-1], np.uint8)).any(axis=1)
    return Block(copies[changed].tobytes(), int(changed.sum()))


def _random(rng: np.random.Generator) -> Block:
    """Return random bytes between zeros; of most, length and version are right, so that all checks have work."""
    size = int(rng.integers(16, 255))
    copies = rng.integers(1, 256, (BLOCK, size + 1), np.uint8)
    # A code that spans all, and a length and a version that are right.
    copies[:, 0] = np.where(rng.random(BLOCK) < 0.8, size, copies[:, 0])
    copies[: BLOCK * 3 // 4, 1], copies[: BLOCK * 3 // 4, 2] = size - 1, 1
    copies[:, size] = 0
    return Block(copies.tobytes(), BLOCK)
