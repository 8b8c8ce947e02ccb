"""A decider that hangs on command, which brings the hot loop to a stop while all threads besides go on."""

from __future__ import annotations

import time
from pathlib import Path

from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.types import Event, Output

HANG = Path("/etc/edgeseq/stuck")
"""It hangs while this is there."""


class Stuck(Hysteresis):
    """Judges as hysteresis does."""

    def update(self, output: Output) -> list[Event]:
        while HANG.exists():
            time.sleep(0.1)
        return super().update(output)
