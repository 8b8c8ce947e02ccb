"""What is known of a device over one connection: described channel by channel, forgotten when it begins anew."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np

import firmware_bridge as wire
from firmware_bridge.link import PINGS, Channel, Description, Link

NUMBERS = itertools.count()
HOST = 1_795_000_000_000_000_000


def hello(index: int, channels: int = 2, **more: object) -> wire.Hello:
    told = {"name": f"c{index}", "unit": "g", "rate": Fraction(100), "format": "int16", "boot": 5}
    return wire.Hello(index=index, channels=channels, **{**told, **more})  # type: ignore[arg-type]


def said(link: Link, *messages: wire.Message, now_ns: int = HOST) -> None:
    link.receive(b"".join(wire.encode(replace(each, sequence=next(NUMBERS))) for each in messages), now_ns)


def test_a_stream_is_described_when_all_its_channels_are() -> None:
    link = Link()
    said(link, hello(1))
    assert link.streams == {}
    said(link, hello(0))
    found = link.streams[0]
    assert found == Description(Fraction(100), "int16", (Channel("c0", "g", 1.0), Channel("c1", "g", 1.0)))
    said(link, hello(0), hello(1))
    assert link.streams[0] is found, "said again, it is the same"


def test_a_name_moves_no_cursor() -> None:
    link = Link()
    said(link, hello(0, 1, name="x\x1b[2J\n", unit="\rg"))
    assert link.streams[0].channels == (Channel("x [2J ", " g", 1.0),)


def test_another_description_takes_the_place_of_the_old_one_as_a_whole() -> None:
    link = Link()
    said(link, hello(0), hello(1), hello(0, rate=Fraction(50)))
    assert link.streams[0].rate == 100, "half of it is not said yet"
    said(link, hello(1, rate=Fraction(50)))
    assert link.streams[0].rate == 50


def test_a_device_that_begins_anew_is_another_one() -> None:
    link = Link()
    said(link, hello(0), hello(1), wire.Samples(time_us=4_000_000_000, values=np.zeros((1, 2), np.int16)))
    said(link, hello(0, boot=6, time_us=100), now_ns=HOST + 10**9)
    assert link.streams == {}
    assert link.first_ns(wire.Samples(time_us=200)) == HOST + 10**9 + 100_000


def test_pings_place_the_clock_and_unanswered_ones_are_forgotten() -> None:
    link = Link()
    for _ in range(100):
        (ping,) = wire.Decoder().feed(link.ping(HOST))
    assert len(link._pings) == PINGS
    assert isinstance(ping, wire.Ping)
    said(link, wire.Pong(token=ping.token, received_us=990, time_us=1010), now_ns=HOST + 120_000)
    assert link.clock.round_trip_ns == 100_000
    assert link.first_ns(wire.Samples(time_us=1000)) == HOST + 60_000
    said(link, wire.Pong(token=ping.token, received_us=5, time_us=5), wire.Pong(token=1, received_us=5, time_us=5))
    assert link.clock.steps == 0, "answered already, or given up"


def test_what_a_host_says_is_numbered() -> None:
    link = Link()
    raw = link.ask() + link.start(3) + link.stop(3) + link.rate(3, Fraction(1, 3))
    got = wire.Decoder().feed(raw)
    assert got == [
        wire.Ask(),
        wire.Start(stream=3, sequence=1),
        wire.Stop(stream=3, sequence=2),
        wire.Rate(stream=3, sequence=3, rate=Fraction(1, 3)),
    ]
