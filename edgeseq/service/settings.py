"""[service]: how systemd is to run a configuration.

[service]
addresses = ["192.168.1.10", "localhost"]   # the only ones that it talks to; default: any
realtime_priority = 0                       # 1 to 99: before everything that is not in real time
watchdog_s = 30                             # a hot loop that has not turned for so long is started anew
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from edgeseq import tables

HIGHEST = 99
SHORTEST_S, LONGEST_S = 2, 86_400
"""The hot loop turns within a second; beyond a day nobody would call it a watch."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table as it is written. addresses: IP addresses, networks, or systemd's "localhost"; None for any."""

    addresses: list[str] | None = None
    realtime_priority: int = 0
    watchdog_s: int = 30


def read(document: tables.Document, table: Mapping[str, Any] | None) -> Settings:
    """Check the table. Raises the document's error."""
    settings = tables.convert(document, dict(table or {}), Settings, "service")
    if not 0 <= settings.realtime_priority <= HIGHEST:
        raise document.fail(f"must lie between 0 (none) and {HIGHEST}.", "service", "realtime_priority")
    if not SHORTEST_S <= settings.watchdog_s <= LONGEST_S:
        raise document.fail(f"must lie between {SHORTEST_S} and {LONGEST_S}.", "service", "watchdog_s")
    for address in settings.addresses or ():
        if address != "localhost" and not _numeric(address):
            raise document.fail(
                f"'{address}' is no IP address: systemd compares numbers, not names. Write the address that the name "
                "stands for, and in place of the broker's name that address, too.",
                "service",
                "addresses",
            )
    return settings


def _numeric(address: str) -> bool:
    # Python takes any text behind a %, as an IPv6 address's zone; systemd takes none.
    if "%" in address:
        return False
    try:
        ipaddress.ip_network(address, strict=False)
    except ValueError:
        return False
    return True
