"""Serial ports and sound cards, and whether this user may open them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgeseq.doctor.finding import Finding
from edgeseq.service import devices

PORTS = ("ttyACM*", "ttyUSB*", "ttyAMA*")
SOUND = "snd/pcm*"


def findings(dev: Path = Path("/dev")) -> Iterator[Finding]:
    """Look at each port there is. dev: the folder of device nodes."""
    named = {link.resolve(): link for link in (dev / "serial/by-id").glob("*")}
    ports = sorted(port for pattern in PORTS for port in dev.glob(pattern))
    for port in ports:
        name = named.get(port.resolve(), port)
        if os.access(port, os.R_OK | os.W_OK):
            yield Finding("serial port", "ok", f"{name} may be opened")
        else:
            yield _closed("serial port", name, devices.access(f"/dev/{port.name}").group)
    cards = sorted(dev.glob(SOUND))
    if cards and not os.access(cards[0], os.R_OK):
        yield _closed("sound", cards[0], "audio")
    elif cards:
        yield Finding("sound", "ok", f"{len(cards)} devices may be opened")


def _closed(topic: str, path: Path, group: str) -> Finding:
    return Finding(
        topic,
        "note",
        f"{path} may not be opened by this user",
        f"sudo usermod --append --groups {group} $USER, then log in again; a service's user is a member anyhow",
    )
