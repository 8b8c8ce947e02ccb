"""What is said over the wire, one message a frame, and its bytes.

A message's contents, little-endian: version (1), type (1), stream (1), sequence (2), time (4), then its body.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.framing import MAX_CONTENTS, VERSION, seal

HEADER = struct.Struct("<BBBHI")
MAX_BODY = MAX_CONTENTS - HEADER.size
MAX_NAME, MAX_UNIT = 63, 31
"""Bytes of UTF-8."""
LEVELS = ("debug", "info", "warning", "error")

Format = Literal["int16", "int24", "float32"]
FORMATS: tuple[Format, ...] = ("int16", "int24", "float32")
BYTES: dict[Format, int] = {"int16": 2, "int24": 3, "float32": 4}
Values = NDArray[np.int16] | NDArray[np.int32] | NDArray[np.float32]

_U32 = 1 << 32
_INT24 = 1 << 23
_HELLO = struct.Struct("<IIIBBBib")
_COUNTERS = struct.Struct("<IIII")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What all messages have.

    stream: which of the device's streams, 0 to 255. sequence: modulo 65,536; Samples are numbered within their stream,
    all other messages of one side together. time_us: the sender's clock in µs, modulo 2³²: when the message was made,
    of Samples when the first one was taken.
    """

    TYPE: ClassVar[int] = 0
    stream: int = 0
    sequence: int = 0
    time_us: int = 0

    def body(self) -> bytes:
        """Return what follows the header."""
        return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Message):
    """Device to host: one channel of a stream; all of them, one message each, are its description.

    boot: a number that differs from start to start of the device; 0 where it has none. rate: samples a second. format:
    of the samples. index, channels: which channel this is, of how many. name, unit: UTF-8 of at most 63 and 31 bytes.
    scale: a sample times this is the value in its unit; a whole number of 32 bits times a power of ten.
    """

    TYPE = 1
    boot: int = 0
    rate: Fraction = Fraction(1)
    format: Format = "float32"
    index: int = 0
    channels: int = 1
    name: str = ""
    unit: str = ""
    scale: Decimal = Decimal(1)

    def body(self) -> bytes:
        """Return boot, rate, format, channels, index, scale, name and unit, each text behind its length."""
        mantissa, exponent = _decimal(self.scale)
        name, unit = _text(self.name, MAX_NAME), _text(self.unit, MAX_UNIT)
        top, bottom = _ratio(self.rate)
        numbers = (self.boot, top, bottom, FORMATS.index(self.format), self.channels, self.index, mantissa, exponent)
        return _HELLO.pack(*numbers) + bytes((len(name),)) + name + bytes((len(unit),)) + unit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples(Message):
    """Device to host: consecutive samples. values: [n, channels], int16, int32 (24 bits on the wire) or float32.

    gap: frames of this stream were lost before this one; the decoder's word, not on the wire.
    """

    TYPE = 2
    values: Values = field(default_factory=lambda: np.empty((0, 1), np.float32))
    gap: bool = False

    def __eq__(self, other: object) -> bool:
        """Compare bit for bit, so that a NaN equals itself."""
        return isinstance(other, Samples) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        values = self.values
        return (self.stream, self.sequence, self.time_us, self.gap, values.dtype, values.shape, values.tobytes())

    def body(self) -> bytes:
        """Return format, number of channels, and the samples row by row."""
        values = self.values
        if values.ndim != 2 or not 1 <= values.shape[1] <= 255 or not len(values):  # noqa: PLR2004
            raise ValueError(f"samples are [n, channels], 1 to 255 channels, not {values.shape}.")
        if values.dtype == np.int16:
            return bytes((0, values.shape[1])) + values.astype("<i2").tobytes()
        if values.dtype == np.float32:
            return bytes((2, values.shape[1])) + values.astype("<f4").tobytes()
        if values.dtype != np.int32:
            raise ValueError(f"samples are int16, int32 (sent as 24 bits) or float32, not {values.dtype}.")
        if values.min() < -_INT24 or values.max() >= _INT24:
            raise ValueError("samples of int32 must fit into 24 bits.")
        raw = values.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3]
        return bytes((1, values.shape[1])) + raw.tobytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Message):
    """Device to host: a line of text. level: "debug", "info", "warning", "error"."""

    TYPE = 3
    level: str = "info"
    text: str = ""

    @property
    def line(self) -> str:
        """The text as one line without control characters, whatever the device has sent."""
        return one_line(self.text)

    def body(self) -> bytes:
        """Return level and text."""
        return bytes((LEVELS.index(self.level),)) + _text(self.text, MAX_BODY - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters(Message):
    """Device to host: what it counted since its start, modulo 2³².

    sent: frames. dropped: frames that the line had no room for. damaged: pieces that were no frames. unknown: frames
    of a type that it does not know.
    """

    TYPE = 4
    sent: int = 0
    dropped: int = 0
    damaged: int = 0
    unknown: int = 0

    def body(self) -> bytes:
        """Return the four counters."""
        return _COUNTERS.pack(self.sent, self.dropped, self.damaged, self.unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(Message):
    """Device to host: the answer to Ping. received_us: when Ping came, on its clock; time_us: when this was made."""

    TYPE = 5
    token: int = 0
    received_us: int = 0

    def body(self) -> bytes:
        """Return token and time."""
        return struct.pack("<II", self.token, self.received_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Message):
    """Host to device: send Hello for all streams, and Counters."""

    TYPE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Message):
    """Host to device: send the stream's Hello, then its samples."""

    TYPE = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Message):
    """Host to device: send no more samples of the stream."""

    TYPE = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(Message):
    """Host to device: take so many samples a second, if you can; the Hello that follows says what it is now."""

    TYPE = 19
    rate: Fraction = Fraction(1)

    def body(self) -> bytes:
        """Return the rate."""
        return struct.pack("<II", *_ratio(self.rate))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Message):
    """Host to device: answer with Pong and the same token, at once."""

    TYPE = 20
    token: int = 0

    def body(self) -> bytes:
        """Return the token."""
        return struct.pack("<I", self.token)


def one_line(text: str) -> str:
    """Return text of a device's as a person or a log may see it: no control character moves a cursor or ends a line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def encode(message: Message) -> bytes:
    """Return a message as bytes for the wire. Raises ValueError for what does not fit into one."""
    body = message.body()
    if len(body) > MAX_BODY:
        raise ValueError(f"{type(message).__name__} has {len(body)} bytes, a frame holds {MAX_BODY}: split it.")
    try:
        header = HEADER.pack(VERSION, message.TYPE, message.stream, message.sequence, message.time_us)
    except struct.error as cause:
        raise ValueError(
            f"stream must lie in 0 to 255, sequence in 0 to 65535, time_us in 0 to 2^32 - 1: {cause}."
        ) from cause
    return seal(header + body)


def samples(head: dict[str, int], body: bytes, *, gap: bool) -> Samples:
    """Return Samples from a body. head: the header's fields. Raises ValueError for a body that is none."""
    if len(body) < 2 or body[0] >= len(FORMATS) or not body[1]:  # noqa: PLR2004
        raise ValueError("no samples")
    size, channels = len(body) - 2, body[1]
    row = BYTES[FORMATS[body[0]]] * channels
    if not size or size % row:
        raise ValueError("samples of part of a row")
    values: Any
    if body[0] == 0:
        values = np.frombuffer(body, "<i2", offset=2)
    elif body[0] == 1:
        # Three bytes become the upper ones of four, and the shift that brings them down keeps the sign.
        wide = np.zeros((size // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8, offset=2).reshape(-1, 3)
        values = wide.view("<i4").ravel() >> 8
    else:
        values = np.frombuffer(body, "<f4", offset=2)
    return Samples(**head, values=values.reshape(-1, channels), gap=gap)


def _hello(head: dict[str, int], body: bytes) -> Hello:
    boot, top, bottom, form, channels, index, mantissa, exponent = _HELLO.unpack_from(body)
    name, rest = _take(body[_HELLO.size :], MAX_NAME)
    unit, rest = _take(rest, MAX_UNIT)
    if rest or not (top and bottom and index < channels):
        raise ValueError("no description of a channel")
    return Hello(
        **head,
        boot=boot,
        rate=Fraction(top, bottom),
        format=FORMATS[form],
        channels=channels,
        index=index,
        name=name,
        unit=unit,
        scale=Decimal(mantissa).scaleb(exponent),
    )


def _log(head: dict[str, int], body: bytes) -> Log:
    return Log(**head, level=LEVELS[body[0]], text=body[1:].decode())


def _counters(head: dict[str, int], body: bytes) -> Counters:
    sent, dropped, damaged, unknown = _COUNTERS.unpack(body)
    return Counters(**head, sent=sent, dropped=dropped, damaged=damaged, unknown=unknown)


def _pong(head: dict[str, int], body: bytes) -> Pong:
    token, received_us = struct.unpack("<II", body)
    return Pong(**head, token=token, received_us=received_us)


def _rate(head: dict[str, int], body: bytes) -> Rate:
    top, bottom = struct.unpack("<II", body)
    if not (top and bottom):
        raise ValueError("no rate")
    return Rate(**head, rate=Fraction(top, bottom))


def _ping(head: dict[str, int], body: bytes) -> Ping:
    return Ping(**head, token=int(struct.unpack("<I", body)[0]))


def _empty(cls: type[Message]) -> Callable[[dict[str, int], bytes], Message]:
    def read(head: dict[str, int], body: bytes) -> Message:
        if body:
            raise ValueError("a body where there is none")
        return cls(**head)

    return read


READERS: dict[int, Callable[[dict[str, int], bytes], Message]] = {
    Hello.TYPE: _hello,
    Log.TYPE: _log,
    Counters.TYPE: _counters,
    Pong.TYPE: _pong,
    Ask.TYPE: _empty(Ask),
    Start.TYPE: _empty(Start),
    Stop.TYPE: _empty(Stop),
    Rate.TYPE: _rate,
    Ping.TYPE: _ping,
}
"""For every type but Samples, what makes the message of header and body."""
MALFORMED = (ValueError, IndexError, struct.error)
"""What they raise for a body that is none of theirs."""


def _text(text: str, most: int) -> bytes:
    raw = text.encode()
    if len(raw) > most:
        raise ValueError(f"{text[:40]!r} has {len(raw)} bytes in UTF-8, at most {most} fit.")
    return raw


def _take(body: bytes, most: int) -> tuple[str, bytes]:
    """Return the text that stands behind its length, and the rest."""
    size = body[0]
    if size > most or len(body) <= size:
        raise ValueError("a text that is cut off")
    return body[1 : size + 1].decode(), body[size + 1 :]


def _ratio(rate: Fraction) -> tuple[int, int]:
    """Return a rate as two numbers of 32 bits. Raises ValueError."""
    rate = Fraction(rate)
    if rate <= 0 or max(rate.numerator, rate.denominator) >= _U32:
        raise ValueError(f"a rate is above 0 and a ratio of numbers below 2^32, not {rate}.")
    return rate.numerator, rate.denominator


def _decimal(scale: Decimal) -> tuple[int, int]:
    """Return a scale as mantissa (32 bits) and exponent (8 bits). Raises ValueError."""
    sign, digits, exponent = scale.normalize().as_tuple()
    mantissa, half = int("".join(map(str, digits))) * (-1 if sign else 1), _U32 // 2
    while isinstance(exponent, int) and exponent >= 128 and -half <= 10 * mantissa < half and mantissa:  # noqa: PLR2004
        mantissa, exponent = 10 * mantissa, exponent - 1
    if not isinstance(exponent, int) or not -half <= mantissa < half or not -128 <= exponent < 128:  # noqa: PLR2004
        raise ValueError(f"a scale is a whole number of 32 bits times a power of ten, not {scale}.")
    return mantissa, exponent
