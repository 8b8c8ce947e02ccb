"""Times in files -> nanoseconds since the Unix epoch, exactly: no time passes through a float on its way from text."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.types import TimesNs

TimeFormat = Literal["s", "ms", "us", "ns", "iso"]
"""The TOML key `time_format`: numbers in that unit, counted from `start`, or ISO 8601 text."""

NS_PER = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
GAP_PERIODS = 1.5
"""A step between given times that is longer than so many sample periods is a gap."""
MAX_NS = 2**63 - 1
"""Of int64: times lie in the years 1678 to 2262."""
MAX_DIGITS = 20
"""Before the point, of any number that may be a time in any unit."""
START_YEARS = (1700, 2200)
"""Between them a source may start: what it then counts up stays within int64."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION = re.compile(r"[.,](\d+)")


def start_ns(start: str) -> int:
    """Return the TOML key `start` in nanoseconds: ISO 8601, or "now". Raises ConfigError."""
    if start == "now":
        return (datetime.now(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
    try:
        origin = iso_ns(start)
    except ValueError as cause:
        raise ConfigError(f"start must be 'now' or ISO 8601, such as 2026-11-24T03:05:00Z: {cause}.") from cause
    first, last = (iso_ns(f"{year}-01-01") for year in START_YEARS)
    if not first <= origin <= last:
        raise ConfigError(f"start must lie between the years {START_YEARS[0]} and {START_YEARS[1]}, not at {start}.")
    return origin


def iso_ns(text: str) -> int:
    """Return ISO 8601 text in nanoseconds, to its ninth decimal; without an offset it is UTC. Raises ValueError."""
    found = _FRACTION.search(text)
    whole = text if found is None else text[: found.start()] + text[found.end() :]
    parsed = datetime.fromisoformat(whole.strip())
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    fraction = 0 if found is None else int(found.group(1)[:9].ljust(9, "0"))
    time_ns = (parsed - _EPOCH) // timedelta(seconds=1) * 1_000_000_000 + fraction
    if abs(time_ns) > MAX_NS:
        raise ValueError(f"{text!r} lies beyond the years 1678 to 2262, which 64 bits of nanoseconds hold")
    return time_ns


def number_ns(text: str, unit: str, start: int = 0) -> int:
    """Return `start` plus a number in a unit ("s", "ms", "us", "ns") in nanoseconds, rounded. Raises ValueError."""
    try:
        number = Decimal(text.strip())
        # An exponent is looked at first: 1e999999 as a whole number has a million digits.
        right = number.is_finite() and number.adjusted() <= MAX_DIGITS and "_" not in text
        time_ns = start + round(number * NS_PER[unit]) if right else MAX_NS + 1
    except (InvalidOperation, ValueError, OverflowError):
        time_ns = MAX_NS + 1
    if abs(time_ns) > MAX_NS:
        raise ValueError(f"{text!r} is not a time in {unit}")
    return time_ns


class Grid:
    """Times of evenly spaced samples, without drift however long it runs: sample i at start + i / rate_hz."""

    def __init__(self, rate_hz: float, start: int) -> None:
        if not (rate_hz > 0 and math.isfinite(rate_hz)):
            raise ConfigError(f"rate_hz must be above 0, not {rate_hz:g}.")
        # The products below stay within int64 as long as numerator * denominator * 1e9 does.
        most = int(min(1e6, max(1.0, math.sqrt(9e9 / rate_hz))))
        self._rate = Fraction(rate_hz).limit_denominator(most)
        if self._rate == 0:
            raise ConfigError(f"rate_hz = {rate_hz:g} is slower than one sample in {most} seconds.")
        self._start = start

    def times(self, index: NDArray[np.int64]) -> TimesNs:
        """Return int64[n] nanoseconds for sample numbers int64[n]."""
        numerator, denominator = self._rate.numerator, self._rate.denominator
        whole, rest = np.divmod(index, numerator)
        span = 1_000_000_000 * denominator
        times: TimesNs = self._start + whole * span + rest * span // numerator
        return times
