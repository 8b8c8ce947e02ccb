"""Where a service may keep what must outlive it."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path | None:
    """Return the folder that systemd gave this service for its state; None where there is none."""
    # systemd lists several, separated by colons.
    first = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(first) if first else None
