"""What this machine has and lacks for running edgeseq well. Each file looks at one part of it."""

from __future__ import annotations

from collections.abc import Iterator

from edgeseq.doctor import clock, limits, packages, ports, processor, storage, systemd
from edgeseq.doctor.finding import Finding


def findings() -> Iterator[Finding]:
    """Look at everything, one part after the other."""
    yield from processor.findings()
    yield from clock.findings()
    yield from packages.findings()
    yield from storage.findings()
    yield from limits.findings()
    yield from ports.findings()
    yield from systemd.findings()
