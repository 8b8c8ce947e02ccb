"""How the board stands: clock, temperature, and whether it slows itself down, read where Linux shows them.

Everything is under a root folder, so that a tree made by hand is read like the real one. What a board does not tell is
None, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseq.machine import first_line

CPU = "sys/devices/system/cpu/cpu{}"
THERMAL = "sys/class/thermal"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
"""Raspberry Pi. Bits 0 to 3: too little voltage, clock capped, throttled, soft limit of temperature, now; bits 16 to
19: the same, at some time since the start."""
NOW, SINCE = 0xF, 0xF0000
PROCESSOR = ("cpu", "pkg", "soc", "core")
"""In the names of sensors that sit at or near the cores."""
COOLING = ("cpufreq", "throttle", "processor")
"""In the names of what cools by slowing cores down, not by a fan."""


@dataclass(frozen=True, slots=True)
class Reading:
    """clock_mhz: of the fastest of the cores asked about. throttled: now; ever: what changes where it was meanwhile."""

    clock_mhz: float | None
    temperature_c: float | None
    throttled: bool | None
    ever: tuple[int, ...] = ()

    def document(self, before: Reading | None = None) -> dict[str, Any]:
        """Return it under the names of the JSON document. before: a reading since which throttling counts as well."""
        throttled = self.throttled
        if before is not None and self.ever:
            throttled = bool(throttled) or _grown(before.ever, self.ever)
        return {"clock_mhz": self.clock_mhz, "temperature_c": self.temperature_c, "throttled": throttled}


def read(cpus: Iterable[int], root: Path = Path("/")) -> Reading:
    """Read what the board tells. cpus: the cores that matter."""
    cores = [root / CPU.format(cpu) for cpu in cpus]
    clocks = [khz for core in cores if (khz := _number(core / "cpufreq/scaling_cur_freq")) is not None]
    firmware = _number(root / FIRMWARE, base=16)
    counters = [_number(core / "thermal_throttle/core_throttle_count") for core in cores]
    cooling = [
        state > 0
        for device in sorted((root / THERMAL).glob("cooling_device*"))
        if _named(device, COOLING) and (state := _number(device / "cur_state")) is not None
    ]
    if firmware is not None:
        cooling.append(bool(firmware & NOW))
    return Reading(
        clock_mhz=max(clocks) / 1000 if clocks else None,
        temperature_c=_temperature(root),
        throttled=any(cooling) if cooling else None,
        ever=(*(() if firmware is None else (firmware & SINCE,)), *(count for count in counters if count is not None)),
    )


def _temperature(root: Path) -> float | None:
    """Return the hottest of the sensors near the cores; of all, where none is called so."""
    found = {
        zone: milli / 1000
        for zone in sorted((root / THERMAL).glob("thermal_zone*"))
        if (milli := _number(zone / "temp")) is not None
    }
    near = [degrees for zone, degrees in found.items() if _named(zone, PROCESSOR)]
    return max(near or found.values(), default=None)


def _grown(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    return any(later > earlier for earlier, later in zip(before, after, strict=True))


def _named(folder: Path, words: Iterable[str]) -> bool:
    name = first_line(folder / "type").lower()
    return any(word in name for word in words)


def _number(path: Path, base: int = 10) -> int | None:
    """Return the whole number in a file; None where there is none, as of a sensor that is switched off."""
    try:
        return int(first_line(path), base)
    except ValueError:
        return None
