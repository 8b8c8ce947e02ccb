"""A time's place in its day, week and year, as points on circles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.states import Remembering
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs

Cycle = Literal["hour_of_day", "day_of_week", "day_of_year"]
DAY_S = 86_400
_NS = 1_000_000_000
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


class Calendar(Remembering):
    """Adds sine and cosine of the time's place in its day, week and year: `hour_of_day.sin`, `hour_of_day.cos`, ...

    cycles: which of "hour_of_day" (0 at midnight), "day_of_week" (0 at Monday, 0:00), "day_of_year" (0 at 1 January,
    0:00); each goes on smoothly with the time of day. zone: a name such as "Europe/Berlin", whose clock on the wall
    counts, summer time included; default "UTC". All the channels that come in come out too, before these, as they are.

    Times are whole nanoseconds up to the sine: nothing is lost, whatever the year.
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

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a stream of three channels a, b, c at 100 Hz."""
        return {"cycles": ["hour_of_day", "day_of_week", "day_of_year"], "zone": "UTC"}

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Take any stream."""
        made = (Channel(f"{cycle}.{what}") for cycle in self._cycles for what in ("sin", "cos"))
        return StreamSpec((*spec.channels, *made), spec.rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Return each sample with its encodings, at its time."""
        seconds, rest = np.divmod(t_ns, _NS)
        days, second = np.divmod(seconds + self._offsets(seconds), DAY_S)
        day = (second * _NS + rest) / (DAY_S * _NS)
        frames = np.empty((len(t_ns), values.shape[1] + 2 * len(self._cycles)), np.float32)
        frames[:, : values.shape[1]] = values
        for place, cycle in enumerate(self._cycles):
            angle = 2 * np.pi * _phase(cycle, days, day)
            frames[:, values.shape[1] + 2 * place] = np.sin(angle)
            frames[:, values.shape[1] + 2 * place + 1] = np.cos(angle)
        return t_ns, frames

    def reset(self) -> None:
        """Nothing is remembered from sample to sample."""

    def _offsets(self, seconds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return int64[n], by how many seconds the zone's clock is ahead of UTC; it is asked once a second."""
        if self._zone is None:
            return np.zeros_like(seconds)
        different, place = np.unique(seconds, return_inverse=True)
        ahead = [(_EPOCH + timedelta(seconds=s)).astimezone(self._zone).utcoffset() for s in different.tolist()]
        return np.array([each // timedelta(seconds=1) if each else 0 for each in ahead], np.int64)[place]


def _phase(cycle: Cycle, days: NDArray[np.int64], day: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far a cycle has come, 0 to 1, for whole days since the epoch and the part of the day that is over."""
    if cycle == "hour_of_day":
        return day
    if cycle == "day_of_week":
        return ((days + 3) % 7 + day) / 7  # 1 January 1970 was a Thursday
    year = days.astype("datetime64[D]").astype("datetime64[Y]")
    first, following = (each.astype("datetime64[D]").astype(np.int64) for each in (year, year + 1))
    return (days - first + day) / (following - first)
