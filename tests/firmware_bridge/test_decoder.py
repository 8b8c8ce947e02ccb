"""Messages through bytes and back, in any pieces; what is lost, twice there, late or damaged is counted."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import firmware_bridge as wire
from firmware_bridge import decoder as decoders
from firmware_bridge import framing
from firmware_bridge.messages import FORMATS, LEVELS, MAX_BODY

U8, U16, U32 = st.integers(0, 255), st.integers(0, (1 << 16) - 1), st.integers(0, (1 << 32) - 1)
HEAD = {"stream": U8, "sequence": U16, "time_us": U32}
RATES = st.builds(Fraction, st.integers(1, (1 << 32) - 1), st.integers(1, (1 << 32) - 1))
MANTISSAS = st.integers(-(1 << 31), (1 << 31) - 1) | st.sampled_from([-(1 << 31), 10, 2 * 10**9])
SCALES = st.builds(lambda m, e: Decimal(m).scaleb(e), MANTISSAS, st.integers(-128, 127) | st.just(127))


def text(most: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=most).filter(lambda t: len(t.encode()) <= most)


@st.composite
def samples(draw: st.DrawFn) -> wire.Samples:
    dtype, size = draw(st.sampled_from([(np.int16, 2), (np.int32, 3), (np.float32, 4)]))
    channels = draw(st.integers(1, (MAX_BODY - 2) // size))
    rows = draw(st.integers(1, (MAX_BODY - 2) // size // channels))
    elements = st.integers(-(1 << 23), (1 << 23) - 1) if size == 3 else None
    values = draw(arrays.arrays(dtype, (rows, channels), elements=elements))
    return wire.Samples(stream=draw(U8), sequence=draw(U16), time_us=draw(U32), values=values)


HELLOS = st.builds(
    wire.Hello, **HEAD, boot=U32, rate=RATES, format=st.sampled_from(FORMATS), index=st.integers(0, 100),
    channels=st.integers(101, 255), name=text(63), unit=text(31), scale=SCALES,
)  # fmt: skip
MESSAGES = st.one_of(
    HELLOS,
    samples(),
    st.builds(wire.Log, **HEAD, level=st.sampled_from(LEVELS), text=text(MAX_BODY - 1)),
    st.builds(wire.Counters, **HEAD, sent=U32, dropped=U32, damaged=U32, unknown=U32),
    st.builds(wire.Pong, **HEAD, token=U32, received_us=U32),
    st.builds(wire.Rate, **HEAD, rate=RATES),
    st.builds(wire.Ping, **HEAD, token=U32),
    *(st.builds(kind, **HEAD) for kind in (wire.Ask, wire.Start, wire.Stop)),
)


def numbered(count: int, first: int = 0) -> list[wire.Samples]:
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    return [wire.Samples(sequence=(first + i) % (1 << 16), time_us=i, values=values + i) for i in range(count)]


def fed(messages: list[wire.Samples]) -> tuple[list[wire.Message], wire.Stats]:
    decoder = wire.Decoder()
    return decoder.feed(b"".join(map(wire.encode, messages))), decoder.stats


@given(MESSAGES)
def test_a_message_comes_back(message: wire.Message) -> None:
    decoder = wire.Decoder()
    assert decoder.feed(wire.encode(message)) == [message]
    assert decoder.stats == wire.Stats(good=1)


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(0, (1 << 16) - 1))
def test_any_pieces_give_the_same(cuts: list[int], first: int) -> None:
    messages = numbered(12, first)
    raw = b"".join(map(wire.encode, messages))
    decoder = wire.Decoder()
    got, at = [], 0
    for cut in [*cuts, len(raw)]:
        got += decoder.feed(raw[at : at + cut])
        at += cut
    assert got == messages


@given(st.binary(max_size=600))
def test_garbage_costs_at_most_the_frame_that_it_touches(garbage: bytes) -> None:
    messages = numbered(3)
    decoder = wire.Decoder()
    got = decoder.feed(garbage + b"".join(map(wire.encode, messages)))
    assert got[-2:] == messages[-2:]


def test_memory_is_bounded_whatever_comes() -> None:
    decoder = wire.Decoder()
    for _ in range(1000):
        assert decoder.feed(b"\xff" * 10_000) == []
    assert len(decoder._rest) <= framing.MAX_ENCODED + 1
    assert decoder.feed(b"\0" + wire.encode(wire.Ask())) == [wire.Ask()]
    assert decoder.stats == wire.Stats(good=1, damaged=1)


def test_what_is_missing_is_counted_and_marks_a_gap() -> None:
    messages = numbered(10, first=(1 << 16) - 4)
    got, stats = fed([*messages[:3], *messages[6:]])
    assert [message.gap for message in got if isinstance(message, wire.Samples)] == [False] * 3 + [True] + [False] * 3
    assert stats == wire.Stats(good=7, lost=3)


def test_a_frame_that_comes_twice_or_late_is_not_delivered() -> None:
    a, b, c, d, e = numbered(5)
    got, stats = fed([a, b, b, d, c, c, e, a])
    assert [message.sequence for message in got] == [0, 1, 3, 4]
    assert stats == wire.Stats(good=4, lost=1, duplicate=3, late=1)


def test_streams_are_numbered_apart_and_so_is_all_else() -> None:
    values = np.zeros((1, 1), np.float32)
    of_two = [wire.Samples(stream=i % 2, sequence=i // 2, values=values) for i in range(8)]
    logs = [wire.Log(sequence=i) for i in range(4)]
    decoder = wire.Decoder()
    mixed = [*of_two[:3], *logs[:2], *of_two[3:], *logs[2:]]
    assert len(decoder.feed(b"".join(map(wire.encode, mixed)))) == 12
    # A lost line of log is no gap in the samples.
    got = decoder.feed(wire.encode(wire.Log(sequence=9)) + wire.encode(wire.Samples(sequence=4, values=values)))
    assert got[1] == wire.Samples(sequence=4, values=values)
    assert decoder.stats == wire.Stats(good=14, lost=5)


def test_numbers_that_begin_anew_are_followed_within_a_window() -> None:
    """Without a Hello that would say so: what is far behind is a new beginning, never late for good."""
    got, stats = fed([*numbered(1, 1000), *numbered(100)])
    assert len(got) == 101
    got, stats = fed([*numbered(1, 30), *numbered(100)])
    assert len(got) >= 101 - decoders.WINDOW
    assert stats.late <= decoders.WINDOW


def test_a_device_that_begins_anew_says_so() -> None:
    decoder = wire.Decoder()
    decoder.feed(b"".join(map(wire.encode, [wire.Hello(boot=1), *numbered(10)])))
    got = decoder.feed(b"".join(map(wire.encode, [wire.Hello(boot=2), *numbered(2)])))
    assert [message.gap for message in got if isinstance(message, wire.Samples)] == [True, False]
    assert decoder.stats == wire.Stats(good=14, restarts=1)


def test_a_line_of_log_is_one_line_whatever_the_device_sends() -> None:
    assert wire.Log(text="\x1b[31mred\r\nERROR root: a lie\0").line == " [31mred  ERROR root: a lie "


def test_a_frame_of_a_later_version_of_us_is_counted() -> None:
    decoder = wire.Decoder()
    head, one = bytes(7), b"\1\0\0\0"
    rates = (b"\1\x13" + head + bytes(4) + one, b"\1\x13" + head + one + bytes(4))
    for body in (b"\1\x63" + head, b"\1\2" + head + b"\0\3ab", b"\1\1" + head + b"short", *rates):
        assert decoder.feed(framing.seal(body)) == []
    assert decoder.stats == wire.Stats(unknown=5)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (wire.Samples(values=np.zeros((200, 3), np.int16)), "a frame holds 238: split it"),
        (wire.Samples(values=np.zeros((0, 3), np.int16)), r"\[n, channels\]"),
        (wire.Samples(values=np.full((1, 1), 1 << 23, np.int32)), "24 bits"),
        (wire.Samples(values=np.zeros((1, 1), np.int64)), "not int64"),  # type: ignore[arg-type]
        (wire.Log(text="x" * 238), "at most 237 fit"),
        (wire.Hello(name="ü" * 32), "64 bytes in UTF-8, at most 63"),
        (wire.Hello(scale=Decimal("1.23456789012")), "a scale is"),
        (wire.Rate(rate=Fraction(0)), "a rate is above 0"),
        (wire.Ask(stream=256), "stream must lie in 0 to 255"),
    ],
)
def test_what_fits_into_no_frame_is_refused(message: wire.Message, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wire.encode(message)
