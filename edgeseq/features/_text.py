"""Text as a stream: one channel of Unicode code points, which float32 holds exactly, so that it may be split anywhere.

A sample that is no code point (a fraction, something negative or too large, half of a UTF-16 pair) counts as U+FFFD,
the replacement character. NaN says that something is missing: a tokenizer gives NaN for it, forgets what it had begun,
and starts anew behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.features import _channels
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

MAX_TOKENS = 1 << 24
"""Tokens are numbers below it: float32 holds each of them exactly."""
SKIP = "skip"
"""As `unknown`: what is not known gives no token."""
REPLACEMENT = 0xFFFD
MISSING = -1
"""What `code_points` gives for NaN."""
LAST, HALVES = 0x10FFFF, (0xD800, 0xDFFF)
"""The last code point, and the halves of UTF-16's pairs."""


def place(spec: StreamSpec, channel: str | None) -> int:
    """Return where in a stream its text is: the only channel, or the one named. Raises ConfigError."""
    if channel is None and len(spec.channels) > 1:
        raise ConfigError(
            f"say which channel is the text (channel): the stream has {', '.join(spec.names)}.", "channel"
        )
    return 0 if channel is None else _channels.place(spec, channel)


def tokens(spec: StreamSpec, channel: int, what: str, stride: int = 1) -> StreamSpec:
    """Return the spec of a tokenizer's output, `<channel>.<what>`; the rate is the highest there may be."""
    return StreamSpec((Channel(f"{spec.channels[channel].name}.{what}"),), spec.rate_hz / stride)


def check_unknown(unknown: int | str) -> None:
    """Raise ConfigError where `unknown` is neither "skip" nor a token."""
    if not (unknown == SKIP or (isinstance(unknown, int) and 0 <= unknown < MAX_TOKENS)):
        raise ConfigError(f"unknown must be 'skip' or a token, 0 to {MAX_TOKENS - 1:,}, not {unknown!r}.", "unknown")


def numbered(vocabulary: Sequence[str]) -> dict[str, int]:
    """Return each entry's token, its place. Raises ConfigError for one that is there twice, and for too many."""
    found = {entry: token for token, entry in enumerate(vocabulary)}
    if not found or len(found) > MAX_TOKENS:
        raise ConfigError(f"vocabulary must have 1 to {MAX_TOKENS:,} entries, not {len(found):,}.", "vocabulary")
    if len(found) < len(vocabulary):
        twice = next(entry for token, entry in enumerate(vocabulary) if found[entry] != token)
        raise ConfigError(f"vocabulary has {twice!r} twice; one of them must go.", "vocabulary")
    return found


def code_points(samples: Frames) -> NDArray[np.int64]:
    """Return float32[n] as code points, int64[n]; MISSING for NaN."""
    samples = np.asarray(samples, np.float32)  # REPLACEMENT is beyond 16 bits
    with np.errstate(invalid="ignore"):
        points = np.where((samples >= 0) & (samples <= LAST), samples, REPLACEMENT).astype(np.int64)
    half = (points >= HALVES[0]) & (points <= HALVES[1])
    points[half | (points != samples)] = REPLACEMENT
    points[np.isnan(samples)] = MISSING
    return points


def pieces(t_ns: TimesNs, samples: Frames) -> Iterator[tuple[TimesNs, str | None]]:
    """Yield the text between missing samples with its times, and for each of those its time and None."""
    points = code_points(samples)
    begin = 0
    for missing in [*np.flatnonzero(points == MISSING).tolist(), len(points)]:
        if missing > begin:
            text = points[begin:missing].astype("<i4").tobytes().decode("utf-32-le")
            yield t_ns[begin:missing], text
        if missing < len(points):
            yield t_ns[missing : missing + 1], None
        begin = missing + 1


class Rows:
    """Tokens with their times, collected one by one. SKIP is none."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._tokens: list[float] = []

    def add(self, t_ns: np.int64, token: float | str) -> None:
        """Put a token behind the others."""
        if not isinstance(token, str):
            self._times.append(int(t_ns))
            self._tokens.append(token)

    def output(self) -> tuple[TimesNs, Frames]:
        """Return them as a feature does, int64[n] and float32[n, 1]."""
        return np.array(self._times, np.int64), np.array(self._tokens, np.float32).reshape(len(self._tokens), 1)
