"""One connection to a device, from the host's end: who it is, what its clock says, what to send it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

from firmware_bridge.clock import Clock
from firmware_bridge.decoder import Decoder
from firmware_bridge.messages import (
    Ask,
    Counters,
    Hello,
    Message,
    Ping,
    Pong,
    Rate,
    Samples,
    Start,
    Stop,
    encode,
    one_line,
)

PINGS = 16
"""Pings without an answer that are remembered; the oldest is given up."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as its device describes it; a sample times `scale` is in `unit`."""

    name: str
    unit: str
    scale: float


@dataclass(frozen=True, slots=True)
class Description:
    """A stream as its device describes it: rate in Hz, format, and the channels in order."""

    rate: Fraction
    format: str
    channels: tuple[Channel, ...]


@dataclass(slots=True)
class Link:
    """What is known of the device at the other end of a connection that has just been opened.

    streams: those that are fully described, the same object for as long as the description is the same. counters: the
    device's latest own ones.
    """

    decoder: Decoder = field(default_factory=Decoder)
    clock: Clock = field(default_factory=Clock)
    streams: dict[int, Description] = field(default_factory=dict)
    counters: Counters | None = None
    _hellos: dict[int, dict[int, Hello]] = field(default_factory=dict)
    _pings: dict[int, int] = field(default_factory=dict)
    _sequence: int = 0
    _token: int = 0
    _boot: int = 0

    def receive(self, data: bytes, now_ns: int) -> list[Message]:
        """Take bytes that came at now_ns; return the messages, after what they say of the device has been noted."""
        messages = self.decoder.feed(data)
        for message in messages:
            if isinstance(message, Hello):
                self._describe(message)
            elif isinstance(message, Pong):
                sent_ns = self._pings.pop(message.token, None)
                if sent_ns is not None:
                    self.clock.exchanged(sent_ns, message.received_us, message.time_us, now_ns)
            elif isinstance(message, Counters):
                self.counters = message
            self.clock.arrived(message.time_us, now_ns)
        return messages

    def ask(self) -> bytes:
        """Return bytes that ask for all descriptions and counters; the zero in front ends what stood there before."""
        return b"\0" + self._send(Ask())

    def start(self, stream: int) -> bytes:
        """Return bytes that start a stream."""
        return self._send(Start(stream=stream))

    def stop(self, stream: int) -> bytes:
        """Return bytes that stop a stream."""
        return self._send(Stop(stream=stream))

    def rate(self, stream: int, rate: Fraction) -> bytes:
        """Return bytes that ask for a rate."""
        return self._send(Rate(stream=stream, rate=rate))

    def ping(self, now_ns: int) -> bytes:
        """Return bytes that ask what time it is there; to be written at now_ns."""
        self._token = (self._token + 1) % (1 << 32)
        self._pings[self._token] = now_ns
        if len(self._pings) > PINGS:
            del self._pings[next(iter(self._pings))]
        return self._send(Ping(token=self._token))

    def first_ns(self, message: Samples) -> int:
        """Return the host's time of a message's first sample."""
        return self.clock.host_ns(self.clock.unwrap(message.time_us))

    def _describe(self, hello: Hello) -> None:
        """Note a channel; a stream is described when all its channels say the same of it."""
        if hello.boot != self._boot:
            # Another device, or the same one begun anew: neither its clock nor its streams are those from before.
            if self._boot:
                self.clock = Clock()
                self.streams.clear()
                self._hellos.clear()
                self._pings.clear()
            self._boot = hello.boot
        known = self._hellos.setdefault(hello.stream, {})
        known[hello.index] = hello
        same = [
            each
            for each in known.values()
            if (each.rate, each.format, each.channels) == (hello.rate, hello.format, hello.channels)
        ]
        if len(same) == hello.channels:
            in_order = sorted(same, key=lambda each: each.index)
            channels = tuple(Channel(one_line(each.name), one_line(each.unit), float(each.scale)) for each in in_order)
            found = Description(hello.rate, hello.format, channels)
            if self.streams.get(hello.stream) != found:
                self.streams[hello.stream] = found

    def _send(self, message: Message) -> bytes:
        """Give a message the next number, and return its bytes."""
        numbered = replace(message, sequence=self._sequence)
        self._sequence = (self._sequence + 1) % (1 << 16)
        return encode(numbered)
