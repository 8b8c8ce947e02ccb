"""Device nodes that a configuration opens, in the words of a unit: class, group, kernel module.

A unit allows a device's class and not its path, for a path that is missing when the service starts (unplugged) is
dropped in silence and stays forbidden when it comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Access:
    """What opens a kind of device.

    classes: as DeviceAllow names them. group: whose members may open the nodes. modules: kernel modules with the class.
    """

    classes: tuple[str, ...]
    group: str
    modules: tuple[str, ...] = ()


@runtime_checkable
class UsesDevices(Protocol):
    """A source or sink that opens device nodes."""

    @property
    def devices(self) -> Sequence[str]:
        """Their paths."""
        ...


# By the path's beginning; a /dev/serial/by-id/ name may lead to either kind of USB port.
KNOWN: tuple[tuple[str, Access], ...] = (
    ("/dev/ttyACM", Access(("char-ttyACM",), "dialout", ("cdc_acm",))),
    ("/dev/ttyUSB", Access(("char-ttyUSB",), "dialout", ("usbserial",))),
    ("/dev/serial/", Access(("char-ttyACM", "char-ttyUSB"), "dialout", ("cdc_acm", "usbserial"))),
    ("/dev/ttyAMA", Access(("char-ttyAMA",), "dialout")),
    ("/dev/ttyS", Access(("char-ttyS",), "dialout")),
    ("/dev/pts/", Access(("char-pts",), "tty")),
    ("/dev/snd", Access(("char-alsa",), "audio", ("snd",))),
)


def used(parts: Sequence[Any]) -> list[str]:
    """Return the device nodes that sources and sinks say they open, each once."""
    paths = [path for part in parts if isinstance(part, UsesDevices) for path in part.devices]
    return list(dict.fromkeys(paths))


def access(path: str) -> Access:
    """Return what opens a device node, or the one that a link leads to; of no known kind, it is allowed by its path."""
    for name in (path, str(Path(path).resolve())):
        for start, known in KNOWN:
            if name.startswith(start):
                return known
    return Access((path,), "dialout")
