"""The wire's proofs at full length, for both sides; their shares in `make test` are in test_framing.py and test_c.py.

A hundred thousand real frames, each once with each of its bits wrong, and ten million frames that are none.
"""

import itertools

import numpy as np
import pytest
import wire_errors
import wired_device

import firmware_bridge as wire
from firmware_bridge import simulator

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(wired_device.MISSING is not None, reason=str(wired_device.MISSING)),
]

FRAMES = 100_000
WRONG = 10_000_000
AT_ONCE = 1000


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    return wire_errors.real_frames(FRAMES)


def counted(host: list[bytes]) -> wire.Counters:
    """Return what the C side, built for speed, counts of these bytes."""
    program = simulator.build(wired_device.BUILT)
    return wired_device.counted(program, b"".join([b"\0", *host, b"\0"]))


def test_every_error_of_one_bit_is_detected_on_both_sides(frames: list[bytes]) -> None:
    decoder, tried, damaged, bits = wire.Decoder(), 0, 0, 0
    for start in range(0, len(frames), AT_ONCE):
        part = frames[start : start + AT_ONCE]
        host = [wire_errors.one_bit_wrong(frame) for frame in part]
        for raw in host:
            assert decoder.feed(raw) == []
        counters = counted(host)
        assert counters.unknown == 0
        damaged += counters.damaged
        tried += len(part)
        bits += sum(8 * len(frame) for frame in part)
    assert tried == FRAMES
    assert decoder.stats == wire.Stats(damaged=decoder.stats.damaged)
    # A false zero makes two pieces; the zero at the end makes the frame a longer one. None is without its damage.
    assert min(damaged, decoder.stats.damaged) > bits - 8 * FRAMES - 2 * FRAMES


def test_a_lost_end_costs_two_frames_and_gives_none(frames: list[bytes]) -> None:
    for frame, following in itertools.pairwise(frames):
        for bit in range(8):
            assert wire.Decoder().feed(frame[:-1] + bytes((1 << bit,)) + following) == []


def test_nothing_is_taken_for_a_frame_on_both_sides(frames: list[bytes]) -> None:
    of_host = [piece + b"\0" for piece in wire_errors.host_bytes().split(b"\0")[:-1]]
    rng = np.random.default_rng(0)
    decoder, tried, held = wire.Decoder(), 0, list[bytes]()
    for block in wire_errors.wrong_frames([*frames[:5000], *of_host * 100], rng, WRONG):
        assert decoder.feed(block.data) == []
        held.append(block.data)
        tried += block.frames
        if len(held) == AT_ONCE or tried >= WRONG:
            assert counted(held).unknown == 0
            held = []
    assert tried >= WRONG
    assert decoder.stats == wire.Stats(damaged=decoder.stats.damaged)
