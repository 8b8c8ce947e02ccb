"""A message's bytes → samples: rows of float32, or JSON with paths to where the values stand. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from edgeseq.errors import ConfigError
from edgeseq.sources import _times
from edgeseq.sources._times import TimeFormat
from edgeseq.types import Frames, TimesNs

Path = tuple[str | int, ...]
LAST_NS = _times.iso_ns(f"{_times.START_YEARS[1]}-01-01")
"""A later time is none: should the sender's clock be set back, what follows would lie beyond 64 bits."""
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d{1,9})\]")


class MessageError(Exception):
    """A message that holds no samples. Its text says why, in words that are counted by."""


@dataclass(frozen=True, slots=True)
class Message:
    """Samples, float32[n, channels], and their times, int64[n] ns, or that of the first alone; None where not told."""

    values: Frames
    t_ns: TimesNs | None = None


def path(text: str) -> Path:
    """Return the steps of a path such as `data.accel[0].x`; `$.` may stand before it. Raises ConfigError."""
    rest, steps, at = text.removeprefix("$"), [], 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None:
            break
        steps.append(found[1] if found[2] is None else int(found[2]))
        at = found.end()
    if at < len(rest) or not steps:
        raise ConfigError(f"{text!r} is no path into JSON, such as data.accel[0].x.")
    return tuple(steps)


def rows(payload: bytes, channels: int) -> Message:
    """Read float32, little endian, the channels of a sample side by side. Raises MessageError."""
    if not payload or len(payload) % (4 * channels):
        raise MessageError("not_whole_rows")
    return Message(np.frombuffer(payload, "<f4").reshape(-1, channels).astype(np.float32))


class Json:
    """Reads JSON: at each channel's path stands a number, or an array of as many as at the others'; null is NaN.

    time: the path to a time, that of the first sample, or to an array of as many; None: there is none. time_format:
    what it is, counted from the Unix epoch, or "iso".
    """

    def __init__(self, columns: Sequence[str], time: str | None, time_format: TimeFormat) -> None:
        self._columns = [path(each) for each in columns]
        self._time = None if time is None else path(time)
        self._time_format = time_format

    @property
    def timed(self) -> bool:
        """Whether messages bring their times along."""
        return self._time is not None

    def read(self, payload: bytes) -> Message:
        """Return a message's samples. Raises MessageError."""
        try:
            # Decimal keeps a time's digits, which a float has no room for.
            document = json.loads(payload, parse_float=float if self._time is None else Decimal)
        except (ValueError, RecursionError):
            raise MessageError("not_json") from None
        columns = [_numbers(_at(document, each, "no_value")) for each in self._columns]
        if len({len(column) for column in columns}) > 1:
            raise MessageError("uneven_channels")
        if not columns[0]:
            raise MessageError("no_samples")
        with np.errstate(over="ignore"):
            values = np.array(columns, np.float64).T.astype(np.float32)
        if self._time is None:
            return Message(values)
        given = _at(document, self._time, "no_time")
        times = [self._ns(each) for each in (given if isinstance(given, list) else [given])]
        if len(times) not in (1, len(values)):
            raise MessageError("uneven_times")
        return Message(values, np.array(times, np.int64))

    def _ns(self, given: Any) -> int:
        """Return a time in ns."""
        if isinstance(given, bool) or not isinstance(given, (str, int, Decimal)):
            raise MessageError("no_time")
        try:
            if self._time_format == "iso":
                t_ns = _times.iso_ns(str(given))
            else:
                t_ns = _times.number_ns(str(given), self._time_format)
        except ValueError:
            raise MessageError("no_time") from None
        if t_ns > LAST_NS:
            raise MessageError("no_time")
        return t_ns


def _at(document: Any, steps: Path, missing: str) -> Any:
    """Return what stands at a path."""
    for step in steps:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            raise MessageError(missing) from None
    return document


def _numbers(given: Any) -> list[float]:
    """Return a number, or an array of them, as a list."""
    cells = given if isinstance(given, list) else [given]
    if any(isinstance(cell, bool) or not isinstance(cell, (int, float, Decimal, type(None))) for cell in cells):
        raise MessageError("not_numbers")
    try:
        return [np.nan if cell is None else float(cell) for cell in cells]
    except OverflowError:  # an integer beyond what a float holds
        raise MessageError("not_numbers") from None
