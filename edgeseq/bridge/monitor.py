"""Watches a device on a serial port: who it is, what it sends, what is lost on the way, how its clock runs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeseq.sources._clock import now_ns
from firmware_bridge import Log, Samples
from firmware_bridge.lines import LineDecoder, Reader
from firmware_bridge.link import Link
from firmware_bridge.port import Port

LOOK_S = 0.1
LOGS = 100
"""Of the device's lines of log so many are kept, the latest."""


@dataclass(frozen=True)
class Moment:
    """A second of a device. rates: samples a second by stream; last: the newest sample of each, in its units."""

    seconds: float
    bytes_per_s: float
    rates: dict[int, float]
    last: dict[int, list[float]]


@dataclass
class Watch:
    """What has been seen; `stop` ends it from any thread."""

    link: Link = field(default_factory=Link)
    samples: Counter[int] = field(default_factory=Counter)
    logs: list[Log] = field(default_factory=list)
    seconds: float = 0.0
    received: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """End it soon."""
        self._stop.set()

    def run(self, port: Port, seconds: float | None) -> Iterator[Moment | Log]:
        """Start all streams, and yield a moment a second, and the device's log. Raises PortError where it goes away."""
        link, began = self.link, time.monotonic()
        due, received, before = began, 0, Counter[int]()
        last: dict[int, list[float]] = {}
        started: set[int] = set()
        port.write(link.ask() + link.ping(now_ns()))
        while not self._stop.is_set() and (seconds is None or self.seconds < seconds):
            for message in link.receive(self._read(port), now_ns()):
                if isinstance(message, Samples):
                    self.samples[message.stream] += len(message.values)
                    if message.stream in link.streams:
                        channels = link.streams[message.stream].channels
                        last[message.stream] = [
                            float(value) * channel.scale
                            for value, channel in zip(message.values[-1], channels, strict=False)
                        ]
                elif isinstance(message, Log):
                    self.logs = [*self.logs, message][-LOGS:]
                    yield message
            for each in link.streams.keys() - started:
                started.add(each)
                port.write(link.start(each))
            now = time.monotonic()
            self.seconds = now - began
            if now - due >= 1.0:
                rates = {each: (self.samples[each] - before[each]) / (now - due) for each in self.samples}
                yield Moment(self.seconds, (self.received - received) / (now - due), rates, last)
                due, received, before, last = now, self.received, self.samples.copy(), {}
                # A device that has begun anew, or did not hear the first START, is silent.
                started = {each for each in started if rates.get(each)}
                port.write(link.ask() + link.ping(now_ns()))

    def _read(self, port: Port) -> bytes:
        data = port.read(LOOK_S)
        self.received += len(data)
        return data

    def table(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        clock, counters = self.link.clock, self.link.counters
        return {
            "seconds": self.seconds,
            "bytes": self.received,
            "streams": [
                {
                    "stream": number,
                    "rate_hz": float(found.rate),
                    "format": found.format,
                    "channels": [{"name": c.name, "unit": c.unit, "scale": c.scale} for c in found.channels],
                    "samples": self.samples[number],
                }
                for number, found in sorted(self.link.streams.items())
            ],
            "frames": asdict(self.link.decoder.stats),
            "clock": {
                "synchronized": clock.synchronized,
                "drift_ppm": clock.drift_ppm if clock.synchronized else None,
                "round_trip_us": None if clock.round_trip_ns is None else clock.round_trip_ns / 1000,
            },
            "device": None
            if counters is None
            else {name: getattr(counters, name) for name in ("sent", "dropped", "damaged", "unknown")},
            "log": [{"level": each.level, "text": each.text} for each in self.logs],
        }


@dataclass
class LineWatch:
    """The same of a device that writes lines."""

    reader: Reader
    seconds: float = 0.0
    received: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.lines = LineDecoder(self.reader)

    def stop(self) -> None:
        """End it soon."""
        self._stop.set()

    def run(self, port: Port, seconds: float | None) -> Iterator[Moment]:
        """Yield a moment a second. Raises PortError where the device goes away."""
        began = due = time.monotonic()
        received, good, last = 0, 0, list[float]()
        while not self._stop.is_set() and (seconds is None or self.seconds < seconds):
            data = port.read(LOOK_S)
            self.received += len(data)
            last = next((row for row in reversed(self.lines.feed(data)) if row), last)
            now = time.monotonic()
            self.seconds = now - began
            if now - due >= 1.0:
                rates = {0: (self.lines.good - good) / (now - due)}
                yield Moment(self.seconds, (self.received - received) / (now - due), rates, {0: last} if last else {})
                due, received, good = now, self.received, self.lines.good

    def table(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        lines = {"good": self.lines.good, **self.lines.dropped}
        return {"seconds": self.seconds, "bytes": self.received, "lines": lines}
