"""Whether a service can be installed here."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

from edgeseq.doctor.finding import Finding
from edgeseq.service.install import RUNNING

OLDEST = 248
"""Knows everything that our unit says (PrivateIPC is its newest)."""


def findings() -> Iterator[Finding]:
    """Ask systemd for its version."""
    program = shutil.which("systemctl")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout if program else ""
    yield judged(said, running=RUNNING.is_dir())


def judged(said: str, *, running: bool) -> Finding:
    """Judge what `systemctl --version` says."""
    found = re.match(r"systemd (\d+)", said)
    if found is None or not running:
        there = "" if found is None else f"{found[1]} is installed, but "
        return Finding("systemd", "note", f"{there}does not run this system: `edgeseq service install` needs it")
    if int(found[1]) < OLDEST:
        do = f"update the system; {OLDEST} and later know all of it"
        return Finding("systemd", "note", f"{found[1]} ignores some of what a unit of ours forbids", do)
    return Finding("systemd", "ok", found[1])
