"""Where edgeseq keeps what only saves time: EDGESEQ_CACHE, a service's own folder from systemd, or the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def folder(kind: str) -> Path | None:
    """Return the folder of one kind of what is kept; None for a user without a home."""
    chosen = os.environ.get("EDGESEQ_CACHE")
    # systemd gives a service's several folders apart by colons.
    own = os.environ.get("CACHE_DIRECTORY") or os.environ.get("STATE_DIRECTORY")
    if chosen or own:
        return Path(chosen or str(own).split(":", maxsplit=1)[0]) / kind
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (shared if shared.is_absolute() else Path.home() / ".cache") / "edgeseq" / kind
    except RuntimeError:
        return None
