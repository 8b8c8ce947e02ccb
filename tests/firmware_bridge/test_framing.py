"""The wire's frames: bytes as written down, every error of one bit found, whatever else comes in refused."""

import zlib

import numpy as np
import pytest
import wire_errors
from hypothesis import given
from hypothesis import strategies as st

import firmware_bridge as wire
from firmware_bridge import framing

CONTENTS = st.binary(min_size=8, max_size=framing.MAX_CONTENTS - 1).map(lambda rest: b"\1" + rest)


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    return wire_errors.real_frames(60)


def cobs(data: bytes) -> bytes:
    """Cheshire and Baker's algorithm as in its paper, for less than 254 bytes."""
    encoded = b""
    for block in (data + b"\0").split(b"\0")[:-1]:
        encoded += bytes((len(block) + 1,)) + block
    return encoded


def test_a_frame_is_what_is_written_down() -> None:
    sealed = framing.seal(b"\1\x02\x03\x04\x00\x05\x00\x00\x00 body")
    frame = b"\x14\1\x02\x03\x04\x00\x05\x00\x00\x00 body" + sealed[-6:-1]
    assert framing.decode(sealed[:-1]) == frame[:15] + zlib.crc32(frame[:15]).to_bytes(4, "little") + frame[19:]
    assert sum(framing.decode(sealed[:-1]) or b"x") % 256 == 0
    assert sealed == cobs(framing.decode(sealed[:-1]) or b"") + b"\0"


@given(st.binary(max_size=framing.MAX_FRAME))
def test_cobs_is_that_of_the_paper_and_back(data: bytes) -> None:
    encoded = framing.encode(data)
    assert encoded == cobs(data)
    assert 0 not in encoded
    assert framing.decode(encoded) == data


@given(CONTENTS)
def test_what_is_sealed_is_unsealed(contents: bytes) -> None:
    sealed = framing.seal(contents)
    assert sealed.endswith(b"\0")
    assert framing.unseal(sealed[:-1]) == contents


@pytest.mark.parametrize("size", [0, 8, framing.MAX_CONTENTS + 1])
def test_contents_that_fit_into_no_frame_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="a frame holds 9 to 247 bytes"):
        framing.seal(bytes(size))


@pytest.mark.parametrize("wrong", wire_errors.WRONG, ids=str)
def test_each_check_is_one(wrong: dict[str, int]) -> None:
    assert wire.Decoder().feed(wire_errors.ping()) == [wire.Ping(token=7)]
    decoder = wire.Decoder()
    assert decoder.feed(wire_errors.ping(**wrong)) == []
    assert decoder.stats == wire.Stats(damaged=1)


def test_every_error_of_one_bit_is_detected(frames: list[bytes]) -> None:
    """A share of what test_wire_at_length.py does for 100,000 frames."""
    for frame, following in zip(frames, [*frames[1:], frames[0]], strict=True):
        decoder = wire.Decoder()
        assert decoder.feed(wire_errors.one_bit_wrong(frame)) == []
        assert decoder.stats.damaged > 8 * (len(frame) - 2)
        # Where it is the zero at the end, the next frame is lost as well, and the one behind that is not.
        for bit in range(8):
            end = bytes((1 << bit,))
            assert len(wire.Decoder().feed(frame[:-1] + end + following)) == 0
            assert len(wire.Decoder().feed(frame[:-1] + end + following + frame)) == 1


def test_a_second_half_that_looks_like_a_frame_is_none() -> None:
    inner, cut = wire_errors.cut_in_two()
    # Alone it is a frame, and behind what does not lack just it.
    assert len(wire.Decoder().feed(inner + b"\0")) == 1
    assert len(wire.Decoder().feed(b"x" + cut + b"\0")) == 1
    assert wire.Decoder().feed(cut + b"\0") == []


def test_bursts_in_the_decoded_bytes_are_detected(frames: list[bytes]) -> None:
    rng = np.random.default_rng(0)
    for sealed in frames:
        frame = framing.decode(sealed[:-1])
        assert frame is not None
        for length in range(1, 33):
            at = int(rng.integers(0, 8 * len(frame) - length + 1))
            inner = int(rng.integers(0, 1 << max(0, length - 2))) << 1 if length > 2 else 0
            burst = (1 | inner | 1 << (length - 1)) << at
            wrong = int.from_bytes(frame, "little") ^ burst
            assert framing.unseal(framing.encode(wrong.to_bytes(len(frame), "little"))) is None


def test_nothing_is_taken_for_a_frame(frames: list[bytes]) -> None:
    """A share of what test_wire_at_length.py does with ten million."""
    rng = np.random.default_rng(1)
    decoder = wire.Decoder()
    count = 0
    for block in wire_errors.wrong_frames(frames, rng, 100_000):
        assert decoder.feed(block.data) == []
        count += block.frames
    assert count >= 100_000
    assert decoder.stats.damaged >= 90_000
