"""Bytes in, messages out: no I/O, no clock, bounded memory, whatever comes in."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge import framing
from firmware_bridge.messages import HEADER, MALFORMED, READERS, Hello, Message, Samples, samples

WINDOW = 64
"""A frame up to so many numbers behind the newest is late or there already; further behind, numbers began anew."""
_NUMBERS = 1 << 16
_SEEN = (1 << WINDOW) - 1
_OTHERS = -1
"""The numbering of all messages but Samples."""


@dataclass(slots=True)
class Stats:
    """What a decoder counted. Frames unless said otherwise.

    good: delivered. damaged: pieces between zeros of the wire that are no frame. lost: missing in the numbering.
    duplicate: a number that was there already; late: one that had been counted as lost; both are not delivered.
    unknown: whole, but of a type or shape that this version does not know. restarts: times that the device began anew.
    """

    good: int = 0
    damaged: int = 0
    lost: int = 0
    duplicate: int = 0
    late: int = 0
    unknown: int = 0
    restarts: int = 0


@dataclass(slots=True)
class _Numbering:
    """What is known of one numbering. expected: the next number; seen: bit i, whether expected - 1 - i was there."""

    expected: int | None = None
    seen: int = 0
    gap: bool = False


class Decoder:
    """Finds the messages in a stream of bytes, split in any way.

    A piece of the stream that is no frame is dropped and counted; the frame behind the next zero byte is taken again.
    """

    def __init__(self) -> None:
        self.stats = Stats()
        self._rest = b""
        self._broken: bytes | None = None
        self._numberings: dict[int, _Numbering] = {}
        self._boot = 0

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes; return the messages that they complete, in order."""
        pieces = (self._rest + data).split(b"\0")
        # One byte more than any frame has is enough to know that this is none.
        self._rest = pieces.pop()[: framing.MAX_ENCODED + 1]
        messages = []
        for piece in pieces:
            message = self._take(piece)
            if message is not None:
                messages.append(message)
        return messages

    def _take(self, piece: bytes) -> Message | None:
        """Return the message of what stood between two zeros, if it is a new one."""
        contents = framing.unseal(piece)
        broken, self._broken = self._broken, None
        if contents is None:
            if piece:
                self.stats.damaged += 1
                self._broken = piece
            return None
        if broken is not None and framing.halves(broken, piece):
            return None
        _, kind, stream, sequence, time_us = HEADER.unpack_from(contents)
        head = {"stream": stream, "sequence": sequence, "time_us": time_us}
        body = contents[HEADER.size :]
        try:
            if kind == Samples.TYPE:
                numbering = self._numberings.get(stream) or self._numberings.setdefault(stream, _Numbering())
                message: Message = samples(head, body, gap=False)
                if not self._in_order(numbering, sequence):
                    return None
                if numbering.gap:
                    numbering.gap = False
                    message = samples(head, body, gap=True)
            else:
                message = READERS[kind](head, body)
                if isinstance(message, Hello):
                    self._met(message.boot)
                if not self._in_order(self._numberings.setdefault(_OTHERS, _Numbering()), sequence):
                    return None
        except (KeyError, *MALFORMED):
            self.stats.unknown += 1
            return None
        self.stats.good += 1
        return message

    def _in_order(self, numbering: _Numbering, sequence: int) -> bool:
        """Count what is missing before this number; whether it is new."""
        ahead = 0 if numbering.expected is None else (sequence - numbering.expected) % _NUMBERS
        if ahead >= _NUMBERS - WINDOW:
            bit = 1 << (_NUMBERS - ahead - 1)
            if numbering.seen & bit:
                self.stats.duplicate += 1
            else:
                numbering.seen |= bit
                self.stats.late += 1
            return False
        if ahead:
            self.stats.lost += ahead
            numbering.gap = True
        numbering.seen = ((numbering.seen << min(ahead + 1, WINDOW)) | 1) & _SEEN
        numbering.expected = (sequence + 1) % _NUMBERS
        return True

    def _met(self, boot: int) -> None:
        """Let all numbers begin anew where the device has: what it sent last and did not arrive is unknown, a gap."""
        if self._boot not in (0, boot):
            self.stats.restarts += 1
            for numbering in self._numberings.values():
                numbering.expected, numbering.seen, numbering.gap = None, 0, True
        self._boot = boot
