"""A time's place in its day, week and year, as points on circles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.jit import entry, inline
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

Cycle = Literal["hour_of_day", "day_of_week", "day_of_year"]
DAY_S = 86_400
_NS = 1_000_000_000
_CYCLES: tuple[Cycle, ...] = get_args(Cycle)
"""A cycle's place here is what the kernel knows it by."""
_DAY, _WEEK, _YEAR = range(3)
_I, _F = types.int64, types.float32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def reference(t_ns: int, zone: tzinfo = UTC) -> dict[Cycle, float]:
    """Return how far each cycle has come, 0 to 1, at a time in ns since the epoch, by Python's own calendar.

    The day begins at midnight and has 24 hours of the clock on the wall, the week begins with Monday (ISO 8601), the
    year has 365 or 366 days.
    """
    seconds, rest = divmod(t_ns, _NS)
    local = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone)
    day = (local.hour * 3600 + local.minute * 60 + local.second + rest / _NS) / DAY_S
    year = (datetime(local.year + 1, 1, 1) - datetime(local.year, 1, 1)).days  # noqa: DTZ001 - a count of days
    return {
        "hour_of_day": day,
        "day_of_week": (local.weekday() + day) / 7,
        "day_of_year": (local.timetuple().tm_yday - 1 + day) / year,
    }


@inline
def _of_year(days: Any) -> Any:
    """Return the day of the year, 0 on 1 January, and how many days the year has; days: since 1 January 1970.

    Years are counted from 1 March, in eras of 400 of them: the leap day is a year's last, and all eras are alike.
    Source: Hinnant, "chrono-compatible low-level date algorithms", 2013, civil_from_days and is_leap.
    """
    since = days + 719_468  # 1 March of the year 0
    era = since // 146_097
    day = since - era * 146_097
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    year += 400 * era
    begun = day >= 306  # noqa: PLR2004 - the days from March to December
    year += begun
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return (day - 306 if begun else day + 59 + leap), 365 + leap


@entry(types.void(types.Array(_I, 1, "A", readonly=True), _I[::1], _I[::1], _F[:, :]))
def encoded(t_ns: Any, ahead: Any, cycles: Any, y: Any) -> None:
    """Write y[sample, 2 * cycle], sine and cosine of each cycle, in this order.

    ahead: seconds by which the zone's clock is ahead of UTC at each time.
    """
    for i in range(len(t_ns)):
        seconds = t_ns[i] // _NS
        local = seconds + ahead[i]
        days = local // DAY_S
        day = np.float64((local - days * DAY_S) * _NS + (t_ns[i] - seconds * _NS)) / (DAY_S * _NS)
        for k in range(len(cycles)):
            phase = day
            if cycles[k] == _WEEK:
                phase = ((days + 3) % 7 + day) / 7  # 1 January 1970 was a Thursday
            elif cycles[k] == _YEAR:
                over, length = _of_year(days)
                phase = (over + day) / length
            y[i, 2 * k], y[i, 2 * k + 1] = np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)


class Calendar(Remembering):
    """Adds sine and cosine of the time's place in its day, week and year: `hour_of_day.sin`, `hour_of_day.cos`, ...

    cycles: which of "hour_of_day" (0 at midnight), "day_of_week" (0 at Monday, 0:00), "day_of_year" (0 at 1 January,
    0:00); each goes on smoothly with the time of day. zone: a name such as "Europe/Berlin", whose clock on the wall
    counts, summer time included; default "UTC". All the channels that come in come out too, before these, as they are.

    Times are whole nanoseconds up to the part of a day: nothing is lost, whatever the year. The zone is asked through
    Python's zoneinfo, once a second of the stream; all else is the kernel's.
    """

    def __init__(self, *, cycles: list[Cycle], zone: str = "UTC") -> None:
        if not cycles or len({*cycles}) < len(cycles):
            raise ConfigError(f"cycles must name at least one, and none twice; not {cycles}.", "cycles")
        try:
            self._zone = None if zone == "UTC" else ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as cause:
            raise ConfigError(
                f"there is no time zone '{zone}' here. Names are such as Europe/Berlin; where none is known, the "
                "system's package tzdata is missing.",
                "zone",
            ) from cause
        self._cycles = cycles
        self._places = np.array([_CYCLES.index(cycle) for cycle in cycles], np.int64)

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"cycles": ["hour_of_day", "day_of_week", "day_of_year"], "zone": "UTC"}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Take any stream."""
        self._kernel = encoded.compiled
        made = (Channel(f"{cycle}.{what}") for cycle in self._cycles for what in ("sin", "cos"))
        return StreamSpec((*spec.channels, *made), spec.rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return each sample with its encodings, at its time."""
        width = values.shape[1]
        frames = np.empty((len(t_ns), width + 2 * len(self._places)), np.float32)
        frames[:, :width] = values
        self._kernel(t_ns, self._ahead(t_ns), self._places, frames[:, width:])
        return t_ns, frames

    def reset(self) -> None:
        """Nothing is remembered from sample to sample."""

    def _ahead(self, t_ns: TimesNs) -> NDArray[np.int64]:
        """Return int64[n], by how many seconds the zone's clock is ahead of UTC; it is asked once a second."""
        if self._zone is None:
            return np.zeros(len(t_ns), np.int64)
        different, place = np.unique(t_ns // _NS, return_inverse=True)
        ahead = [(_EPOCH + timedelta(seconds=s)).astimezone(self._zone).utcoffset() for s in different.tolist()]
        return np.array([each // timedelta(seconds=1) if each else 0 for each in ahead], np.int64)[place]
