"""Where the outbox's tests write: in memory, for they sync thousands of times and no disk's speed is asked for."""

import shutil
from pathlib import Path

_SHARED = Path("/dev/shm")  # noqa: S108 - tests make folders of their own there
# A container's may be too small for a day's events.
MEMORY = _SHARED if _SHARED.is_dir() and shutil.disk_usage(_SHARED).free > 2 << 30 else None
