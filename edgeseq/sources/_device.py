"""A device that speaks the wire of firmware_bridge, as chunks: greeted, held against what is wanted, started, timed."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from edgeseq.errors import SourceError
from edgeseq.sources._clock import now_ns
from edgeseq.tables import suggest
from edgeseq.types import Chunk, Frames, StreamSpec, TimesNs
from firmware_bridge import Log, Samples, Stats
from firmware_bridge.link import Description, Link
from firmware_bridge.port import Port, PortError

log = logging.getLogger(__name__)
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

FASTEST, SLOWEST = (1 << 32) - 1, 100_000
"""Samples a second, and seconds a sample, that can be asked for."""
LOOK_S = 0.1
"""The longest wait: whether the source was closed, and what is to be sent, is looked at this often."""
GATHER_S = 0.004
"""So long what has come waits for more; the kernel holds 4 KiB at least, five times what 2 Mbaud bring meanwhile."""
ANSWERED_NS = 50_000_000
"""Pong comes within this, mostly."""
GREET_NS = 200_000_000
"""Between attempts to hear who the device is, and between the first PINGs."""
PING_NS = 1_000_000_000
PINGS_AT_START = 8
UNSYNCED_NS = 1_000_000_000
"""A device that answers no PING within this has its times placed by their arrival."""
SILENT_NS = 2_000_000_000
"""A started stream that is silent for so long is started again: START may have been lost, or the device begun anew."""
RATE_NS = 2_000_000_000
"""A device has so long to take the rate that it was asked for."""
ANSWER_NS = 5_000_000_000
"""A device that is asked what it is has so long to say."""
STATS = ("damaged", "lost", "duplicate", "late", "unknown", "restarts")


@dataclass(slots=True)
class _Stream:
    """What is known of one stream. found: its description, once it fits; columns, scales: of the wanted channels.

    last_ns: time of the newest sample.
    """

    name: str
    found: Description | None = None
    columns: list[int] = field(default_factory=list)
    scales: Frames = field(default_factory=lambda: np.empty(0, np.float32))
    heard_ns: int = 0
    asked_rate_ns: int | None = None
    last_ns: int = -(1 << 62)
    gap: bool = False
    given: bool = False


class Device:
    """Reads a device over one connection after another. columns: what the device calls the wanted channels."""

    def __init__(self, spec: StreamSpec, columns: Sequence[str], ids: Sequence[int]) -> None:
        self._spec, self._columns = spec, columns
        self._streams = {each: _Stream(str(each) if len(ids) > 1 else "") for each in ids}
        self._before: Counter[str] = Counter()
        self._link = Link()
        self._warned = False

    @property
    def words(self) -> str:
        """What is read, as a sentence's end."""
        ids = ", ".join(map(str, self._streams))
        return f"in frames of the device's stream{'s' * (len(self._streams) > 1)} {ids}"

    @property
    def dropped(self) -> Counter[str]:
        """Frames, by reason, over all connections."""
        return self._before.copy() + _counts(self._link.decoder.stats)

    def interrupted(self) -> None:
        """Note that samples are lost here."""
        for stream in self._streams.values():
            stream.gap = stream.given

    def end(self) -> Iterator[Chunk]:
        """Mark the end of every stream that has given anything."""
        empty = np.empty((0, len(self._spec.channels)), np.float32)
        for stream in self._streams.values():
            if stream.given:
                yield Chunk(np.empty(0, np.int64), empty, stream=stream.name, last=True)

    def read(self, port: Port, closed: threading.Event) -> Iterator[Chunk]:
        """Yield chunks until closed. Raises PortError where the device goes, SourceError where it is another one."""
        self._before, self._link = self.dropped, Link()
        for stream in self._streams.values():
            stream.found, stream.asked_rate_ns = None, None
        self._warned = False
        opened, due, pinged, pings = now_ns(), 0, 0, 0
        try:
            while not closed.is_set():
                now = now_ns()
                if now >= due:
                    self._speak(port, now, opened)
                    pinged, pings = now, pings + 1
                    due = now + (GREET_NS if pings < PINGS_AT_START else PING_NS)
                elif now_ns() - pinged > ANSWERED_NS:
                    # Many small frames are read in one go; only a Pong, whose arrival is a time, is not kept waiting.
                    time.sleep(GATHER_S)
                data = port.read(LOOK_S)
                yield from self._chunks(data, now_ns())
        finally:
            with contextlib.suppress(PortError):
                port.write(b"".join(map(self._link.stop, self._streams)))

    def _speak(self, port: Port, now: int, opened: int) -> None:
        """Send what is due: who are you, what time is it, start."""
        link = self._link
        said = []
        if unknown := [each for each in self._streams if each not in link.streams]:
            said.append(link.ask())
            if not self._warned and now - opened > ANSWER_NS:
                self._warned = True
                log.warning("%s It goes on being asked.", _unknown(port, unknown[0]))
        elif link.clock.synchronized or now - opened > UNSYNCED_NS:
            for number, stream in self._streams.items():
                if self._fits(number, stream, link.streams[number], said, now) and now - stream.heard_ns > SILENT_NS:
                    stream.heard_ns = now
                    said.append(link.start(number))
        # The PING comes last, and its time is taken when all is about to leave.
        port.write(b"".join(said) + link.ping(now_ns()))

    def _fits(self, number: int, stream: _Stream, found: Description, said: list[bytes], now: int) -> bool:
        """Hold what the device says of a stream against what is wanted; ask for the rate. Raises SourceError."""
        if stream.found is found:
            return True
        names = [each.name for each in found.channels]
        for column, channel in zip(self._columns, self._spec.channels, strict=True):
            if column not in names:
                raise SourceError(f"the device's stream {number} has no channel '{column}'. {suggest(column, names)}")
            unit = found.channels[names.index(column)].unit
            if channel.unit and unit and unit != channel.unit:
                raise SourceError(
                    f"the device gives '{column}' in {unit}, the pipeline takes it in {channel.unit}. Mend the one "
                    "that is wrong; nothing is converted."
                )
        if not np.isclose(float(found.rate), self._spec.rate_hz, rtol=1e-6, atol=0.0):
            if stream.asked_rate_ns is None:
                stream.asked_rate_ns = now
            if now - stream.asked_rate_ns > RATE_NS:
                raise SourceError(
                    f"the device's stream {number} has {float(found.rate):g} samples a second and takes no other rate; "
                    f"the pipeline takes {self._spec.rate_hz:g} (rate_hz)."
                )
            # A ratio of two numbers of 32 bits each.
            most = min(SLOWEST, int(FASTEST / self._spec.rate_hz))
            said.append(self._link.rate(number, Fraction(self._spec.rate_hz).limit_denominator(most)))
            return False
        stream.columns = [names.index(column) for column in self._columns]
        stream.scales = np.array([found.channels[place].scale for place in stream.columns], np.float32)
        stream.found, stream.heard_ns = found, 0
        return True

    def _chunks(self, data: bytes, now: int) -> Iterator[Chunk]:
        """Yield what bytes that came at `now` complete."""
        restarts = self._link.decoder.stats.restarts
        parts: dict[int, list[Samples]] = {}
        for message in self._link.receive(data, now):
            if isinstance(message, Samples) and message.stream in self._streams:
                waiting = parts.setdefault(message.stream, [])
                if message.gap and waiting:
                    yield from self._chunk(message.stream, waiting, now)
                    waiting.clear()
                waiting.append(message)
            elif isinstance(message, Log):
                log.log(LEVELS[message.level], "the device says: %s", message.line)
        if self._link.decoder.stats.restarts > restarts:
            log.warning("the device has begun anew")
            for stream in self._streams.values():
                stream.found = None
        for number, samples in parts.items():
            yield from self._chunk(number, samples, now)

    def _chunk(self, number: int, samples: Sequence[Samples], now: int) -> Iterator[Chunk]:
        """Yield consecutive samples of a stream as one chunk, if they are of the description that fits."""
        stream = self._streams[number]
        found = stream.found
        if (
            found is None
            or found is not self._link.streams.get(number)
            or any(each.values.shape[1] != len(found.channels) for each in samples)
        ):
            self._before["unexpected_frames"] += len(samples)
            stream.gap = stream.given
            return
        stream.heard_ns = now
        raw = np.concatenate([each.values for each in samples])[:, stream.columns]
        values: Frames = np.multiply(raw, stream.scales, dtype=np.float32)
        t_ns = self._times(samples)
        # Frames of a device a bit faster than it says would overlap.
        t_ns = np.maximum(t_ns, stream.last_ns + 1 + np.arange(len(t_ns)))
        stream.last_ns = int(t_ns[-1])
        gap, stream.gap, stream.given = stream.gap or samples[0].gap, False, True
        yield Chunk(t_ns, values, gap=gap, stream=stream.name)

    def _times(self, samples: Sequence[Samples]) -> TimesNs:
        """Return each sample's time: that of its frame's first, and so many periods."""
        counts = np.array([len(each.values) for each in samples])
        firsts = np.array([self._link.first_ns(each) for each in samples])
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        times: TimesNs = np.repeat(firsts, counts) + np.rint(within * (1e9 / self._spec.rate_hz)).astype(np.int64)
        return times


def described(port: Port, ids: Sequence[int]) -> Description:
    """Ask a device what these streams are, which must be alike. Raises SourceError where it does not say."""
    link, began = Link(), now_ns()
    asked_ns = 0
    while any(each not in link.streams for each in ids):
        now = now_ns()
        if now - began > ANSWER_NS:
            raise SourceError(_unknown(port, next(each for each in ids if each not in link.streams)))
        if now - asked_ns > GREET_NS:
            asked_ns = now
            port.write(link.ask())
        link.receive(port.read(LOOK_S), now_ns())
    found = [link.streams[each] for each in ids]
    kinds = {(each.rate, tuple((c.name, c.unit) for c in each.channels)) for each in found}
    if len(kinds) > 1:
        raise SourceError(f"{port.path}: these streams differ in rate or channels; take those that are alike.")
    return found[0]


def _unknown(port: Port, number: int) -> str:
    return (
        f"{port.path}: the device does not say what its stream {number} is, within {ANSWER_NS / 1e9:g} s. Does it "
        "speak the wire of docs/wire.md, and at this speed (baud)?"
    )


def _counts(stats: Stats) -> Counter[str]:
    return Counter({name if name == "restarts" else f"{name}_frames": getattr(stats, name) for name in STATS})
